"""The user's images and the files that their pictures go to; checked before any model is loaded."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from car_core.segmentation import Segmentation
from dataset_adapters.formats.images import read_image
from support.arrays import RGBArray
from support.drawing import encode, save_picture
from support.errors import ImageError, UserError
from support.files import expanded, resolved

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
"""Files of a folder that are taken for images."""


class SegmentError(UserError, ValueError):
    """No image at the given path, or an output that cannot be written. One line."""


@dataclass(frozen=True)
class FileResult:
    """One image file with its segmentation, or with the reason why it could not be read."""

    path: Path
    segmentation: Segmentation | None
    error: str | None = None


@dataclass(frozen=True)
class OutputPaths:
    """Where pictures go: a file for one image, a folder (``<stem>.png`` each) for several; None for no picture."""

    masks: Path | None = None
    steps: Path | None = None

    def check(self, images: Sequence[Path]) -> None:
        """Raise SegmentError before any work if a picture could not be written or would replace an input."""
        for option, path in (("-o", self.masks), ("--steps", self.steps)):
            if path is None:
                continue
            if len(images) > 1:
                if path.exists() and not path.is_dir():
                    raise SegmentError(f"{option}: expected a folder for {len(images)} images, found the file {path}")
                stems = [image.stem for image in images]
                repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
                if repeated:
                    raise SegmentError(
                        f"{option}: expected images with different names, found twice: {', '.join(repeated)}"
                    )
            elif path.is_dir() or not _can_be_picture(path):
                raise SegmentError(f"{option}: expected a picture file such as out.png, found {str(path)!r}")
            written = {path / f"{image.stem}.png" for image in images} if len(images) > 1 else {path}
            _refuse_replacing(option, written, images)

    def write(self, segmentation: Segmentation, image: Path, *, several: bool) -> list[Path]:
        """Draw and write the pictures of one image; returns their paths. Raises SegmentError and OSError."""
        written = []
        for path, draw in ((self.masks, segmentation.plot), (self.steps, segmentation.plot_steps)):
            if path is not None:
                file = path / f"{image.stem}.png" if several else path
                file.parent.mkdir(parents=True, exist_ok=True)
                save_picture(np.asarray(draw()), file)
                written.append(file)
        return written


def check_document(option: str, path: Path, images: Sequence[Path]) -> None:
    """Raise SegmentError before any work if the path is a folder or one of the images."""
    if path.is_dir():
        raise SegmentError(f"{option}: expected a file, found the folder {path}")
    _refuse_replacing(option, {path}, images)


def find_images(pattern: str) -> list[Path]:
    """The image files of a path: the file itself, a folder's images by name, or the matches of a glob pattern.

    Raises SegmentError if there is none.
    """
    path = expanded(pattern)
    if path.is_file():
        return [path]
    candidates = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    images = sorted(file for file in candidates if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise SegmentError(f"image: expected a file, a folder of images or a pattern, found no image at {pattern!r}")
    return images


def unreadable(images: Sequence[Path]) -> list[FileResult]:
    """Each image with its error if none can be read; empty as soon as one can, since then models are needed."""
    failures = []
    for path in images:
        result = read_file(path)
        if not isinstance(result, FileResult):
            return []
        failures.append(result)
    return failures


def read_file(path: Path) -> RGBArray | FileResult:
    """The image uint8 [H, W, 3], or the result that says why it cannot be read."""
    try:
        return read_image(path, apply_exif=True)
    except ImageError as error:
        return FileResult(path, None, str(error))


def _can_be_picture(path: Path) -> bool:
    """Whether pictures can be written to files of this ending, found by trying: some formats take no colors."""
    file_format = Image.registered_extensions().get(path.suffix.lower())
    try:
        return file_format is not None and bool(encode(np.zeros((1, 1, 3), np.uint8), file_format))
    except (KeyError, OSError, ValueError):  # KeyError: a format that Pillow only reads
        return False


def _refuse_replacing(option: str, written: Collection[Path], images: Sequence[Path]) -> None:
    replaced = {resolved(path) for path in written} & {resolved(image) for image in images}
    if replaced:
        raise SegmentError(f"{option}: expected a path other than the image's own, found {min(replaced)}")
