"""Generalized referring segmentation (GRES, gRefCOCO): a sentence may mean one object, several, or none.

A sample contributes the four pixel counts of `referring` and whether it has a target at all. The
definitions are those of ReLA's evaluator, with N-acc and T-acc as the GRES paper defines them (TP / (TP + FN) and
TN / (TN + FP), a hit being "no target").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.tasks import referring
from evaluation.tasks.referring import RESOLUTIONS, PixelCounts, compared_at, merged_mask, precision
from evaluation.tasks.task import Accumulator, Task, register, resampled_means
from results import SampleRecord
from results.tables.task_words import GENERALIZED
from support.arrays import BoolArray

# ReLA's; an IoU at exactly the threshold counts.
THRESHOLDS = (0.7, 0.8, 0.9)

# A prediction of fewer pixels says "no target". CaR has no output of its own for that; 50 is the customary rule for
# such methods; 1 takes only empty predictions; with 0 no prediction does, as in CaR's released code, whose figure is
# the plain mean IoU, 0 where nothing is meant.
NO_TARGET_BELOW: Mapping[str, int] = {"50": 50, "1": 1, "0": 0}

# Which of the objects that are meant make the target: all, or the first that has a pixel, as in CaR's released code.
OBJECTS = ("all", "first")

NO_SAMPLE = "no sample with a known target or known to have none"
NO_UNION = "no sample has a target or predicted pixel"
NO_TARGETS = "every sample is without a target"
ONLY_TARGETS = "every sample has a target"


def count_sample(
    target: BoolArray,
    prediction: BoolArray,
    resolution: str = "original",
    no_target_below: str = "50",
    objects: str = "all",
) -> dict[str, Any]:
    """The `counts` of one sample's record: those of `referring.count_sample`, with the same errors, and `has_target`.

    target: bool [n, H, W], the masks of the objects that are meant. n says whether there is a target, as in the
    annotation; pixels do not, because an object may have none. prediction: bool [H, W]. resolution: a key of
    `referring.RESOLUTIONS`. no_target_below: a key of `NO_TARGET_BELOW`; the counts do not depend on it. objects: one
    of `OBJECTS`. Returns {"intersection", "union", "target", "prediction"}: pixels, of the union of `objects`, as
    Python integers; "has_target": 1 if there is an object, else 0. Raises ValueError: the target is not a bool [n, H,
    W] array; else as `referring.count_sample`.
    """
    if target.ndim != 3 or target.dtype != np.bool_:
        raise ValueError(f"target must be a bool [n, H, W] array, found {target.dtype} {list(target.shape)}")
    counted = target[target.any(axis=(1, 2))][:1] if objects == "first" else target
    return {
        **referring.count_sample(np.asarray(counted.any(axis=0)), prediction, resolution),
        "has_target": int(len(target) > 0),
    }


class GeneralizedAccumulator(Accumulator):
    """Pixel counts of the samples known to have a target or none; a failed one of unknown target is left out.

    resolution: a key of `referring.RESOLUTIONS`, where the masks were compared, for the figures' description.
    no_target_below: a key of `NO_TARGET_BELOW`: predictions of fewer pixels say "no target". objects: one of `OBJECTS`,
    which the targets were made of, for the description. Raises ValueError: an unknown option.
    """

    def __init__(self, resolution: str = "original", no_target_below: str = "50", objects: str = "all") -> None:
        described = reductions(resolution, no_target_below, objects)
        reasons = dict.fromkeys(["t_acc", *map(precision, THRESHOLDS)], NO_TARGETS)
        reasons |= {"ciou_pooled": NO_UNION, "n_acc": ONLY_TARGETS}
        super().__init__(described, {**dict.fromkeys(described, NO_SAMPLE), **reasons})
        self._least = NO_TARGET_BELOW[no_target_below]

    def count(self, record: SampleRecord) -> None:
        failed = record.status == "failed"
        if failed and not record.counts:
            return
        counts, has_target = PixelCounts.of(record), record.counts.get("has_target")
        if has_target not in (0, 1) or has_target < (counts.target > 0):
            raise ValueError(f"record {record.id!r}: counts: expected has_target, 0 or 1, found {record.counts}")
        says_target = counts.prediction >= self._least
        # A failed sample says nothing, so it is never right.
        right = not failed and says_target == bool(has_target)
        iou = (counts.iou if has_target else 1.0) if right else 0.0
        self.sums.add({"known": 1, "iou": iou})
        if not failed:
            self.sums.add({"scored": 1, "scored_iou": iou})
        if has_target:
            # The union of a prediction that is called "no target" is not blanked, as in ReLA.
            self.sums.add({"intersection": counts.intersection if right else 0, "union": counts.union})
            self.sums.add({"with_target": 1, "right_with": right})
            self.sums.add({precision(threshold): iou >= threshold for threshold in THRESHOLDS})
        else:
            self.sums.add({"union": 0 if right else counts.union, "without_target": 1, "right_without": right})

    def values(self) -> dict[str, float | None]:
        return {
            "giou_mean_over_samples": self.sums.ratio("iou", "known"),
            "giou_mean_over_scored_samples": self.sums.ratio("scored_iou", "scored"),
            "ciou_pooled": self.sums.ratio("intersection", "union"),
            "n_acc": self.sums.ratio("right_without", "without_target"),
            "t_acc": self.sums.ratio("right_with", "with_target"),
            **{precision(threshold): self.sums.ratio(precision(threshold), "with_target") for threshold in THRESHOLDS},
        }

    def details(self) -> dict[str, Any]:
        return {"n_no_target": self.sums.count("without_target")}


def reductions(resolution: str, no_target_below: str, objects: str = "all") -> dict[str, str]:
    """What each figure averages over, in words. Raises ValueError for an unknown option."""
    if no_target_below not in NO_TARGET_BELOW:
        raise ValueError(f"no_target_below: expected one of {', '.join(NO_TARGET_BELOW)}, found {no_target_below!r}")
    if objects not in OBJECTS:
        raise ValueError(f"objects: expected one of {', '.join(OBJECTS)}, found {objects!r}")
    least = NO_TARGET_BELOW[no_target_below]
    says = f"'no target', said by a prediction of fewer than {least} pixels" if least > 1 else "an empty prediction"
    if not least:
        says = "'no target', which no prediction says here"
    of = "all objects" if objects == "all" else "the first object"
    return {
        "giou_mean_over_samples": (
            f"gIoU: mean of the samples' IoU with {of}, masks compared {compared_at(resolution)}; without a "
            f"target it is 1 for {says}, else 0; with a target, 'no target' has 0; a failed sample has 0 "
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


register(
    Task(
        name="generalized",
        words=GENERALIZED,
        prediction=merged_mask,
        one_mask=True,
        count=lambda target, prediction, space, options: count_sample(target, prediction, **options),
        accumulator=lambda space, options: GeneralizedAccumulator(**options),
        choices={"resolution": tuple(RESOLUTIONS), "no_target_below": tuple(NO_TARGET_BELOW), "objects": OBJECTS},
        resample=resampled_means(lambda space, options: GeneralizedAccumulator(**options)),
        empty=lambda target: np.zeros(target.shape[1:], np.bool_),
        target_labels=lambda target: np.asarray(target.any(axis=0)),
        without_void=lambda prediction, sample, options: (
            prediction if sample.void is None else prediction & ~sample.void
        ),
    )
)
