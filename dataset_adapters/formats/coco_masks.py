"""Masks of instances from COCO's segmentations: polygons, or run-length encodings (RLE)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from pycocotools import mask as coco_mask

from support.arrays import BoolArray, RGBArray

Overlaps: TypeAlias = Literal["kept", "lost"]

# How the parts of one instance, uint8 [H, W, n], become its mask.
OVERLAPS: Mapping[str, Callable[[RGBArray], BoolArray]] = {
    "kept": lambda layers: np.asarray(layers.any(axis=2)),
    # What taking the sum of the parts for a label map does: pixels under two parts hold 2 and are not the object.
    "lost": lambda layers: np.asarray(layers.sum(axis=2, dtype=np.int64) == 1),
}


def decode_segmentation(segmentation: Any, height: int, width: int, overlaps: Overlaps = "kept") -> BoolArray:
    """Return the mask of a COCO segmentation, bool [height, width].

    segmentation: a list of polygons [x0, y0, x1, y1, ...], one RLE {"size", "counts"} (counts as a list or
    compressed), or a list of RLEs.
    overlaps: "kept": where any part is set; "lost": where exactly one is (see OVERLAPS).
    Raises ValueError saying what was expected and found; nothing unchecked reaches the decoder, which is C.
    """
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not parts:
        raise ValueError("segmentation: expected at least one polygon, found none")
    rles = [_rle(part, height, width) for part in parts]
    return OVERLAPS[overlaps](coco_mask.decode(rles))


def _rle(part: Any, height: int, width: int) -> dict[str, Any]:
    if isinstance(part, dict):
        return _checked_rle(part, height, width)
    _check_polygon(part, height, width)
    return coco_mask.frPyObjects([part], height, width)[0]  # type: ignore[no-any-return]


def _check_polygon(polygon: Any, height: int, width: int) -> None:
    # Four numbers would be read as a box, and far coordinates would take memory by the distance.
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        found = f"{len(polygon)} values" if isinstance(polygon, list) else type(polygon).__name__
        raise ValueError(f"segmentation: expected a polygon of 3 or more points [x, y, ...], found {found}")
    reach = 2 * max(height, width)
    for value in polygon:
        if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > reach:
            raise ValueError(f"segmentation: expected coordinates in -{reach}..{reach}, found {value!r}")


def _checked_rle(rle: Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    if rle.get("size") != [height, width]:
        raise ValueError(f"segmentation: expected an RLE of size [{height}, {width}], found {rle.get('size')!r}")
    counts = rle.get("counts")
    runs = _uncompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs):
        raise ValueError("segmentation: expected RLE counts as compressed text or non-negative integers, found others")
    if sum(runs) != height * width:  # the decoder leaves what is missing to chance
        raise ValueError(f"segmentation: expected RLE counts of {height * width} pixels, found {sum(runs)}")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)  # type: ignore[no-any-return]


def _uncompressed(text: str) -> list[int] | None:
    """The runs of compressed counts, None for text of another alphabet or with an unfinished number.

    A character holds five bits (low ones first) and, as bit 5, whether more follow; the sign is the last one's bit 4.
    From the fourth run on, the difference to the run two before is stored.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (bits & 0x10) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs
