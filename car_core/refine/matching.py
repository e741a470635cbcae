"""SAM masks in place of CRF masks where they agree.

Source: the CaR paper (CaR+SAM) and the released code: a candidate matches a mask by intersection over the smaller
of the two (IoM); what matches is united, and the union replaces the mask if their IoU is high enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from car_core.config import SAMConfig
from support.arrays import BoolArray, Int64Array


def match_masks(masks: BoolArray, candidates: BoolArray, config: SAMConfig) -> BoolArray:
    """Masks bool [N, H, W] refined by candidates bool [M, H, W] of any class; each on its own.

    A mask without a pixel, and all of them without a candidate, stay as they are.
    """
    if not len(masks) or not len(candidates):
        return masks
    overlaps, own, theirs = _pixel_counts(masks, candidates)
    refined = masks.copy()
    for position in np.flatnonzero(own):
        iom = intersection_over_minimum(overlaps[position], own[position], theirs, config.min_overlap or 0.0)
        matching = iom > config.iom_threshold
        if not matching.any():
            matching = np.arange(len(candidates)) == iom.argmax()
        union = candidates[matching].any(axis=0)
        common = int((union & masks[position]).sum())
        if common > config.iou_threshold * (int(union.sum()) + int(own[position]) - common):
            refined[position] = union
    return refined


def intersection_over_minimum(
    overlaps: Int64Array, own: int, theirs: Int64Array, min_overlap: float
) -> npt.NDArray[np.float64]:
    """|a and b| / min(|a|, |b|) of one mask a of ``own`` > 0 pixels with each candidate b, float64 [M].

    overlaps, theirs: pixels of a and b, and of b, int64 [M]. Below ``min_overlap`` times |a| in common, only |a| is
    divided by: a small candidate inside a is then none (released code). An empty candidate has 0.
    """
    covered = overlaps / own
    inside = np.where(overlaps >= min_overlap * own, overlaps / np.maximum(theirs, 1), 0.0)
    return np.asarray(np.maximum(covered, inside))


def _pixel_counts(masks: BoolArray, candidates: BoolArray) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Pixels in common [N, M], of each mask [N] and of each candidate [M]."""
    flat, other = (values.reshape(len(values), -1) for values in (masks, candidates))
    overlaps = np.stack([(other & mask).sum(axis=1) for mask in flat])
    return overlaps, flat.sum(axis=1), other.sum(axis=1)
