"""Pictures of one's own: where they are found, and where drawn ones go. Told before any model is thought of."""

from __future__ import annotations

import glob
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from car_core.drawing import draw_masks, draw_steps, to_pil
from car_core.segmentation import Segmentation
from dataset_adapters.formats.images import read_image
from support.arrays import RGBArray
from support.errors import ImageError, UserError
from support.files import expanded

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
"""Files of a folder that are taken for images."""


class SegmentError(UserError, ValueError):
    """No image at the place given, or an output that cannot be written there. One line."""


@dataclass(frozen=True)
class Found:
    """One image file and what was found in it, or why it could not be read."""

    path: Path
    segmentation: Segmentation | None
    error: str | None = None


@dataclass(frozen=True)
class Pictures:
    """Where pictures go: a file for one image, a folder (``<stem>.png`` each) for several; None for none."""

    masks: Path | None = None
    steps: Path | None = None

    def check(self, images: Sequence[Path]) -> None:
        """Raise SegmentError before any work where a picture could not be written or would replace an input."""
        for option, place in (("-o", self.masks), ("--steps", self.steps)):
            if place is not None:
                _check_place(option, place, images)

    def write(self, found: Segmentation, image: Path, *, several: bool) -> list[Path]:
        """Draw and write the pictures of one image; returns their paths. Raises SegmentError and OSError."""
        drawn = {self.masks: draw_masks, self.steps: draw_steps}
        written = []
        for place, draw in drawn.items():
            if place is not None:
                written.append(_save(draw(found), place / f"{image.stem}.png" if several else place))
        return written


def unreadable(images: Sequence[Path]) -> list[Found]:
    """Each image with its error, if none can be read; nothing as soon as one can, for which models are needed."""
    failures = []
    for path in images:
        error = _read_error(path)
        if error is None:
            return []
        failures.append(Found(path, None, error))
    return failures


def _read_error(path: Path) -> str | None:
    try:
        read_image(path, apply_exif=True)
    except ImageError as error:
        return str(error)
    return None


def check_document(option: str, place: Path, images: Sequence[Path]) -> None:
    """Raise SegmentError before any work for a file that is a folder, or one of the images."""
    if place.is_dir():
        raise SegmentError(f"{option}: expected a file, found the folder {place}")
    _refuse_replacing(option, {place}, images)


def find_images(place: str) -> list[Path]:
    """The image files that a path stands for: a file, a folder (its images, by name) or a glob pattern.

    Raises SegmentError where there is none.
    """
    path = expanded(place)
    if path.is_file():
        return [path]
    inside = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    images = sorted(file for file in inside if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise SegmentError(f"image: expected a file, a folder of images or a pattern, found no image at {place!r}")
    return images


def _check_place(option: str, place: Path, images: Sequence[Path]) -> None:
    if len(images) > 1:
        if place.exists() and not place.is_dir():
            raise SegmentError(f"{option}: expected a folder for {len(images)} images, found the file {place}")
        stems = [image.stem for image in images]
        repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
        if repeated:
            raise SegmentError(f"{option}: expected images of different names, found twice: {', '.join(repeated)}")
    elif place.is_dir() or not _can_hold_pictures(place.suffix.lower()):
        raise SegmentError(f"{option}: expected a picture file such as out.png, found {str(place)!r}")
    written = {place / f"{image.stem}.png" for image in images} if len(images) > 1 else {place}
    _refuse_replacing(option, written, images)


def _can_hold_pictures(suffix: str) -> bool:
    """Whether pictures can be written to files of this ending, tried out: some formats take no colors."""
    form = Image.registered_extensions().get(suffix)
    if form not in Image.SAVE:
        return False
    try:
        Image.new("RGB", (1, 1)).save(BytesIO(), form)
    except (OSError, ValueError):
        return False
    return True


def _refuse_replacing(option: str, written: Collection[Path], images: Sequence[Path]) -> None:
    replaced = {path.resolve() for path in written} & {image.resolve() for image in images}
    if replaced:
        raise SegmentError(f"{option}: expected another place than the image's own, found {sorted(replaced)[0]}")


def _save(picture: RGBArray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pil(picture).save(path)
    return path
