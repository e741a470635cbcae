"""COCO's annotations of instances (instances_*.json): read once, kept as a text an image, painted when asked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
from pydantic import Field

from dataset_adapters.base.sample import DatasetError, Row
from dataset_adapters.formats.annotation_json import Side, Stored, StoredImage, read_stored
from dataset_adapters.formats.images import MAX_PIXELS
from support.arrays import Int32Array

_Value = TypeVar("_Value")
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Run = Annotated[int, Field(ge=0, le=MAX_PIXELS)]
_Polygon: TypeAlias = Annotated[list[_Number], Field(min_length=6)]  # x, y, x, y, ... in pixels


class _Image(StoredImage):
    id: int


class _RLE(Stored):
    """Lengths of the runs of 0 and 1 in turn, down the columns."""

    size: tuple[Side, Side]
    counts: list[_Run]


class _Annotation(Stored):
    image_id: int
    category_id: int
    area: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    segmentation: Annotated[list[_Polygon], Field(min_length=1)] | _RLE


class _Category(Stored):
    id: int
    name: str


class _Instances(Stored):
    images: Annotated[list[_Image], Field(min_length=1)]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_instances(path: Path, labels: Mapping[int, int], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read a file of instances.

    labels: label id (1, 2, ...) by category id. names: the class of label 1, 2, ...
    Returns the columns height, width and instances (see `paint_instances`) by the stem of the image's file name.
    Raises DatasetError naming the field for a file that is no such JSON, holds other categories, the same image twice,
    an annotation of no image, or a mask that does not fit its image.
    """
    stored = read_stored(path, _Instances)
    _check_categories(path, stored.categories, labels, names)
    images = {image.id: image for image in stored.images}
    stems = {Path(image.file_name).stem for image in stored.images}
    if not len(images) == len(stems) == len(stored.images):
        raise DatasetError(f"{path}: images: expected each id and file name once, found one repeated")
    masks = _masks_by_image(path, stored.annotations, images, labels)
    return {Path(image.file_name).stem: _columns(image, masks[image.id]) for image in stored.images}


def paint_instances(row: Row) -> Int32Array:
    """Return the label map, int32 [H, W], that an image's instances make; 0 where there is none.

    row: "height", "width" and "instances", a JSON list of [label, counts] in the order of painting; counts is the
    mask's compressed RLE.
    """
    from pycocotools import mask

    size = [int(row["height"]), int(row["width"])]
    target = np.zeros(size, np.int32)
    for label, counts in json.loads(row["instances"]):
        target[mask.decode({"size": size, "counts": counts}) > 0] = label
    return target


def _check_categories(
    path: Path, categories: Sequence[_Category], labels: Mapping[int, int], names: Sequence[str]
) -> None:
    expected = {category: names[label - 1] for category, label in labels.items()}
    found = {category.id: category.name for category in categories}
    for category in sorted(expected.keys() | found.keys()):
        if expected.get(category) != found.get(category):
            raise DatasetError(
                f"{path}: categories: expected id {category} to be {expected.get(category)!r}, "
                f"found {found.get(category)!r}"
            )


def _masks_by_image(
    path: Path, annotations: Sequence[_Annotation], images: Mapping[int, _Image], labels: Mapping[int, int]
) -> dict[int, list[tuple[int, str]]]:
    """Label and compressed RLE of every instance by image id, the largest first; equal ones as in the file."""
    masks: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for position, annotation in sorted(enumerate(annotations), key=lambda numbered: -numbered[1].area):
        with _naming(f"{path}: annotations.{position}"):
            label = _known(annotation.category_id, labels, "category_id: expected a category of the file")
            image = _known(annotation.image_id, images, "image_id: expected an image of the file")
            masks[image.id].append((label, _compressed(annotation.segmentation, image)))
    return masks


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Raise a ValueError on as a DatasetError that says where."""
    try:
        yield
    except ValueError as error:
        raise DatasetError(f"{place}.{error}") from None


def _known(id: int, values: Mapping[int, _Value], expected: str) -> _Value:
    if id not in values:
        raise ValueError(f"{expected}, found {id}")
    return values[id]


def _compressed(segmentation: list[list[float]] | _RLE, image: _Image) -> str:
    """The mask as compressed RLE. Raises ValueError if it does not fit the image."""
    from pycocotools import mask

    size = [image.height, image.width]
    if isinstance(segmentation, _RLE):
        _check_runs(segmentation, size)
        packed: Any = mask.frPyObjects({"size": size, "counts": segmentation.counts}, *size)
    else:
        for polygon in segmentation:
            _check_polygon(polygon, image)
        packed = mask.merge(mask.frPyObjects(segmentation, *size))
    return str(packed["counts"], "ascii")


def _check_runs(rle: _RLE, size: list[int]) -> None:
    if list(rle.size) != size:
        raise ValueError(f"segmentation.size: expected the size of its image, {size}, found {list(rle.size)}")
    expected, found = size[0] * size[1], sum(rle.counts)
    if found != expected:
        raise ValueError(f"segmentation.counts: expected runs of {expected} pixels in all, found {found}")


def _check_polygon(polygon: list[float], image: _Image) -> None:
    if len(polygon) % 2:
        raise ValueError(f"segmentation: expected x, y pairs, found {len(polygon)} numbers")
    for values, side in ((polygon[::2], image.width), (polygon[1::2], image.height)):
        # Annotators overshoot by pixels; far-away corners are another unit and would take memory without end.
        if min(values) < -side or max(values) > 2 * side:
            raise ValueError(f"segmentation: expected coordinates near 0..{side}, found {min(values)}..{max(values)}")


def _columns(image: _Image, masks: Sequence[tuple[int, str]]) -> dict[str, str]:
    instances = json.dumps(masks, separators=(",", ":"))
    return {"height": str(image.height), "width": str(image.width), "instances": instances}
