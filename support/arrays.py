"""Array types by what they hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RGBArray = npt.NDArray[np.uint8]
"""Image [H, W, 3] in RGB, 0..255."""
PackedBits = npt.NDArray[np.uint8]
"""Booleans by `numpy.packbits`, eight to a byte."""
BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
