"""Segmentations in COCO's JSON format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
from pycocotools import mask as coco_mask

from car_core.segmentation import Segmentation
from support.arrays import BoolArray
from support.strict_json import dumps


class CocoWriter:
    """Segmentations of the same queries in one document that pycocotools reads, written as they come.

    ``categories``: one per query, id from 1. ``annotations``: one per query that was kept: segmentation (compressed
    run-length encoding), area and bbox in pixels, ``score`` in 0..1. ``images``: id (from 1), file_name, height, width,
    and in addition to COCO's fields ``steps`` (queries, scores and kept of every step, as category ids) and, in
    referring mode, ``merged_mask``; a video's have ``frame`` (from 0) and ``time`` in seconds in place of ``steps``.

    stream: takes text; it is left open.
    """

    def __init__(self, queries: Sequence[str], stream: TextIO) -> None:
        self._stream, self._images, self._n_annotations = stream, list[dict[str, Any]](), 0
        categories = [{"id": i, "name": query, "supercategory": "query"} for i, query in enumerate(queries, start=1)]
        stream.write(f'{{"categories": {dumps(categories)}, "annotations": [')

    def add(self, name: str, found: Segmentation, seconds: float | None = None) -> None:
        """Add the segmentation of one image file, or of a video's next frame, which is at a time."""
        number, (height, width) = len(self._images) + 1, found.label_map.shape
        image: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        if seconds is None:
            image["steps"] = [
                {
                    "queries": [index + 1 for index in step.queries],
                    "scores": [float(score) for score in step.scores],
                    "kept": [index + 1 for index in step.kept],
                }
                for step in found.steps
            ]
        if found.merged_mask is not None:
            image["merged_mask"] = run_lengths(found.merged_mask)
        self._images.append(image if seconds is None else image | {"frame": number - 1, "time": seconds})
        for index in found.kept:
            mask, encoded = found.masks[index], run_lengths(found.masks[index])
            before, self._n_annotations = ", " if self._n_annotations else "", self._n_annotations + 1
            own = {"id": self._n_annotations, "image_id": number, "category_id": index + 1, "segmentation": encoded}
            own |= {"area": int(mask.sum()), "bbox": [float(side) for side in coco_mask.toBbox(encoded)]}
            self._stream.write(before + dumps(own | {"iscrowd": 0, "score": float(found.scores[index])}))

    def close(self) -> None:
        self._stream.write(f'], "images": {dumps(self._images)}}}\n')


def run_lengths(mask: BoolArray) -> dict[str, Any]:
    """A mask bool [H, W] as COCO's compressed run-length encoding: size [H, W] and counts."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}
