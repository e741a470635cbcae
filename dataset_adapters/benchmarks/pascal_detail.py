"""The annotations of PASCAL in Detail (trainval_merged.json): parsed once, kept as text per image, painted on access.

Only "images" and "annos_segmentation" are used: each is the mask of one category, as compressed RLE.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataset_adapters.base.sample import DatasetError, Row, SampleError
from dataset_adapters.formats.annotation_json import read_annotations, read_images
from dataset_adapters.formats.coco_masks import decode_segmentation, encode_segmentation, stubs_notices
from dataset_adapters.formats.json_fields import read_field, read_json
from support.arrays import Int32Array

PHASES = ("train", "val", "test")


def read_detail(path: Path, labels: Mapping[int, int]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read trainval_merged.json.

    labels: label id by category id, for every category that the file may hold.
    Returns the columns phase, height, width and segments (see `paint_segments`) by the stem of the image's file name,
    and notices of what was left out.
    Raises DatasetError naming entry and field for a file that is not such JSON, has a repeated image, another category,
    a mask of an unknown image, or one of another size than its image.
    """
    stored = read_json(path)
    images = read_images(path, stored, "image_id")
    phases = {}
    for image, entry in zip(images.values(), stored["images"], strict=True):
        phases[image.id] = read_field(path, image.file_name, entry, "phase", str)
        if phases[image.id] not in PHASES:
            found = repr(phases[image.id][:40])
            raise DatasetError(f"{path}: {image.file_name}: phase: expected {' or '.join(PHASES)}, found {found}")
    segments: dict[int, list[tuple[int, str]]] = defaultdict(list)
    segmentations = []
    for annotation in read_annotations(path, stored, "annos_segmentation", images):
        where, image = f"{path}: {annotation.where}", annotation.image
        if annotation.category not in labels:
            raise DatasetError(f"{where}: category_id: expected 0..{max(labels)}, found {annotation.category}")
        mask = read_field(path, annotation.where, annotation.entry, "segmentation", (list, dict))
        segmentations.append(mask)
        counts: str | None
        if isinstance(mask, dict) and isinstance(mask.get("counts"), str) and mask.get("size") == [*image[2:]]:
            counts = mask["counts"]  # checked when it is painted: there are a hundred million characters of them
        else:
            try:
                counts = encode_segmentation(mask, image.height, image.width)
            except ValueError as error:
                raise DatasetError(f"{where}: {error}") from None
        if counts is not None:
            segments[image.id].append((labels[annotation.category], counts))
    return {
        image.stem: {
            "phase": phases[image.id],
            "height": str(image.height),
            "width": str(image.width),
            "segments": json.dumps(segments[image.id], separators=(",", ":")),
        }
        for image in images.values()
    }, stubs_notices(path, segmentations)


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
