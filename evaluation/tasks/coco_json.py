"""Segmentations in COCO's JSON format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from car_core.segmentation import Segmentation
from support.arrays import BoolArray


class CocoDocument:
    """Segmentations of the same queries in one document that pycocotools reads.

    ``images``: id (from 1), file_name, height, width, and in addition to COCO's fields ``steps`` (queries, scores and
    kept of every step, as category ids) and, in referring mode, ``merged_mask``. ``categories``: one per query, id
    from 1. ``annotations``: one per query that was kept: segmentation (compressed run-length encoding), area and bbox
    in pixels, ``score`` in 0..1.
    """

    def __init__(self, queries: Sequence[str]) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [
            {"id": number, "name": query, "supercategory": "query"} for number, query in enumerate(queries, start=1)
        ]

    def add(self, path: Path, found: Segmentation) -> None:
        """Add the segmentation of one image file."""
        number = len(self._images) + 1
        self._images.append(_image(number, path, found))
        for index in found.kept:
            place = {"id": len(self._annotations) + 1, "image_id": number, "category_id": index + 1}
            score = {"iscrowd": 0, "score": float(found.scores[index])}
            self._annotations.append(place | _region(found.masks[index]) | score)

    def as_dict(self) -> dict[str, Any]:
        """The document so far, of JSON types."""
        return {"images": self._images, "categories": self._categories, "annotations": self._annotations}


def run_lengths(mask: BoolArray) -> dict[str, Any]:
    """A mask bool [H, W] as COCO's compressed run-length encoding: size [H, W] and counts."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def _region(mask: BoolArray) -> dict[str, Any]:
    encoded = run_lengths(mask)
    box = [float(side) for side in coco_mask.toBbox(encoded)]
    return {"segmentation": encoded, "area": int(mask.sum()), "bbox": box}


def _image(number: int, path: Path, found: Segmentation) -> dict[str, Any]:
    height, width = found.label_map.shape
    steps = [
        {
            "queries": [index + 1 for index in step.queries],
            "scores": [float(score) for score in step.scores],
            "kept": [index + 1 for index in step.kept],
        }
        for step in found.steps
    ]
    image = {"id": number, "file_name": str(path), "height": height, "width": width, "steps": steps}
    merged = {} if found.merged_mask is None else {"merged_mask": run_lengths(found.merged_mask)}
    return {**image, **merged}
