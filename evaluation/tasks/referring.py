"""Referring segmentation metrics from four pixel counts a sample.

A sample contributes {intersection, union, target, prediction}; every figure comes from these integers, and sums of
ratios are rounded once (`math.fsum`), so any order and any sharding of the samples gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from evaluation.tasks.records import Record, RunningMean, mean, ratio, sample_counts, split_by_status
from support.arrays import BoolArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

# Where masks are compared: side of a square that both are resized to, None for the image's own size.
RESOLUTIONS: Mapping[str, int | None] = {"original": None, "480x480": 480}

NO_SAMPLE = "no sample with a known target"
NO_UNION = "no sample has a target or predicted pixel"

_COUNTS = ("intersection", "union", "target", "prediction")


def count_sample(target: BoolArray, prediction: BoolArray, resolution: str = "original") -> dict[str, Any]:
    """The `counts` of one sample's record.

    Args:
        target: bool [H, W].
        prediction: bool [H, W].
        resolution: a key of `RESOLUTIONS`. "480x480" resizes both masks to it (nearest neighbor) before counting;
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
    scored = [PixelCounts.of(record) for record in ok]
    known = scored + [PixelCounts.of(record) for record in failed if record.counts]
    values = _values(known, scored)
    return {
        **values,
        "reductions": reductions(resolution),
        "undefined": {
            name: NO_UNION if name == "oiou_pooled" else NO_SAMPLE for name, value in values.items() if value is None
        },
        **sample_counts(ok, failed),
    }


def reductions(resolution: str) -> dict[str, str]:
    """What each figure averages over, in words."""
    size = compared_at(resolution)
    return {
        "miou_mean_over_samples": (
            f"mean of the samples' IoU, masks compared {size}; 0 where target and prediction are both empty; "
            "a failed sample counts as an empty prediction where its target is known"
        ),
        "miou_mean_over_scored_samples": "as miou_mean_over_samples, but failed samples are left out",
        "oiou_pooled": "overall IoU (cIoU): intersection over union, each summed over all samples",
        **{precision(t): f"share of samples with IoU >= {t}, failed ones of known target included" for t in THRESHOLDS},
    }


def compared_at(resolution: str) -> str:
    """Where masks are compared, in words; `resolution` is a key of `RESOLUTIONS`."""
    return "at the images' own size" if RESOLUTIONS[resolution] is None else f"at {resolution} (nearest neighbor)"


class RunningMeanIoU(RunningMean):
    """`miou_mean_over_samples` over the records so far."""

    def __init__(self, resolution: str = "original") -> None:
        super().__init__("mIoU", lambda record: PixelCounts.of(record).iou)


@dataclass(frozen=True)
class PixelCounts:
    """The four counts of a sample's record, in pixels."""

    intersection: int
    union: int
    target: int
    prediction: int

    @classmethod
    def of(cls, record: Record) -> PixelCounts:
        """Read them from `record.counts`. Raises ValueError for missing or impossible ones."""
        values = [record.counts.get(name) for name in _COUNTS]
        if any(type(value) is not int or value < 0 for value in values):
            raise ValueError(f"record {record.id!r}: counts: expected {', '.join(_COUNTS)}, found {record.counts}")
        intersection, union, target, prediction = (int(value) for value in values if value is not None)
        if union != target + prediction - intersection or intersection > min(target, prediction):
            raise ValueError(f"record {record.id!r}: counts contradict each other: {record.counts}")
        return cls(intersection, union, target, prediction)

    @property
    def iou(self) -> float:
        # As LAVT has it. Every sentence names an object, so an empty pair is no success.
        return self.intersection / self.union if self.union else 0.0


def _values(known: Sequence[PixelCounts], scored: Sequence[PixelCounts]) -> dict[str, float | None]:
    ious = [counts.iou for counts in known]
    return {
        "miou_mean_over_samples": mean(ious),
        "miou_mean_over_scored_samples": mean([counts.iou for counts in scored]),
        "oiou_pooled": ratio(sum(c.intersection for c in known), sum(c.union for c in known)),
        **{precision(t): ratio(sum(iou >= t for iou in ious), len(ious)) for t in THRESHOLDS},
    }


def precision(threshold: float) -> str:
    """The name of the share of samples with at least this IoU."""
    return f"precision_at_{threshold}"


def _resized(mask: BoolArray, side: int | None) -> BoolArray:
    if side is None or not mask.size:
        return mask
    image = Image.fromarray(mask.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return np.asarray(image).astype(np.bool_)
