"""COCO's instance annotations (instances_*.json): parsed once, kept as text per image, painted on access."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Field

from dataset_adapters.base.sample import DatasetError, Row
from dataset_adapters.formats.annotation_json import Stored, StoredImage, StoredRLE, by_image_id, image_of, read_stored
from dataset_adapters.formats.images import MAX_PIXELS
from support.arrays import Int32Array

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Run = Annotated[int, Field(ge=0, le=MAX_PIXELS)]
_Polygon: TypeAlias = Annotated[list[_Number], Field(min_length=6)]  # x, y, x, y, ... in pixels


class _RLE(StoredRLE):
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
    images: Annotated[list[StoredImage], Field(min_length=1)]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_instances(path: Path, labels: Mapping[int, int], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read a file of instances.

    labels: label id (1, 2, ...) by category id. names: the class names of labels 1, 2, ...
    Returns the columns height, width and instances (see `paint_instances`) by the stem of the image's file name.
    Raises DatasetError naming the field for a file that is not such JSON, has other categories, a repeated image, an
    annotation of an unknown image, or a mask that does not fit its image.
    """
    stored = read_stored(path, _Instances)
    expected = {category: names[label - 1] for category, label in labels.items()}
    found = {category.id: category.name for category in stored.categories}
    for category in sorted(expected.keys() | found.keys()):
        if expected.get(category) != found.get(category):
            raise DatasetError(
                f"{path}: categories: expected id {category} to be {expected.get(category)!r}, "
                f"found {found.get(category)!r}"
            )
    images = by_image_id(path, stored.images)
    masks: dict[int, list[tuple[int, str]]] = defaultdict(list)
    # Instances overlap and the file has no depth order: painting the largest first keeps small ones visible. The sort
    # is stable, so instances of equal area are painted in file order.
    for number, annotation in sorted(enumerate(stored.annotations), key=lambda numbered: -numbered[1].area):
        where = f"{path}: annotations.{number}"
        if annotation.category_id not in labels:
            raise DatasetError(f"{where}.category_id: expected a category of the file, found {annotation.category_id}")
        image = image_of(where, annotation.image_id, annotation.segmentation, images)
        counts = _compressed_counts(f"{where}.segmentation", annotation.segmentation, image)
        masks[image.id].append((labels[annotation.category_id], counts))
    return {
        image.stem: {
            "height": str(image.height),
            "width": str(image.width),
            "instances": json.dumps(masks[image.id], separators=(",", ":")),
        }
        for image in stored.images
    }


def paint_instances(row: Row) -> Int32Array:
    """Return the label map of an image's instances, int32 [H, W]; 0 where there is none.

    row: "height", "width" and "instances", a JSON list of [label, counts] in painting order; counts is the mask's
    compressed RLE.
    """
    from pycocotools import mask

    size = [int(row["height"]), int(row["width"])]
    target = np.zeros(size, np.int32)
    for label, counts in json.loads(row["instances"]):
        target[mask.decode({"size": size, "counts": counts}) > 0] = label
    return target


def _compressed_counts(where: str, segmentation: list[list[float]] | _RLE, image: StoredImage) -> str:
    """The mask as compressed RLE, rasterized by pycocotools. Raises DatasetError if it does not fit the image."""
    from pycocotools import mask

    if isinstance(segmentation, _RLE):
        expected, found = image.height * image.width, sum(segmentation.counts)
        if found != expected:
            raise DatasetError(f"{where}.counts: expected runs of {expected} pixels in all, found {found}")
        packed: Any = mask.frPyObjects({"size": image.size, "counts": segmentation.counts}, *image.size)
        return str(packed["counts"], "ascii")
    for polygon in segmentation:
        if len(polygon) % 2:
            raise DatasetError(f"{where}: expected x, y pairs, found {len(polygon)} numbers")
        for values, side in ((polygon[::2], image.width), (polygon[1::2], image.height)):
            # Annotators overshoot by a few pixels; distant corners are in other units and would exhaust the memory.
            if min(values) < -side or max(values) > 2 * side:
                raise DatasetError(f"{where}: expected coordinates near 0..{side}, found {min(values)}..{max(values)}")
    return str(mask.merge(mask.frPyObjects(segmentation, *image.size))["counts"], "ascii")
