"""Masks from COCO's segmentations: polygons, or run-length encodings (RLE).

pycocotools rasterizes the polygons: which pixels on an outline belong to the mask is a matter of its rounding, and the
published figures are measured on its masks.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from pycocotools import mask as coco_mask

from dataset_adapters.errors import DatasetError
from dataset_adapters.formats.annotation_json import as_integer, read_field, read_images, read_integer
from dataset_adapters.formats.images import sample_errors
from support.arrays import BoolArray, Int32Array
from support.text import counted, visible

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
    return [
        part
        for part in segmentation
        if not isinstance(part, list) or len(part) >= 6 or any(isinstance(value, list) for value in part)
    ]


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
        if not 0 <= bits < 64 or shift > 60:  # no image has runs of that many digits
            return None
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (bits & 0x10) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs


def read_segments(
    path: Path, stored: Any, kind: str, labels: Mapping[int, int], *, id_field: str = "id", by_area: bool
) -> tuple[dict[str, tuple[dict[str, str], str]], list[str]]:
    """Return what `paint_segments` reads of each image, by the stem of its file name, and notices of what was left out.

    stored: the contents of the file `path`. kind: its list of annotations. labels: label id by category id.
    id_field: that of its images. by_area: the largest are painted first, by the field `area`, as instances overlap and
    files have no depth order; else those that come first in the file, and RLEs are kept as they are stored.
    Raises DatasetError for missing and wrong fields, a repeated image, an annotation of an unknown image or category,
    and a mask that does not fit its image.
    """
    images = read_images(path, stored, id_field)
    segments: dict[int, list[tuple[float, int, str]]] = defaultdict(list)
    masks = []
    for number, entry in enumerate(read_field(path, "the file", stored, kind, list)):
        where = f"{kind} {number}"
        if isinstance(entry, dict) and "id" in entry:
            where = f"annotation {visible(str(entry['id']), 40)}"
        image_id = read_integer(path, where, entry, "image_id")
        if image_id not in images:
            raise DatasetError(f"{path}: {where}: image_id: expected an image of the file, found {image_id}")
        image = images[image_id]
        where = f"{where} of {image.file_name}"
        category = read_integer(path, where, entry, "category_id")
        if category not in labels:
            expected = "a category of the file" if by_area else f"0..{max(labels)}"
            raise DatasetError(f"{path}: {where}: category_id: expected {expected}, found {category}")
        area = read_field(path, where, entry, "area", (int, float)) if by_area else 0
        if not 0 <= area < math.inf:
            raise DatasetError(f"{path}: {where}: area: expected a number of pixels >= 0, found {area}")
        mask = read_field(path, where, entry, "segmentation", (list, dict))
        masks.append(mask)
        counts = mask.get("counts") if isinstance(mask, dict) and mask.get("size") == [*image[2:]] else None
        # Those of PASCAL in Detail are checked when they are painted: there are a hundred million characters of them.
        if by_area or not isinstance(counts, str):
            try:
                counts = encode_segmentation(mask, image.height, image.width)
            except ValueError as error:
                raise DatasetError(f"{path}: {where}: {error}") from None
        if counts is not None:
            segments[image_id].append((-area, labels[category], counts))
    # The sort is stable: segments of equal area stay in the order of the file.
    found = {}
    for image in images.values():
        ordered = sorted(segments[image.id], key=lambda segment: segment[0])
        size = {"height": str(image.height), "width": str(image.width)}
        found[image.stem] = size, json.dumps([each[1:] for each in ordered], separators=(",", ":"))
    return found, stubs_notices(path, masks)


def paint_segments(row: Mapping[str, str], segments: str) -> Int32Array:
    """Return the label map of an image's segments, int32 [H, W]; 0 where there is none.

    row: "id", "mask", "height" and "width". segments: a JSON list of [label, counts] in painting order; counts is a
    mask's compressed RLE. Raises SampleError for counts that are not a mask of that size.
    """
    height, width = size = [int(row["height"]), int(row["width"])]
    target = np.zeros(size, np.int32)
    with sample_errors(row, "mask"):
        for label, counts in json.loads(segments):
            target[decode_segmentation({"size": size, "counts": counts}, height, width)] = label
    return target
