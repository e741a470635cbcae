"""COCO's instance annotations (instances_*.json): parsed once, kept as text per image, painted on access."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset_adapters.base.sample import DatasetError, Row
from dataset_adapters.formats.annotation_json import read_annotations, read_images
from dataset_adapters.formats.coco_masks import encode_segmentation, stubs_notices
from dataset_adapters.formats.json_fields import read_field, read_integer, read_json
from support.arrays import Int32Array


def read_instances(
    path: Path, labels: Mapping[int, int], names: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read a file of instances.

    labels: label id (1, 2, ...) by category id. names: the class names of labels 1, 2, ...
    Returns the columns height, width and instances (see `paint_instances`) by the stem of the image's file name, and
    notices of what was left out.
    Raises DatasetError naming entry and field for a file that is not such JSON, has other categories, a repeated image,
    an annotation of an unknown image, or a mask that does not fit its image.
    """
    stored = read_json(path)
    expected = {category: names[label - 1] for category, label in labels.items()}
    found = {}
    for number, entry in enumerate(read_field(path, "the file", stored, "categories", list)):
        where = f"categories {number}"
        found[read_integer(path, where, entry, "id")] = read_field(path, where, entry, "name", str)
    for category in sorted(expected.keys() | found.keys()):
        if expected.get(category) != found.get(category):
            raise DatasetError(
                f"{path}: categories: expected id {category} to be {expected.get(category)!r}, "
                f"found {found.get(category)!r}"
            )
    images = read_images(path, stored)
    masks: dict[int, list[tuple[float, int, str]]] = defaultdict(list)
    segmentations = []
    for annotation in read_annotations(path, stored, "annotations", images):
        where, image = f"{path}: {annotation.where}", annotation.image
        if annotation.category not in labels:
            raise DatasetError(f"{where}: category_id: expected a category of the file, found {annotation.category}")
        area = read_field(path, annotation.where, annotation.entry, "area", (int, float))
        if not 0 <= area < math.inf:
            raise DatasetError(f"{where}: area: expected a number of pixels >= 0, found {area}")
        segmentations.append(read_field(path, annotation.where, annotation.entry, "segmentation", (list, dict)))
        try:
            counts = encode_segmentation(segmentations[-1], image.height, image.width)
        except ValueError as error:
            raise DatasetError(f"{where}: {error}") from None
        if counts is not None:
            masks[image.id].append((-area, labels[annotation.category], counts))
    columns = {}
    for image in images.values():
        # Instances overlap and the file has no depth order: painting the largest first keeps small ones visible. The
        # sort is stable, so instances of equal area are painted in file order.
        ordered = [mask[1:] for mask in sorted(masks[image.id], key=lambda mask: mask[0])]
        instances = json.dumps(ordered, separators=(",", ":"))
        columns[image.stem] = {"height": str(image.height), "width": str(image.width), "instances": instances}
    return columns, stubs_notices(path, segmentations)


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
