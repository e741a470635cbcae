"""Decoding of image and mask files into arrays."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile as PillowFile

from dataset_adapters.errors import DatasetError, SampleError
from support.arrays import Int32Array, RGBArray
from support.errors import ImageError
from support.files import open_regular
from support.text import shortened

ImageFile: TypeAlias = str | Path | BinaryIO

MAX_PIXELS = 8192 * 8192
"""Larger images are rejected before decoding (decompression bombs), unless $CAR_MAX_PIXELS raises the limit."""
MAX_PIXELS_VARIABLE = "CAR_MAX_PIXELS"

_GRAY16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I"})
_LABEL_MODES = frozenset({"P", "L", "1"})
_LABEL16_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_LABEL_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
_LOSSY = frozenset({"jpeg", "tiff_jpeg", "webp"})
"""Compressions inside a TIFF that change labels."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""What images are read from. Pillow has decoders for more, one of which starts Ghostscript."""
_PNG_METADATA = re.compile(b"eXIf|Raw profile|xmp")
"""Chunks that can hold an orientation. They may follow the pixels, which Pillow decodes to look for them."""


class ImageFileError(ImageError):
    """An image file that cannot be decoded. path: the file. reason: what is wrong with it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    def __reduce__(self) -> tuple[type[ImageFileError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


@contextmanager
def sample_errors(row: Mapping[str, str], column: str) -> Iterator[None]:
    """Raise SampleError, naming the sample and its file in that column, for what cannot be decoded inside."""
    try:
        yield
    except ImageFileError as error:
        raise SampleError(row["id"], row[column], error.reason) from error
    except ValueError as error:
        raise SampleError(row["id"], row[column], str(error)) from error


def max_pixels() -> int:
    """Pixels of the largest image that is decoded: $CAR_MAX_PIXELS, or MAX_PIXELS.

    An environment variable reaches decoding processes however they are started. Raises DatasetError unless it is a
    positive integer.
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(MAX_PIXELS)
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text)):
        raise DatasetError(f"{MAX_PIXELS_VARIABLE}: expected a positive integer, found {shortened(text)!r}")
    return int(text)


def set_max_pixels(limit: int) -> None:
    """Allow images of up to `limit` pixels in this process and those it starts. Raises DatasetError."""
    os.environ[MAX_PIXELS_VARIABLE] = str(limit)
    max_pixels()


@contextmanager
def open_picture(path: ImageFile) -> Iterator[PillowFile]:
    """Pillow's image of a file or stream in one of `FORMATS`, not yet decoded. All images are opened here.

    Raises OSError, UnidentifiedImageError for another format, and whatever a damaged file makes Pillow raise.
    """
    source = io.BufferedReader(open_regular(Path(path))) if isinstance(path, (str, Path)) else nullcontext(path)
    Image.init()
    formats = [each for each in FORMATS if each in Image.OPEN]  # not every build of Pillow has AVIF
    with source as stream, Image.open(stream, formats=formats) as image:
        yield image


def exif_orientation(path: ImageFile) -> int:
    """How decoded pixels are still to be turned: 1 is upright, 5 to 8 exchange width and height.

    1 for TIFF, which the decoder turns, and for what cannot be read.
    """
    try:
        with open_picture(path) as image:
            if image.format == "PNG" and image.fp:
                position = image.fp.tell()
                image.fp.seek(0)
                if not _PNG_METADATA.search(image.fp.read()):
                    return 1
                image.fp.seek(position)
            return 1 if image.format == "TIFF" else int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in `_opened`
        return 1


def read_image(path: ImageFile, *, apply_exif: bool = False) -> RGBArray:
    """Decode an image of any common mode to uint8 [H, W, 3], RGB, 0..255.

    path: a file, or its open stream of bytes.
    16-bit gray is scaled (65535 becomes 255), alpha dropped (not blended), and only the first of several frames read.
    apply_exif: rotate the image by its EXIF orientation. False keeps the stored pixels, as the masks of data sets
    expect (except for TIFF, whose decoder always applies the orientation).
    Raises ImageFileError for files that are missing, truncated, not images, or larger than `max_pixels`.
    """
    with _opened(path) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened) if apply_exif else opened
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


