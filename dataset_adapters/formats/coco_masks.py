"""Masks of instances from COCO's segmentations: polygons, or run-length encodings (RLE).

pycocotools rasterizes the polygons: which pixels on an outline belong to the mask is a matter of its rounding, and the
published figures are measured on its masks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pycocotools import mask as coco_mask

from dataset_adapters.formats.json_fields import as_integer
from support.arrays import BoolArray
from support.text import counted

Overlaps: TypeAlias = Literal["kept", "lost"]
"""Whether pixels covered by several parts of one instance stay in its mask.

"lost" reproduces older code, which sums the parts and takes the value 1 for the object: pixels under two parts hold 2.
"""


def without_stubs(segmentation: Any) -> Any:
    """The segmentation without its polygons of fewer than 3 points, which enclose nothing.

    The decoder would read 4 numbers as a box and fail at fewer; tools that clip and simplify outlines leave such parts.
    """
    if not isinstance(segmentation, list):
        return segmentation

    def is_stub(part: Any) -> bool:
        return isinstance(part, list) and len(part) < 6 and not any(isinstance(value, list) for value in part)

    return [part for part in segmentation if not is_stub(part)]


def stubs_notices(path: Path, segmentations: Iterable[Any]) -> list[str]:
    """What to report of the parts that `without_stubs` leaves out of a file's segmentations."""
    lists = [each for each in segmentations if isinstance(each, list)]
    n_stubs = sum(len(each) - len(without_stubs(each)) for each in lists)
    n_empty = sum(not without_stubs(each) for each in lists)
    stubs = f"{counted(n_stubs, 'polygon')} of fewer than 3 points left out" if n_stubs else ""
    empty = f"{counted(n_empty, 'annotation')} left without a mask" if n_empty else ""
    return [f"{path.name}: {'; '.join(filter(None, (stubs, empty)))}"] if n_stubs or n_empty else []


def decode_segmentation(segmentation: Any, height: int, width: int, overlaps: Overlaps = "kept") -> BoolArray:
    """Return the mask of a COCO segmentation, bool [height, width].

    segmentation, and errors: as in `encode_segmentation`. Raises ValueError also for one without any part.
    overlaps: "kept": the mask is set where any part is; "lost": where exactly one is.
    """
    rles = _encoded_parts(segmentation, height, width)
    if not rles:
        raise ValueError("segmentation: expected at least one polygon of 3 or more points, found none")
    covered, twice = np.zeros((2, height, width), np.bool_)
    for rle in rles:  # one by one: all at once take memory in proportion to their number, which no file bounds
        part = coco_mask.decode(rle).astype(np.bool_)
        twice |= covered & part
        covered |= part
    return np.asarray(covered if overlaps == "kept" else covered & ~twice)


def encode_segmentation(segmentation: Any, height: int, width: int) -> str | None:
    """Return the counts of the mask of a COCO segmentation as compressed RLE; None for one without any part.

    segmentation: a list of polygons [x0, y0, x1, y1, ...], one RLE {"size", "counts"} (counts as a list or
    compressed), or a list of RLEs; polygons as in `without_stubs` are left out.
    Raises ValueError saying what was expected and found. Nothing unchecked reaches the decoder, which is written in C.
    """
    rles = _encoded_parts(segmentation, height, width)
    return str(coco_mask.merge(rles)["counts"], "ascii") if rles else None


def _encoded_parts(segmentation: Any, height: int, width: int) -> list[Any]:
    parts, rles = without_stubs(segmentation), []
    # Annotators overshoot by a few pixels; the decoder takes memory in proportion to the distance of a coordinate.
    reach = 2 * max(height, width)
    for part in parts if isinstance(parts, list) else [parts]:
        if isinstance(part, dict):
            rles.append(_checked_rle(part, height, width))
            continue
        numbers = part if isinstance(part, list) else []
        # NaN is in no range.
        bad = [value for value in numbers if type(value) not in (int, float) or not -reach <= value <= reach]
        if bad:
            raise ValueError(f"segmentation: expected coordinates in -{reach}..{reach}, found {repr(bad[0])[:40]}")
        if not numbers or len(numbers) % 2:
            found = f"{len(numbers)} numbers" if numbers else "null" if part is None else type(part).__name__
            raise ValueError(f"segmentation: expected a polygon of 3 or more points [x, y, ...], found {found}")
        rles.append(coco_mask.frPyObjects([part], height, width)[0])
    return rles


def _checked_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    size = rle.get("size")
    if not isinstance(size, list) or [as_integer(side) for side in size] != [height, width]:
        raise ValueError(f"segmentation: expected an RLE of size [{height}, {width}], found {size!r}")
    counts = rle.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    runs = [as_integer(run) for run in runs] if isinstance(runs, list) else [None]
    if any(run is None or run < 0 for run in runs):
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
        if not 0 <= bits < 64 or shift > 60:  # no image has runs of so many digits
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (bits & 0x10) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs
