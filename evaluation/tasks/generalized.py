"""Generalized referring segmentation (GRES, gRefCOCO): a sentence may mean one object, several, or none.

A sample contributes the four pixel counts of `referring` and whether it has a target at all. The
definitions are those of ReLA's evaluator, with N-acc and T-acc as the GRES paper defines them (TP / (TP + FN) and
TN / (TN + FP), a hit being "no target").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.tasks import referring
from evaluation.tasks.records import Record, RunningMean, mean, ratio, sample_counts, split_by_status
from evaluation.tasks.referring import PixelCounts, compared_at, precision
from support.arrays import BoolArray

# ReLA's; an IoU at exactly the threshold counts.
THRESHOLDS = (0.7, 0.8, 0.9)

# A prediction of fewer pixels says "no target". CaR has no output of its own for that; 50 is the customary rule for
# such methods, 1 takes empty predictions alone.
NO_TARGET_BELOW: Mapping[str, int] = {"50": 50, "1": 1}

NO_SAMPLE = "no sample with a known target or known to have none"
NO_UNION = "no sample has a target or predicted pixel"
NO_TARGETS = "every sample is without a target"
ONLY_TARGETS = "every sample has a target"


def count_sample(
    target: BoolArray, prediction: BoolArray, resolution: str = "original", no_target_below: str = "50"
) -> dict[str, Any]:
    """The `counts` of one sample's record: those of `referring.count_sample`, with the same errors, and `has_target`.

    Args:
        target: bool [n, H, W], the masks of the objects that are meant; whether there is a target is told by n, as the
            annotation has it, and not by pixels: it may be an object of none.
        prediction: bool [H, W].
        resolution: a key of `referring.RESOLUTIONS`.
        no_target_below: a key of `NO_TARGET_BELOW`; the counts do not depend on it.

    Returns:
        {"intersection", "union", "target", "prediction"}: pixels, of the objects' union, as Python integers;
        "has_target": 1 if there is an object, else 0.

    Raises:
        ValueError: the target is no bool [n, H, W] array; else as `referring.count_sample`.
    """
    if target.ndim != 3 or target.dtype != np.bool_:
        raise ValueError(f"target must be a bool [n, H, W] array, found {target.dtype} {list(target.shape)}")
    return {
        **referring.count_sample(np.asarray(target.any(axis=0)), prediction, resolution),
        "has_target": int(len(target) > 0),
    }


def summarize(records: Iterable[Record], resolution: str = "original", no_target_below: str = "50") -> dict[str, Any]:
    """Turn the records of a run into its metrics.

    Args:
        records: one an id. A failed sample whose target is known carries the counts of an empty prediction; it has
            IoU 0 and is never a right "no target". One whose target is unknown carries none, and is left out.
        resolution: where the masks were compared, for the description of the figures.
        no_target_below: a key of `NO_TARGET_BELOW`: predictions of fewer pixels say "no target".

    Returns:
        A JSON-ready dict: every key of `reductions(...)` with a float in 0..1 (unrounded) or None; `reductions` (what
        each averages over) and `undefined` (a reason for every None); `n_no_target` (samples without a target);
        `n_total`, `n_scored`, `n_failed` (samples); `failed` ({id, error, counted_as_empty} each).

    Raises:
        ValueError: an id occurs twice, counts are missing or impossible, or an option is unknown.
    """
    described = reductions(resolution, no_target_below)
    ok, failed = split_by_status(records)
    scored = [_judged(record, no_target_below) for record in ok]
    known = scored + [_judged(record, no_target_below) for record in failed if record.counts]
    values = _values(known, scored)
    return {
        **values,
        "reductions": described,
        "undefined": {name: _REASONS.get(name, NO_SAMPLE) for name, value in values.items() if value is None},
        "n_no_target": sum(not sample.has_target for sample in known),
        **sample_counts(ok, failed),
    }


def reductions(resolution: str, no_target_below: str) -> dict[str, str]:
    """What each figure averages over, in words. Raises ValueError for an unknown option."""
    if no_target_below not in NO_TARGET_BELOW:
        raise ValueError(f"no_target_below: expected one of {', '.join(NO_TARGET_BELOW)}, found {no_target_below!r}")
    least = NO_TARGET_BELOW[no_target_below]
    says = f"'no target', said by a prediction of fewer than {least} pixels" if least > 1 else "an empty prediction"
    return {
        "giou_mean_over_samples": (
            f"gIoU: mean of the samples' IoU, masks compared {compared_at(resolution)}; without a target it is 1 for "
            f"{says}, else 0; with a target, 'no target' has 0; a failed sample has 0 "
            "where its target is known"
        ),
        "giou_mean_over_scored_samples": "as giou_mean_over_samples, but failed samples are left out",
        "ciou_pooled": (
            "cIoU: intersection over union, each summed over all samples; a right 'no target' adds nothing"
        ),
        "n_acc": f"share of the samples without a target that are predicted so ({says}), failed ones included",
        "t_acc": "share of the samples with a target that are not predicted as 'no target', failed ones included",
        **{
            precision(t): f"share of samples with a target whose IoU is >= {t}, failed ones included"
            for t in THRESHOLDS
        },
    }


class RunningGIoU(RunningMean):
    """`giou_mean_over_samples` over the records so far."""

    def __init__(self, resolution: str = "original", no_target_below: str = "50") -> None:
        super().__init__("gIoU", lambda record: _judged(record, no_target_below).iou)


@dataclass(frozen=True)
class _Judged:
    """One sample under the rule for "no target". A failed one says nothing."""

    counts: PixelCounts
    has_target: bool
    says_no_target: bool
    failed: bool

    @property
    def right(self) -> bool:
        """Whether the sample is told rightly to have a target, or to have none."""
        return not self.failed and self.says_no_target != self.has_target

    @property
    def iou(self) -> float:
        if not self.has_target:
            return float(self.right)
        return self.counts.iou if self.right else 0.0

    @property
    def pooled(self) -> tuple[int, int]:
        """Intersection and union for cIoU. A prediction that is called "no target" is not blanked, as in ReLA."""
        if self.has_target:
            return (self.counts.intersection if self.right else 0), self.counts.union
        return 0, (0 if self.right else self.counts.union)


def _judged(record: Record, no_target_below: str) -> _Judged:
    counts, has_target = PixelCounts.of(record), record.counts.get("has_target")
    if has_target not in (0, 1) or has_target < (counts.target > 0):
        raise ValueError(f"record {record.id!r}: counts: expected has_target, 0 or 1, found {record.counts}")
    says_no_target = counts.prediction < NO_TARGET_BELOW[no_target_below]
    return _Judged(counts, bool(has_target), says_no_target, record.status == "failed")


def _values(known: Sequence[_Judged], scored: Sequence[_Judged]) -> dict[str, float | None]:
    with_target = [sample for sample in known if sample.has_target]
    without = [sample for sample in known if not sample.has_target]
    pooled = [sample.pooled for sample in known]
    return {
        "giou_mean_over_samples": mean([sample.iou for sample in known]),
        "giou_mean_over_scored_samples": mean([sample.iou for sample in scored]),
        "ciou_pooled": ratio(sum(i for i, _ in pooled), sum(u for _, u in pooled)),
        "n_acc": ratio(sum(sample.right for sample in without), len(without)),
        "t_acc": ratio(sum(sample.right for sample in with_target), len(with_target)),
        **{precision(t): ratio(sum(sample.iou >= t for sample in with_target), len(with_target)) for t in THRESHOLDS},
    }


_REASONS = {
    "ciou_pooled": NO_UNION,
    "n_acc": ONLY_TARGETS,
    **dict.fromkeys(["t_acc", *(precision(t) for t in THRESHOLDS)], NO_TARGETS),
}