def image_shape(path: ImageFile, *, apply_exif: bool = False) -> tuple[int, int]:
    """Height and width of what `read_image` decodes; pixels are not decoded. Raises ImageFileError as it does."""
    with _opened(path) as opened:
        if opened.format == "TIFF":  # its decoder turns it
            opened.load()
        width, height = opened.size
    return (width, height) if apply_exif and exif_orientation(path) > 4 else (height, width)


def read_label_map(path: ImageFile) -> Int32Array:
    """Decode a palette or gray image (PNG, TIFF, BMP, GIF) of 1 to 8 bits to its stored indices, int32 [H, W] >= 0.

    The indices are the labels; converting a palette image to gray or color would replace them by brightness.
    Raises ImageFileError as `read_image`, and for every other pixel mode, file format and lossy compression.
    """
    return _read_labels(path, _LABEL_MODES, "a palette or single-channel mask of 1 to 8 bits")


def read_label_map16(path: ImageFile) -> Int32Array:
    """Decode a 16-bit gray image (TIFF, PNG) to its stored values, int32 [H, W] in 0..65535.

    Raises ImageFileError as `read_image`, and for every other pixel mode: 8 bits cannot hold the data sets' labels.
    """
    return _read_labels(path, _LABEL16_MODES, "a 16-bit single-channel mask")


def read_any_label_map(path: ImageFile, shape: tuple[int, int]) -> Int32Array:
    """Decode a palette or gray image of 1 to 16 bits to its stored values, int32 of this shape [H, W], in 0..65535.

    Raises ImageFileError as `read_label_map`; for another size before it is decoded.
    """
    return _read_labels(path, _LABEL_MODES | _LABEL16_MODES, "a palette or single-channel mask of 1 to 16 bits", shape)


def _read_labels(
    path: ImageFile, modes: frozenset[str], expected: str, shape: tuple[int, int] | None = None
) -> Int32Array:
    with _opened(path) as opened:
        if shape and opened.size != shape[::-1]:
            sizes = (f"{width} x {height}" for width, height in (shape[::-1], opened.size))
            raise ImageFileError(str(path), "expected the size of the image, {}, found {}".format(*sizes))
        if opened.format not in _LABEL_FORMATS or opened.info.get("compression") in _LOSSY:
            found = f"{opened.format} compressed with loss" if opened.format in _LABEL_FORMATS else opened.format
            raise ImageFileError(str(path), f"expected {expected} in a PNG, TIFF, BMP or GIF file, found {found}")
        if opened.mode not in modes:
            raise ImageFileError(str(path), f"expected {expected}, found mode {opened.mode}")
        image: Image.Image = opened
        layout: Any  # how the file packs its pixels: a name, such as "L;4" or "1;I", alone or before other numbers
        decoder, _, offset, layout = opened.tile[0]
        if opened.format == "BMP" and decoder == "raw" and opened.fp:
            # By the file's depth: Pillow forgets it where the palette is gray.
            opened.fp.seek(0)
            content = opened.fp.read()
            (bits,) = struct.unpack_from("<H", content, 24 if content[14] == 12 else 28)
            image = Image.frombytes(
                "P", image.size, content[offset:], "raw", f"P;{bits}".removesuffix(";8"), *layout[1:]
            )
        values = np.asarray(image).astype(np.int32)
        if image.mode in ("1", "L"):
            # Pillow stretches gray of fewer bits to 0..255, and inverts it where 0 is white.
            packing = str(layout if isinstance(layout, str) else layout[0]).partition(";")[2]
            largest = 1 if image.mode == "1" else 2 ** int(packing[0]) - 1 if packing[:1].isdigit() else 255
            values //= 255 // largest if image.mode == "L" else 1
            values = largest - values if "I" in packing else values
    return values


@contextmanager
def _opened(path: ImageFile) -> Iterator[PillowFile]:
    """The file, not larger than allowed and not yet decoded; what goes wrong inside becomes an ImageFileError."""
    limit = max_pixels()
    # Pillow's built-in limit must not be lower than ours.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or limit, limit)
    too_many = f"expected at most {limit} pixels (--max-pixels), found"
    try:
        with open_picture(path) as image:
            width, height = image.size
            if width * height > limit:
                raise ImageFileError(str(path), f"{too_many} {width} x {height}")
            yield image
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
