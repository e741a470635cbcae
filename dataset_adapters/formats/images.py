"""Decoding of image and mask files into arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from dataset_adapters.base.sample import DatasetError
from support.arrays import Int32Array, RGBArray
from support.errors import ImageError

ImageFile: TypeAlias = str | Path | BinaryIO

MAX_PIXELS = 8192 * 8192
"""Larger images are refused before decoding (decompression bombs), unless `max_pixels` says otherwise."""
MAX_PIXELS_VARIABLE = "CAR_MAX_PIXELS"

_GREY16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_LABEL_MODES = frozenset({"P", "L"})
_LABEL16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})


def max_pixels() -> int:
    """Pixels of the largest image that is decoded: $CAR_MAX_PIXELS, or MAX_PIXELS.

    A variable of the environment reaches decoding processes however they are started. Raises DatasetError for one
    that is no positive integer.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(MAX_PIXELS)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise DatasetError(f"{MAX_PIXELS_VARIABLE}: expected a positive integer, found {text!r}")
    return int(text)


def set_max_pixels(limit: int) -> None:
    """Let images of up to `limit` pixels be decoded, in this process and those it starts. Raises DatasetError."""
    os.environ[MAX_PIXELS_VARIABLE] = str(limit)
    max_pixels()


def read_image(path: ImageFile, *, apply_exif: bool = False) -> RGBArray:
    """Decode an image of any common mode to uint8 [H, W, 3], RGB, 0..255.

    path: a file, or its open stream of bytes.
    16-bit gray is scaled (65535 becomes 255), alpha dropped (not blended), of several frames the first read.
    apply_exif: turn the picture as its EXIF orientation says. False leaves the stored pixels as they are, as
    the masks of data sets expect (TIFF is the exception: its decoder always applies the orientation).
    Raises ImageError for files that are absent, truncated, no image, or larger than `max_pixels`.
    """
    image = _decode(path, apply_exif=apply_exif)
    if image.mode in _GREY16_MODES:
        return _gray16_to_rgb(path, np.asarray(image))
    if image.mode == "F":
        raise ImageError("expected integer pixels, found floating point", str(path))
    # Palettes go by way of RGBA: Pillow warns about per-entry transparency when the alpha is dropped at once.
    opaque = image.convert("RGBA") if image.mode == "P" else image
    return np.array(opaque.convert("RGB"))


def read_label_map(path: ImageFile) -> Int32Array:
    """Decode a palette or 8-bit gray image to its stored indices, int32 [H, W] in 0..255, never to colors.

    Raises ImageError as `read_image`, and for every other pixel mode.
    """
    return _read_labels(path, _LABEL_MODES, "a palette or 8-bit single-channel mask")


def read_label_map16(path: ImageFile) -> Int32Array:
    """Decode a 16-bit gray image (TIFF, PNG) to its stored values, int32 [H, W] in 0..65535.

    Raises ImageError as `read_image`, and for every other pixel mode: 8 bits cannot hold the data sets' labels.
    """
    return _read_labels(path, _LABEL16_MODES, "a 16-bit single-channel mask")


def _read_labels(path: ImageFile, modes: frozenset[str], expected: str) -> Int32Array:
    image = _decode(path, apply_exif=False)
    if image.mode not in modes:
        raise ImageError(f"expected {expected}, found mode {image.mode}", str(path))
    return np.asarray(image).astype(np.int32)


def _decode(path: ImageFile, *, apply_exif: bool) -> Image.Image:
    limit = max_pixels()
    # Pillow's own limit comes first where ours is the higher one.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or limit, limit)
    try:
        with Image.open(path) as image:
            _check_pixels(path, image.size, limit)
            image.load()
            return ImageOps.exif_transpose(image) if apply_exif else image
    except ImageError:
        raise
    except Exception as error:  # a damaged file makes decoders raise errors of almost any type
        raise ImageError(_reason(error, limit), str(path)) from error


def _check_pixels(path: ImageFile, size: tuple[int, int], limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise ImageError(f"expected at most {limit} pixels (--max-pixels), found {width} x {height}", str(path))


def _reason(error: Exception, limit: int) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"expected at most {limit} pixels (--max-pixels), found many more"
    if isinstance(error, UnidentifiedImageError):
        return "expected an image file, found an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"cannot be decoded: {error or type(error).__name__}"


def _gray16_to_rgb(path: ImageFile, levels: npt.NDArray[np.integer]) -> RGBArray:
    """Scale integer gray levels [H, W] in 0..65535 to uint8 [H, W, 3], rounding to nearest."""
    if levels.min() < 0 or levels.max() > 65535:
        raise ImageError(f"expected gray levels 0..65535, found {levels.min()}..{levels.max()}", str(path))
    gray = ((levels.astype(np.int32) + 128) // 257).astype(np.uint8)
    return np.repeat(gray[..., np.newaxis], 3, axis=2)
