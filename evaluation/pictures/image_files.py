"""The user's images and the files that their pictures go to; checked before any model is loaded."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from car_core.segmentation import Segmentation
from support.drawing import encode, save_picture
from support.errors import UserError
from support.files import expanded, resolved
from support.text import counted, did_you_mean

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
"""Files of a folder that are taken for images."""


class SegmentError(UserError, ValueError):
    """No image at the given path, or an output that cannot be written. One line."""


@dataclass(frozen=True)
class OutputPaths:
    """The output files of each image; none for an image that is not among the keys."""

    masks: Mapping[Path, Path]
    steps: Mapping[Path, Path]

    @classmethod
    def planned(cls, images: Sequence[Path], *, masks: str | None, steps: str | None, many: bool) -> OutputPaths:
        """Plan outputs: a file, or ``<stem>.png`` in a folder; in an image's own folder, new ``<stem>-masks.png``.

        A path is a folder if it is one, ends with a slash, or is for several images. many: whether several images were
        asked for, however many there are. Raises SegmentError before any work if a picture could not be written or
        would replace an input.
        """
        return cls(_planned("-o", masks, images, many, "masks"), _planned("--steps", steps, images, many, "steps"))

    @classmethod
    def next_to(cls, images: Sequence[Path], *, many: bool) -> OutputPaths:
        """New files next to the images: ``<stem>-masks.png``, or in a folder ``car-masks`` for several."""
        masks: dict[Path, Path] = {}
        for image in images:
            folder, name = (image.parent / "car-masks", image.stem) if many else (image.parent, f"{image.stem}-masks")
            masks[image] = unused(folder / f"{name}.png", masks.values())
        return cls(masks, {})

    def write(self, segmentation: Segmentation, image: Path) -> list[Path]:
        """Draw and write the pictures of one image; returns their paths. Raises OSError."""
        written = []
        for files, draw in ((self.masks, segmentation.plot), (self.steps, segmentation.plot_steps)):
            if image in files:
                files[image].parent.mkdir(parents=True, exist_ok=True)
                save_picture(np.asarray(draw()), files[image])
                written.append(files[image])
        return written


def _planned(option: str, text: str | None, images: Sequence[Path], many: bool, kind: str) -> dict[Path, Path]:
    if text is None:
        return {}
    path, is_picture = expanded(text), _can_be_picture(Path(text))
    if len(images) > 1 or path.is_dir() or text.endswith(os.sep) or (many and not is_picture):
        if not path.is_dir() and (path.exists() or is_picture):
            what = "the file" if path.exists() else "the name of a picture,"
            raise SegmentError(f"{option}: expected a folder for {counted(len(images), 'image')}, found {what} {path}")
        stems = [image.stem for image in images]
        repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
        if repeated:
            raise SegmentError(f"{option}: expected images with different names, found twice: {', '.join(repeated)}")
        planned = dict[Path, Path]()
        for image in images:
            planned[image] = path_in(path, f"{image.stem}.png", kind, images, planned.values())
    elif not is_picture:
        raise SegmentError(f"{option}: expected a picture file such as out.png, or a folder, out/, found {str(path)!r}")
    else:
        planned = {images[0]: path}
    refuse_replacing(option, planned.values(), images)
    return planned


def path_in(folder: Path, name: str, kind: str, inputs: Iterable[Path], taken: Collection[Path] = ()) -> Path:
    """A file of this name in a folder; in an input's own folder, where that name may be taken, new ``<stem>-<kind>``.

    Raises SegmentError as `unused`.
    """
    path = folder / name
    if resolved(folder) not in {resolved(each.parent) for each in inputs}:
        return path
    return unused(path.with_name(f"{path.stem}-{kind}{path.suffix}"), taken)


def unused(path: Path, taken: Collection[Path] = ()) -> Path:
    """The path, or with a number after its stem, so that it neither exists, even as a dangling link, nor is taken.

    Raises SegmentError where its folder cannot be written to.
    """
    existing = next(folder for folder in (path.absolute().parent, *path.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        raise SegmentError(
            f"{existing}: expected a folder that can be written to, found one that cannot; name another by -o"
        )
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not os.path.lexists(each) and each not in taken)


def check_document(option: str, path: Path, images: Sequence[Path]) -> None:
    """Raise SegmentError before any work if the path is a folder or one of the images."""
    if path.is_dir():
        raise SegmentError(f"{option}: expected a file, found the folder {path}")
    refuse_replacing(option, {path}, images)


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
        folder = path.parent if path.parent.is_dir() and not path.exists() else None
        near = did_you_mean(path.name, (each.name for each in folder.iterdir())) if folder else ""
        raise SegmentError(
            f"image: expected a file, a folder of images or a pattern, found no image at {pattern!r}{near}"
        )
    return images


def split_places(places: Sequence[str], phrases: Sequence[str]) -> tuple[list[str], list[str]]:
    """Images and phrases of a command line: with phrases by option, all places are images, else only the first is.

    Raises SegmentError for no phrase, and without that option for a file: an unquoted pattern would become phrases.
    """
    found = list(places), list(phrases)
    if not phrases:
        found = list(places[:1]), list(places[1:])
    if not all(found):
        raise SegmentError("phrase: expected at least one: car segment IMAGE PHRASE..., found none")
    if not phrases and not os.path.exists(expanded(places[0])) and os.path.isfile(expanded(places[-1])):
        again = f"car segment {places[-1]} {places[0]} ..."
        raise SegmentError(f"image: expected the picture first, found it last: {again}")
    for phrase in [] if phrases else found[1]:
        if os.path.isfile(expanded(phrase)):
            raise SegmentError(
                f"phrase: expected a text to look for, found the file {phrase!r}; several images are segmented with "
                "car segment IMAGES... -p PHRASE -p PHRASE"
            )
    return found


def _can_be_picture(path: Path) -> bool:
    """Whether pictures can be written to files of this ending, found by trying: some formats take no colors."""
    file_format = Image.registered_extensions().get(path.suffix.lower())
    try:
        return file_format is not None and bool(encode(np.zeros((1, 1, 3), np.uint8), file_format))
    except (KeyError, OSError, ValueError):  # KeyError: a format that Pillow only reads
        return False


def refuse_replacing(option: str, written: Collection[Path], images: Sequence[Path]) -> None:
    """Raise SegmentError where an output would replace an input."""
    replaced = {resolved(path) for path in written} & {resolved(image) for image in images}
    if replaced:
        raise SegmentError(f"{option}: expected a path other than the image's own, found {min(replaced)}")
