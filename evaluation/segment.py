"""Phrases on pictures of one's own: find the files, segment each, say and write what came out."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from car_core import CaR, CaRConfig
from car_core.config import Mode, Profile
from car_core.drawing import draw_masks, draw_steps, to_pil
from car_core.segmentation import RGBArray, Segmentation
from car_core.weights import MINIATURE
from dataset_adapters.images import ImageError, read_image
from evaluation.benchmark import Source, refuse_fields
from evaluation.inputs import weights_notices, with_own_models

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
"""Files of a folder that are taken for images."""

_NOT_SETTINGS = {"profile": "the option --profile", "mode": "the option --mode"}


class SegmentError(ValueError):
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


def find_images(place: str) -> list[Path]:
    """The image files that a path stands for: a file, a folder (its images, by name) or a glob pattern.

    Raises SegmentError where there is none.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return [path]
    inside = path.iterdir() if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
    images = sorted(file for file in inside if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not images:
        raise SegmentError(f"image: expected a file, a folder of images or a pattern, found no image at {place!r}")
    return images


def load_car(
    weights: Mapping[str, str | None], profile: Profile | None, mode: Mode, settings: Mapping[str, Any], *, device: str
) -> CaR:
    """CaR for pictures of one's own; weights by role, None (with a line on standard error) for the miniature's.

    profile: None for the released one, or the paper's where both models are the miniature's. Raises ConfigError,
    ModelError, and BenchmarkError for a field that is set elsewhere.
    """
    refuse_fields(settings, _NOT_SETTINGS)
    for notice in weights_notices(weights):
        print(f"notice: {notice}", file=sys.stderr)
    named = {role: name or MINIATURE for role, name in weights.items()}
    usual: Profile = "paper" if set(named.values()) == {MINIATURE} else "released"
    config = CaRConfig(**{"profile": profile or usual, "mode": mode, **settings})
    sources: dict[str, Source] = {name: "user" if name in settings else "default" for name in CaRConfig.model_fields}
    return CaR.from_config(with_own_models(config, sources, named)[0], weights=named, device=device)


def segment_files(car: CaR, images: Sequence[Path], queries: Sequence[str], *, trace: bool) -> Iterator[Found]:
    """Segment one image after the other as the results are asked for; one that cannot be read does not end the rest.

    Raises QueryError for queries that no image can be segmented with.
    """
    checked = car.check_queries(queries)
    for path in images:
        yield _segment_file(car, path, checked, trace)


def _segment_file(car: CaR, path: Path, queries: Sequence[str], trace: bool) -> Found:
    try:
        image = read_image(path, apply_exif=True)
    except ImageError as error:
        return Found(path, None, str(error))
    return Found(path, car.segment(image, queries, trace=trace))


def _check_place(option: str, place: Path, images: Sequence[Path]) -> None:
    if len(images) > 1:
        if place.exists() and not place.is_dir():
            raise SegmentError(f"{option}: expected a folder for {len(images)} images, found the file {place}")
        stems = [image.stem for image in images]
        repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
        if repeated:
            raise SegmentError(f"{option}: expected images of different names, found twice: {', '.join(repeated)}")
    elif place.suffix.lower() not in Image.registered_extensions() or place.is_dir():
        raise SegmentError(f"{option}: expected a picture file such as out.png, found {str(place)!r}")
    written = {place / f"{image.stem}.png" for image in images} if len(images) > 1 else {place}
    replaced = {path.resolve() for path in written} & {image.resolve() for image in images}
    if replaced:
        raise SegmentError(f"{option}: expected another place than the image's own, found {sorted(replaced)[0]}")


def _save(picture: RGBArray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    to_pil(picture).save(path)
    return path
