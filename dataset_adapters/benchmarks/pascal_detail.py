"""The annotations of PASCAL in Detail (trainval_merged.json): parsed once, kept as text per image, painted on access.

Only "images" and "annos_segmentation" are used: each is the mask of one category, as compressed RLE.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dataset_adapters.base.sample import DatasetError, Row, SampleError
from dataset_adapters.formats.annotation_json import Stored, StoredImage, StoredRLE, by_image_id, image_of, read_stored
from dataset_adapters.formats.coco_masks import decode_segmentation
from support.arrays import Int32Array

PHASES = ("train", "val", "test")


class _Image(StoredImage):
    id: int = Field(alias="image_id")
    phase: Literal["train", "val", "test"]


class _RLE(StoredRLE):
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
    Raises DatasetError naming the field for a file that is not such JSON, has a repeated image, another category, a
    mask of an unknown image, or one of another size than its image.
    """
    stored = read_stored(path, _Detail)
    images = by_image_id(path, stored.images)
    segments: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for number, segment in enumerate(stored.annos_segmentation):
        where = f"{path}: annos_segmentation.{number}"
        if segment.category_id not in labels:
            raise DatasetError(f"{where}.category_id: expected 0..{max(labels)}, found {segment.category_id}")
        image = image_of(where, segment.image_id, segment.segmentation, images)
        segments[image.id].append((labels[segment.category_id], segment.segmentation.counts))
    return {
        image.stem: {
            "phase": image.phase,
            "height": str(image.height),
            "width": str(image.width),
            "segments": json.dumps(segments[image.id], separators=(",", ":")),
        }
        for image in stored.images
    }


def paint_segments(row: Row) -> Int32Array:
    """Return the label map of an image's segments, int32 [H, W]; 0 where there is none.

    row: "id", "mask", "height", "width" and "segments", a JSON list of [label, counts] in file order: later ones cover
    earlier ones. Raises SampleError for counts that are not a mask of that size.
    """
    height, width = size = [int(row["height"]), int(row["width"])]
    target = np.zeros(size, np.int32)
    try:
        for label, counts in json.loads(row["segments"]):
            target[decode_segmentation({"size": size, "counts": counts}, height, width)] = label
    except ValueError as error:
        raise SampleError(row["id"], row["mask"], str(error)) from error
    return target
