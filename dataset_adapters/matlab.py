"""Label maps in MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataset_adapters.images import MAX_PIXELS, ImageError
from dataset_adapters.sample import LabelMap

VARIABLE = "LabelMap"
_LARGEST = 65535


def read_matlab_labels(path: Path) -> LabelMap:
    """Decode the matrix LabelMap of a MATLAB file (up to version 7) to int32 [H, W] in 0..65535.

    Raises ImageError for a file that is absent or damaged, has no such matrix, or holds other numbers.
    """
    import scipy.io

    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
        _check_shape(path, shapes)
        stored = scipy.io.loadmat(path, variable_names=[VARIABLE])[VARIABLE]
    except ImageError:
        raise
    except Exception as error:  # a damaged file makes the decoder raise errors of almost any type
        reason = getattr(error, "strerror", None) or f"cannot be decoded: {error or type(error).__name__}"
        raise ImageError(str(path), " ".join(str(reason).split())) from error
    return _as_labels(path, np.asarray(stored))


def _check_shape(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Before decoding: a packed file can hold far more than its size says."""
    shape = shapes.get(VARIABLE)
    if shape is None:
        raise ImageError(str(path), f"expected the matrix {VARIABLE}, found {', '.join(shapes) or 'none'}")
    if len(shape) != 2 or not 0 < np.prod(shape, dtype=np.float64) <= MAX_PIXELS:
        raise ImageError(str(path), f"{VARIABLE}: expected 1 to {MAX_PIXELS} pixels in two dimensions, found {shape}")


def _as_labels(path: Path, stored: npt.NDArray[np.generic]) -> LabelMap:
    if stored.dtype.kind not in "uif" or not np.array_equal(stored, np.floor(stored)):
        raise ImageError(str(path), f"{VARIABLE}: expected whole numbers, found {stored.dtype}")
    if stored.min() < 0 or stored.max() > _LARGEST:
        raise ImageError(str(path), f"{VARIABLE}: expected 0..{_LARGEST}, found {stored.min()}..{stored.max()}")
    return stored.astype(np.int32)
