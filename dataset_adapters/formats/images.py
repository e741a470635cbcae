"""Decoding of image and mask files into arrays."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from dataset_adapters.base.sample import DatasetError
from support.arrays import Int32Array, RGBArray
from support.errors import ImageError

ImageFile: TypeAlias = str | Path | BinaryIO

MAX_PIXELS = 8192 * 8192
"""Larger images are rejected before decoding (decompression bombs), unless $CAR_MAX_PIXELS raises the limit."""
MAX_PIXELS_VARIABLE = "CAR_MAX_PIXELS"

_GRAY16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_LABEL_MODES = frozenset({"P", "L"})
_LABEL16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

_PNG_METADATA = re.compile(b"eXIf|Raw profile|xmp")
"""Chunks that can hold an orientation. They may stand behind the pixels, which Pillow decodes to look for it."""


class ImageFileError(ImageError):
    """An image file that cannot be decoded. path: the file. reason: what is wrong with it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    def __reduce__(self) -> tuple[type[ImageFileError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


def max_pixels() -> int:
    """Pixels of the largest image that is decoded: $CAR_MAX_PIXELS, or MAX_PIXELS.

    An environment variable reaches decoding processes however they are started. Raises DatasetError unless it is a
    positive integer.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(MAX_PIXELS)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise DatasetError(f"{MAX_PIXELS_VARIABLE}: expected a positive integer, found {text!r}")
    return int(text)


def set_max_pixels(limit: int) -> None:
    """Allow images of up to `limit` pixels in this process and those it starts. Raises DatasetError."""
    os.environ[MAX_PIXELS_VARIABLE] = str(limit)
    max_pixels()


def exif_orientation(path: ImageFile) -> int:
    """How decoded pixels are still to be turned: 1 is upright, 5 to 8 exchange width and height.

    1 for TIFF, which the decoder turns, and for what cannot be read.
    """
    try:
        with Image.open(path) as image:
            if image.format == "PNG" and image.fp:
                position = image.fp.tell()
                image.fp.seek(0)
                if not _PNG_METADATA.search(image.fp.read()):
                    return 1
                image.fp.seek(position)
            return 1 if image.format == "TIFF" else int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in `_decode`
        return 1


def read_image(path: ImageFile, *, apply_exif: bool = False) -> RGBArray:
    """Decode an image of any common mode to uint8 [H, W, 3], RGB, 0..255.

    path: a file, or its open stream of bytes.
    16-bit gray is scaled (65535 becomes 255), alpha dropped (not blended), and only the first of several frames read.
    apply_exif: rotate the image by its EXIF orientation. False keeps the stored pixels, as the masks of data sets
    expect (except for TIFF, whose decoder always applies the orientation).
    Raises ImageFileError for files that are missing, truncated, not images, or larger than `max_pixels`.
    """
    image = _decode(path, apply_exif=apply_exif)
    if image.mode in _GRAY16_MODES:
        levels = np.asarray(image).astype(np.int32)
        if levels.min() < 0 or levels.max() > 65535:
            raise ImageFileError(str(path), f"expected gray levels 0..65535, found {levels.min()}..{levels.max()}")
        gray = ((levels + 128) // 257).astype(np.uint8)  # rounded to nearest
        return np.repeat(gray[..., np.newaxis], 3, axis=2)
    if image.mode == "F":
        raise ImageFileError(str(path), "expected integer pixels, found floating point")
    # Palettes are converted by way of RGBA: Pillow warns about per-entry transparency otherwise.
    opaque = image.convert("RGBA") if image.mode == "P" else image
    return np.array(opaque.convert("RGB"))


def read_label_map(path: ImageFile) -> Int32Array:
    """Decode a palette or 8-bit gray image to its stored indices, int32 [H, W] in 0..255.

    The indices are the labels; converting a palette image to gray or color would replace them by brightness.
    Raises ImageFileError as `read_image`, and for every other pixel mode.
    """
    return _read_labels(path, _LABEL_MODES, "a palette or 8-bit single-channel mask")


def read_label_map16(path: ImageFile) -> Int32Array:
    """Decode a 16-bit gray image (TIFF, PNG) to its stored values, int32 [H, W] in 0..65535.

    Raises ImageFileError as `read_image`, and for every other pixel mode: 8 bits cannot hold the data sets' labels.
    """
    return _read_labels(path, _LABEL16_MODES, "a 16-bit single-channel mask")


def _read_labels(path: ImageFile, modes: frozenset[str], expected: str) -> Int32Array:
    image = _decode(path, apply_exif=False)
    if image.mode not in modes:
        raise ImageFileError(str(path), f"expected {expected}, found mode {image.mode}")
    return np.asarray(image).astype(np.int32)


def _decode(path: ImageFile, *, apply_exif: bool) -> Image.Image:
    limit = max_pixels()
    # Pillow's built-in limit must not be lower than ours.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or limit, limit)
    too_many = f"expected at most {limit} pixels (--max-pixels), found"
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > limit:
                raise ImageFileError(str(path), f"{too_many} {width} x {height}")
            image.load()
            return ImageOps.exif_transpose(image) if apply_exif else image
    except ImageFileError:
        raise
    except Exception as error:  # a damaged file makes decoders raise errors of almost any type
        if isinstance(error, Image.DecompressionBombError):
            reason = f"{too_many} many more"
        elif isinstance(error, UnidentifiedImageError):
            reason = "expected an image file, found an unknown format"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        else:
            reason = f"cannot be decoded: {error or type(error).__name__}"
        raise ImageFileError(str(path), reason) from error
