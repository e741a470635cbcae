"""Array types by their contents, and archives of arrays from untrusted sources."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from support.files import open_regular

RGBArray = npt.NDArray[np.uint8]
"""Image [H, W, 3] in RGB, 0..255."""
PackedBits = npt.NDArray[np.uint8]
"""Booleans by `numpy.packbits`, eight per byte."""
BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def unpacked(bits: PackedBits, shape: tuple[int, ...]) -> BoolArray:
    """The booleans of this shape. Raises ValueError for fewer bits, to which numpy would append zeros."""
    if (count := math.prod(shape)) > 8 * bits.size:
        raise ValueError(f"expected {count} bits, found {8 * bits.size}")
    return np.unpackbits(bits, count=count).reshape(shape).view(np.bool_)


def read_npz(path: Path, is_known: Callable[[str], bool], *, most: int = 2**31) -> dict[str, npt.NDArray[Any]]:
    """The known arrays of an .npz by name; others are not read. No pickle is read.

    Raises ValueError, naming the array, if the headers announce more than `most` bytes in all, before memory is taken;
    OSError, ValueError and the errors of zipfile for a damaged file.
    """
    found, total = {}, 0
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            name = member.removesuffix(".npy")
            if name == member or not is_known(name):
                continue
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, kind = read(stream)
            total += math.prod(shape) * kind.itemsize
            if total > most:
                raise ValueError(f"{name}: expected at most {most >> 20} MiB of arrays, found {total >> 20} MiB")
            with archive.open(member) as stream:
                found[name] = np.lib.format.read_array(stream, allow_pickle=False)
    return found
