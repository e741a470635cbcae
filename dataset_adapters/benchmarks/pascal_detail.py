"""The annotations of PASCAL in Detail (trainval_merged.json): read once, kept as a text an image, painted when asked.

Of the file, "images" and "annos_segmentation" matter: a mask of one category each, as compressed RLE.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dataset_adapters.base.sample import DatasetError, Row, SampleError
from dataset_adapters.formats.annotation_json import Side, Stored, StoredImage, read_stored
from dataset_adapters.formats.coco_masks import decode_segmentation
from support.arrays import Int32Array

PHASES = ("train", "val", "test")


class _Image(StoredImage):
    image_id: int
    phase: Literal["train", "val", "test"]


class _RLE(Stored):
    size: tuple[Side, Side]
    counts: str


class _Segment(Stored):
    image_id: int
    category_id: Annotated[int, Field(ge=0)]
    segmentation: _RLE


class _Detail(Stored):
    images: Annotated[list[_Image], Field(min_length=1)]
    annos_segmentation: list[_Segment]


def read_detail(path: Path, labels: Mapping[int, int]) -> dict[str, dict[str, str]]:
    """Read trainval_merged.json.

    labels: label id by category id, for every category that the file may hold.
    Returns the columns phase, height, width and segments (see `paint_segments`) by the stem of the image's file name.
    Raises DatasetError naming the field for a file that is no such JSON, holds the same image twice, another category,
    a mask of no image, or one of another size than its image.
    """
    stored = read_stored(path, _Detail)
    images = {image.image_id: image for image in stored.images}
    stems = {Path(image.file_name).stem for image in stored.images}
    if not len(images) == len(stems) == len(stored.images):
        raise DatasetError(f"{path}: images: expected each image_id and file_name once, found one repeated")
    segments: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for position, segment in enumerate(stored.annos_segmentation):
        where = f"{path}: annos_segmentation.{position}"
        _check(where, segment, images, labels)
        segments[segment.image_id].append((labels[segment.category_id], segment.segmentation.counts))
    return {Path(image.file_name).stem: _columns(image, segments[image.image_id]) for image in stored.images}


def paint_segments(row: Row) -> Int32Array:
    """Return the label map, int32 [H, W], that an image's segments make; 0 where there is none.

    row: "id", "mask", "height", "width" and "segments", a JSON list of [label, counts]: the later lies over the
    earlier, as in the file. Raises SampleError for counts that are no mask of that size.
    """
    height, width = size = [int(row["height"]), int(row["width"])]
    target = np.zeros(size, np.int32)
    try:
        for label, counts in json.loads(row["segments"]):
            target[decode_segmentation({"size": size, "counts": counts}, height, width)] = label
    except ValueError as error:
        raise SampleError(row["id"], row["mask"], str(error)) from error
    return target


def _check(where: str, segment: _Segment, images: Mapping[int, _Image], labels: Mapping[int, int]) -> None:
    if segment.category_id not in labels:
        raise DatasetError(f"{where}.category_id: expected 0..{max(labels)}, found {segment.category_id}")
    if segment.image_id not in images:
        raise DatasetError(f"{where}.image_id: expected an image of the file, found {segment.image_id}")
    image, size = images[segment.image_id], list(segment.segmentation.size)
    if size != [image.height, image.width]:
        expected = [image.height, image.width]
        raise DatasetError(f"{where}.segmentation.size: expected the size of its image, {expected}, found {size}")


def _columns(image: _Image, segments: Sequence[tuple[int, str]]) -> dict[str, str]:
    size = {"height": str(image.height), "width": str(image.width)}
    return {"phase": image.phase, **size, "segments": json.dumps(segments, separators=(",", ":"))}
