"""Referring segmentation: metrics from four pixel counts per sample.

A sample contributes {intersection, union, target, prediction}; every figure comes from these integers, and sums of
ratios are exact until they are rounded once, so any order and any sharding of the samples gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.tasks.task import Accumulator, Task, register, resampled_means
from results import SampleRecord
from results.tables.task_words import REFERRING
from support.arrays import BoolArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

# Where masks are compared: side of a square that both are resized to, None for the image's own size.
RESOLUTIONS: Mapping[str, int | None] = {"original": None, "480x480": 480}

NO_SAMPLE = "no sample with a known target"
NO_UNION = "no sample has a target or predicted pixel"

_COUNTS = ("intersection", "union", "target", "prediction")


def count_sample(target: BoolArray, prediction: BoolArray, resolution: str = "original") -> dict[str, Any]:
    """The `counts` of one sample's record.

    target: bool [H, W]. prediction: bool [H, W]. resolution: a key of `RESOLUTIONS`. "480x480" resizes both masks to it
    (nearest neighbor) before counting; LAVT does so with the target, and predicts at that size. Returns
    {"intersection", "union", "target", "prediction"}: pixels, as Python integers.

    >>> count_sample(np.array([[True, True, False]]), np.array([[False, True, True]]))
    {'intersection': 1, 'union': 3, 'target': 2, 'prediction': 2}

    Raises ValueError: the shapes differ, an array is not bool [H, W], or the resolution is unknown.
    """
    for name, mask in (("target", target), ("prediction", prediction)):
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ValueError(f"{name} must be a bool [H, W] array, found {mask.dtype} {list(mask.shape)}")
    if target.shape != prediction.shape:
        raise ValueError(f"target has shape {target.shape}, prediction has shape {prediction.shape}")
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution: expected one of {', '.join(RESOLUTIONS)}, found {resolution!r}")
    if (side := RESOLUTIONS[resolution]) and target.size:
        pictures = (Image.fromarray(mask.astype(np.uint8)) for mask in (target, prediction))
        resized = (picture.resize((side, side), Image.Resampling.NEAREST) for picture in pictures)
        target, prediction = (np.asarray(picture).astype(np.bool_) for picture in resized)
    return {
        "intersection": int((target & prediction).sum()),
        "union": int((target | prediction).sum()),
        "target": int(target.sum()),
        "prediction": int(prediction.sum()),
    }


class ReferringAccumulator(Accumulator):
    """Pixel counts of the samples whose target is known; a failed one of unknown target is left out.

    resolution: a key of `RESOLUTIONS`, where the masks were compared, for the description of the figures.
    """

    def __init__(self, resolution: str = "original") -> None:
        described = reductions(resolution)
        super().__init__(described, {**dict.fromkeys(described, NO_SAMPLE), "oiou_pooled": NO_UNION})

    def count(self, record: SampleRecord) -> None:
        if record.status == "failed" and not record.counts:
            return
        counts = PixelCounts.of(record)
        self.sums.add({"known": 1, "iou": counts.iou, "intersection": counts.intersection, "union": counts.union})
        self.sums.add({precision(threshold): counts.iou >= threshold for threshold in THRESHOLDS})
        if record.status == "ok":
            self.sums.add({"scored": 1, "scored_iou": counts.iou})

    def values(self) -> dict[str, float | None]:
        return {
            "miou_mean_over_samples": self.sums.ratio("iou", "known"),
            "miou_mean_over_scored_samples": self.sums.ratio("scored_iou", "scored"),
            "oiou_pooled": self.sums.ratio("intersection", "union"),
            **{precision(threshold): self.sums.ratio(precision(threshold), "known") for threshold in THRESHOLDS},
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


@dataclass(frozen=True)
class PixelCounts:
    """The four counts of a sample's record, in pixels."""

    intersection: int
    union: int
    target: int
    prediction: int

    @classmethod
    def of(cls, record: SampleRecord) -> PixelCounts:
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
        # As in LAVT. Every sentence names an object, so an empty pair is not a success.
        return self.intersection / self.union if self.union else 0.0


def precision(threshold: float) -> str:
    """The name of the share of samples with at least this IoU."""
    return f"precision_at_{threshold}"


def merged_mask(segmentation: Segmentation, sample: Sample, space: LabelSpace) -> BoolArray:
    """The one mask of all sentences, bool [H, W]. Raises ValueError for a segmentation of another mode."""
    if segmentation.merged_mask is None:
        raise ValueError("mode: expected a segmentation in referring mode, found one without a merged mask")
    return segmentation.merged_mask


register(
    Task(
        name="referring",
        words=REFERRING,
        prediction=merged_mask,
        one_mask=True,
        count=lambda target, prediction, space, options: count_sample(target, prediction, **options),
        accumulator=lambda space, options: ReferringAccumulator(**options),
        choices={"resolution": tuple(RESOLUTIONS)},
        resample=resampled_means(lambda space, options: ReferringAccumulator(**options)),
    )
)
