"""Segmentations in COCO's JSON format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from pycocotools import mask as coco_mask

from car_core.segmentation import Segmentation
from support.arrays import BoolArray
from support.strict_json import dumps


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
        self._categories = _categories(queries)

    def add(self, path: Path, found: Segmentation) -> None:
        """Add the segmentation of one image file."""
        number = len(self._images) + 1
        self._images.append(_image(number, path, found))
        self._annotations += annotations_of(found, number, len(self._annotations) + 1)

    def as_dict(self) -> dict[str, Any]:
        """The document so far, of JSON types."""
        return {"images": self._images, "categories": self._categories, "annotations": self._annotations}


class CocoVideoWriter:
    """The same document of a video, written as its frames come: each is an image, with ``frame`` (from 0) and ``time``
    in seconds, and without ``steps``.

    stream: takes text; it is left open.
    """

    def __init__(self, queries: Sequence[str], stream: TextIO) -> None:
        self._stream, self._images, self._n_annotations = stream, list[dict[str, Any]](), 0
        stream.write(f'{{"categories": {dumps(_categories(queries))}, "annotations": [')

    def add(self, name: str, seconds: float, found: Segmentation) -> None:
        """Add the segmentation of the next frame."""
        number = len(self._images) + 1
        image = _image(number, Path(name), found) | {"frame": number - 1, "time": seconds}
        del image["steps"]
        self._images.append(image)
        for own in annotations_of(found, number, self._n_annotations + 1):
            self._stream.write(f"{', ' if self._n_annotations else ''}{dumps(own)}")
            self._n_annotations += 1

    def close(self) -> None:
        self._stream.write(f'], "images": {dumps(self._images)}}}\n')


def annotations_of(found: Segmentation, image_id: int, first_id: int) -> list[dict[str, Any]]:
    """The annotations of one image: one for each query that was kept."""
    annotations = []
    for number, index in enumerate(found.kept, start=first_id):
        mask, encoded = found.masks[index], run_lengths(found.masks[index])
        own = {"id": number, "image_id": image_id, "category_id": index + 1, "segmentation": encoded}
        own |= {"area": int(mask.sum()), "bbox": [float(side) for side in coco_mask.toBbox(encoded)]}
        annotations.append(own | {"iscrowd": 0, "score": float(found.scores[index])})
    return annotations


def run_lengths(mask: BoolArray) -> dict[str, Any]:
    """A mask bool [H, W] as COCO's compressed run-length encoding: size [H, W] and counts."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")}


def _categories(queries: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": number, "name": query, "supercategory": "query"} for number, query in enumerate(queries, start=1)]


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
