"""SAM masks replace CRF masks where they agree.

Source: the CaR paper (CaR+SAM) and the released code. A candidate matches a mask by intersection over the smaller of
the two (IoM); the union of all matching candidates replaces the mask if their IoU is high enough.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from car_core.config import SAMConfig
from support.arrays import BoolArray, Int64Array


def match_masks(masks: BoolArray, candidates: BoolArray, config: SAMConfig) -> BoolArray:
    """Masks bool [N, H, W] refined by candidates bool [M, H, W] of any class; each independently.

    Empty masks stay empty; without candidates all masks stay unchanged.
    """
    if not len(masks) or not len(candidates):
        return masks
    flat, others = (values.reshape(len(values), -1) for values in (masks, candidates))
    overlaps = np.stack([(others & mask).sum(axis=1) for mask in flat])
    areas, candidate_areas = flat.sum(axis=1), others.sum(axis=1)
    refined = masks.copy()
    for i in np.flatnonzero(areas):
        iom = intersection_over_minimum(overlaps[i], areas[i], candidate_areas, config.min_overlap or 0.0)
        matching = iom > config.iom_threshold
        if not matching.any():
            matching = np.arange(len(candidates)) == iom.argmax()
        union = candidates[matching].any(axis=0)
        common = int((union & masks[i]).sum())
        if common / (int(union.sum()) + int(areas[i]) - common) > config.iou_threshold:
            refined[i] = union
    return refined


def intersection_over_minimum(
    overlaps: Int64Array, area: int, candidate_areas: Int64Array, min_overlap: float
) -> npt.NDArray[np.float64]:
    """|a and b| / min(|a|, |b|) of one mask a of ``area`` > 0 pixels with each candidate b, float64 [M].

    overlaps: |a & b|, candidate_areas: |b|, int64 [M]. If |a & b| < min_overlap * |a|, the |b| term is dropped, so that
    a tiny candidate inside a does not match (released code). An empty candidate has 0. Correctly rounded quotients of
    integers compare with a threshold such as 0.7 as the exact fractions do; products of floats do not.
    """
    covered = overlaps / area
    inside = np.where(covered >= min_overlap, overlaps / np.maximum(candidate_areas, 1), 0.0)
    return np.asarray(np.maximum(covered, inside))
