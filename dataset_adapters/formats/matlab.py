"""Label maps in MATLAB files.

scipy's reader crashes the whole process on some damaged files, so the one kind of variable that is needed is read here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataset_adapters.formats.images import ImageFileError, max_pixels
from support.arrays import Int32Array
from support.files import read_regular

VARIABLE = "LabelMap"
_LARGEST = 65535

# The file format ("MAT-File Format", level 5): a header, then elements of a type, a size and a content.
_HEADER = 128
_ORDERS = {b"IM": "<", b"MI": ">"}
_NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMBER_CLASSES = range(6, 16)  # double, single and the integers; below: cells, structs, text, sparse matrices
_COMPLEX = 0x800
_DESCRIPTION_BYTES = 4096  # upper bound of what a matrix holds besides its numbers


def read_matlab_labels(path: Path) -> Int32Array:
    """Decode the matrix LabelMap of a MATLAB file (version 5 to 7) to int32 [H, W] in 0..65535.

    Raises ImageFileError for a file that is missing or damaged, has no such matrix, or holds other numbers.
    """
    try:
        content = read_regular(path, most=2**28)
        order = _ORDERS.get(content[_HEADER - 2 : _HEADER])
        if order is None or struct.unpack_from(f"{order}H", content, _HEADER - 4) != (0x100,):
            raise ValueError("expected a MATLAB file of version 5 to 7, found another format")
        others = []
        for kind, body in _elements(content[_HEADER:], order):
            # A matrix consists of the elements flags, dimensions, name and values.
            parts = _elements(_unpacked(body, order) if kind == _COMPRESSED else body, order)
            flags, dimensions, named = (next(parts, (0, b""))[1] for _ in range(3))
            name = named.decode("latin-1")
            if name == VARIABLE:
                return _decode_labels(flags, dimensions, next(parts, (0, b"")), order)
            others.append(ascii(name)[:40])
        raise ValueError(f"expected a matrix of that name, found {', '.join(others[:8]) or 'none'}")
    except OSError as error:
        raise ImageFileError(str(path), error.strerror or str(error)) from error
    except (ValueError, struct.error, zlib.error) as error:
        raise ImageFileError(str(path), f"{VARIABLE}: {error}") from error


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of every element in `data`. Raises ValueError if one is truncated."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:  # a small element: up to four bytes, packed into the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        end = start + size
        if end > len(data) or (start == at + 4 and size > 4):
            raise ValueError("expected whole elements, found a truncated or damaged file")
        yield kind, data[start:end]
        at = end if kind == _COMPRESSED else end + -end % 8


def _unpacked(body: bytes, order: str) -> bytes:
    """The content of the matrix in a compressed element, up to the size of the largest label map."""
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(body, 2 * max_pixels() + _DESCRIPTION_BYTES)  # labels take two bytes
    if unpacking.unconsumed_tail:
        raise ValueError(f"expected at most {max_pixels()} pixels (--max-pixels), found many more")
    if not unpacking.eof:
        raise ValueError("expected whole elements, found a truncated or damaged file")
    return next(_elements(data, order), (_MATRIX, b""))[1]


def _decode_labels(flags: bytes, dimensions: bytes, values: tuple[int, bytes], order: str) -> Int32Array:
    """The matrix as labels. Raises ValueError for anything but whole numbers in two dimensions."""
    (description,) = struct.unpack_from(f"{order}I", flags)
    kind, body = values
    if description & 0xFF not in _NUMBER_CLASSES or description & _COMPLEX or kind not in _NUMBER_TYPES:
        raise ValueError("expected a matrix of real numbers, found another kind of variable")
    shape = tuple(np.frombuffer(dimensions, f"{order}i4").tolist())
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] > max_pixels():
        raise ValueError(f"expected 1 to {max_pixels()} pixels in two dimensions, found {shape[:8]}")
    # The type of the stored numbers says nothing about the variable: MATLAB stores doubles as bytes where they fit.
    numbers: npt.NDArray[np.generic] = np.frombuffer(body, order + _NUMBER_TYPES[kind])
    if numbers.size != shape[0] * shape[1]:
        raise ValueError(f"expected {shape[0] * shape[1]} numbers, found {numbers.size}")
    if numbers.min() < 0 or numbers.max() > _LARGEST:
        raise ValueError(f"expected 0..{_LARGEST}, found {numbers.min()}..{numbers.max()}")
    if not np.array_equal(numbers, np.floor(numbers)):
        raise ValueError("expected whole numbers, found fractions")
    return np.ascontiguousarray(numbers.reshape(shape, order="F"), np.int32)
