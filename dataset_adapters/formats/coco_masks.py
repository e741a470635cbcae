"""Masks of instances from COCO's segmentations: polygons, or run-length encodings (RLE).

pycocotools rasterizes the polygons: which pixels on an outline belong to the mask is a matter of its rounding, and the
published figures are measured on its masks.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np
from pycocotools import mask as coco_mask

from support.arrays import BoolArray

Overlaps: TypeAlias = Literal["kept", "lost"]
"""Whether pixels covered by several parts of one instance stay in its mask.

"lost" reproduces older code, which sums the parts and takes the value 1 for the object: pixels under two parts hold 2.
"""


def decode_segmentation(segmentation: Any, height: int, width: int, overlaps: Overlaps = "kept") -> BoolArray:
    """Return the mask of a COCO segmentation, bool [height, width].

    segmentation: a list of polygons [x0, y0, x1, y1, ...], one RLE {"size", "counts"} (counts as a list or
    compressed), or a list of RLEs.
    overlaps: "kept": the mask is set where any part is; "lost": where exactly one is.
    Raises ValueError saying what was expected and found. Nothing unchecked reaches the decoder, which is written in C.
    """
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    if not parts:
        raise ValueError("segmentation: expected at least one polygon, found none")
    rles = []
    for part in parts:
        if isinstance(part, dict):
            rles.append(_checked_rle(part, height, width))
            continue
        # The decoder would read four numbers as a box, and take memory in proportion to the distance of a coordinate.
        if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
            found = f"{len(part)} values" if isinstance(part, list) else type(part).__name__
            raise ValueError(f"segmentation: expected a polygon of 3 or more points [x, y, ...], found {found}")
        reach = 2 * max(height, width)
        for value in part:
            if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > reach:
                raise ValueError(f"segmentation: expected coordinates in -{reach}..{reach}, found {value!r}")
        rles.append(coco_mask.frPyObjects([part], height, width)[0])
    layers = coco_mask.decode(rles)  # uint8 [H, W, n]
    return np.asarray(layers.any(axis=2) if overlaps == "kept" else layers.sum(axis=2, dtype=np.int64) == 1)


def _checked_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    if rle.get("size") != [height, width]:
        raise ValueError(f"segmentation: expected an RLE of size [{height}, {width}], found {rle.get('size')!r}")
    counts = rle.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or any(type(run) is not int or run < 0 for run in runs):
        raise ValueError("segmentation: expected RLE counts as compressed text or non-negative integers, found others")
    if sum(runs) != height * width:  # the decoder leaves missing pixels uninitialized
        raise ValueError(f"segmentation: expected RLE counts of {height * width} pixels, found {sum(runs)}")
    return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)  # type: ignore[no-any-return]


def _decompressed(text: str) -> list[int] | None:
    """Return the runs of compressed counts, None for text of another alphabet or with an unfinished number.

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
