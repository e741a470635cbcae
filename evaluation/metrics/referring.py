"""Referring segmentation metrics from four pixel counts a sample.

A sample contributes {intersection, union, target, prediction}; every figure comes from these integers, and sums of
ratios are rounded once (`math.fsum`), so any order and any sharding of the samples gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluation.metrics.records import Record, mean, ratio, split_by_status

BoolMask = npt.NDArray[np.bool_]

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

# Where masks are compared: side of a square that both are resized to, None for the image's own size.
RESOLUTIONS: Mapping[str, int | None] = {"original": None, "480x480": 480}

NO_SAMPLE = "no sample with a known target"
NO_UNION = "no sample has a target or predicted pixel"

_COUNTS = ("intersection", "union", "target", "prediction")


def count_sample(target: BoolMask, prediction: BoolMask, resolution: str = "original") -> dict[str, Any]:
    """The `counts` of one sample's record.

    Args:
        target, prediction: bool [H, W].
        resolution: a key of `RESOLUTIONS`. "480x480" resizes both masks to it (nearest neighbour) before counting;
            LAVT does so with the target, and predicts at that size.

    Returns:
        {"intersection", "union", "target", "prediction"}: pixels, as Python integers.

    Raises:
        ValueError: the shapes differ, an array is not bool [H, W], or the resolution is unknown.
    """
    for name, mask in (("target", target), ("prediction", prediction)):
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ValueError(f"{name} must be a bool [H, W] array, found {mask.dtype} {list(mask.shape)}")
    if target.shape != prediction.shape:
        raise ValueError(f"target has shape {target.shape}, prediction has shape {prediction.shape}")
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution: expected one of {', '.join(RESOLUTIONS)}, found {resolution!r}")
    target, prediction = (_resized(mask, RESOLUTIONS[resolution]) for mask in (target, prediction))
    return {
        "intersection": int((target & prediction).sum()),
        "union": int((target | prediction).sum()),
        "target": int(target.sum()),
        "prediction": int(prediction.sum()),
    }


def summarize(records: Iterable[Record], resolution: str = "original") -> dict[str, Any]:
    """Turn the records of a run into its metrics.

    Args:
        records: one an id. A failed sample whose target is known carries the counts of an empty prediction, and so
            has IoU 0; one whose target is unknown carries none, and is left out.
        resolution: where the masks were compared, for the description of the figures.

    Returns:
        A JSON-ready dict: every key of `reductions(resolution)` with a float in 0..1 (unrounded) or None;
        `reductions` (what each averages over) and `undefined` (a reason for every None); `n_total`, `n_scored`,
        `n_failed` (samples); `failed` ({id, error, counted_as_empty} each).

    Raises:
        ValueError: an id occurs twice, or counts are missing or impossible.
    """
    ok, failed = split_by_status(records)
    scored = [_counts(record) for record in ok]
    known = scored + [_counts(record) for record in failed if record.counts]
    values = _values(known, scored)
    return {
        **values,
        "reductions": reductions(resolution),
        "undefined": {
            name: NO_UNION if name == "oiou_pooled" else NO_SAMPLE for name, value in values.items() if value is None
        },
        "n_total": len(ok) + len(failed),
        "n_scored": len(ok),
        "n_failed": len(failed),
        "failed": [
            {"id": record.id, "error": record.error, "counted_as_empty": bool(record.counts)}
            for record in sorted(failed, key=lambda record: record.id)
        ],
    }


def reductions(resolution: str) -> dict[str, str]:
    """What each figure averages over, in words."""
    size = "at the images' own size" if RESOLUTIONS[resolution] is None else f"at {resolution} (nearest neighbour)"
    return {
        "miou_mean_over_samples": (
            f"mean of the samples' IoU, masks compared {size}; 0 where target and prediction are both empty; "
            "a failed sample counts as an empty prediction"
        ),
        "miou_mean_over_scored_samples": "as miou_mean_over_samples, but failed samples are left out",
        "oiou_pooled": "overall IoU (cIoU): intersection over union, each summed over all samples",
        **{_precision(t): f"share of samples with IoU >= {t}, failed ones included" for t in THRESHOLDS},
    }


class RunningMeanIoU:
    """`miou_mean_over_samples` over the records so far, for the progress line."""

    name = "mIoU"

    def __init__(self, resolution: str = "original") -> None:
        self._sum, self._n = 0.0, 0

    def add(self, record: Record) -> None:
        """Count one record in; one without counts is left out."""
        if record.counts:
            self._sum += _counts(record).iou
            self._n += 1

    def figure(self) -> float | None:
        """The figure in 0..1; None while there is no sample."""
        return ratio(self._sum, self._n)


@dataclass(frozen=True)
class _Counts:
    intersection: int
    union: int

    @property
    def iou(self) -> float:
        # As LAVT has it. Every sentence names an object, so an empty pair is no success.
        return self.intersection / self.union if self.union else 0.0


def _values(known: Sequence[_Counts], scored: Sequence[_Counts]) -> dict[str, float | None]:
    ious = [counts.iou for counts in known]
    return {
        "miou_mean_over_samples": mean(ious),
        "miou_mean_over_scored_samples": mean([counts.iou for counts in scored]),
        "oiou_pooled": ratio(sum(c.intersection for c in known), sum(c.union for c in known)),
        **{_precision(t): ratio(sum(iou >= t for iou in ious), len(ious)) for t in THRESHOLDS},
    }


def _precision(threshold: float) -> str:
    return f"precision_at_{threshold}"


def _counts(record: Record) -> _Counts:
    values = [record.counts.get(name) for name in _COUNTS]
    if any(type(value) is not int or value < 0 for value in values):
        raise ValueError(f"record {record.id!r}: counts: expected {', '.join(_COUNTS)}, found {record.counts}")
    intersection, union, target, prediction = (int(value) for value in values if value is not None)
    if union != target + prediction - intersection or intersection > min(target, prediction):
        raise ValueError(f"record {record.id!r}: counts contradict each other: {record.counts}")
    return _Counts(intersection, union)


def _resized(mask: BoolMask, side: int | None) -> BoolMask:
    if side is None or not mask.size:
        return mask
    image = Image.fromarray(mask.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return np.asarray(image).astype(np.bool_)
