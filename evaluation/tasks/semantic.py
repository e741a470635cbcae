"""Semantic segmentation: metrics from summed confusion counts.

The only state is integers: a sample contributes [target, prediction, count] triples, samples are merged by
adding, and every figure is one division at the end. Any order and any sharding of the samples therefore gives
the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation.tasks.task import Accumulator, Resampler, Task, labels_in_either, mean, ratio, register
from results import SampleRecord
from results.tables.task_words import SEMANTIC
from support.arrays import Float64Array, Int32Array, Int64Array

Triple = Sequence[int]

# Counts above this are no longer exact in float64, so a ratio of them would depend on how they were summed.
MAX_PIXELS = 2**53

REDUCTIONS = {
    "miou": (
        "mean IoU over scored classes with a target or predicted pixel; counts pooled over all samples; "
        "a failed sample counts as an all-background prediction where its target is known"
    ),
    "miou_gt_classes": "as miou, but averaged over scored classes that occur in the ground truth",
    "miou_gt_classes_foreground": (
        "as miou_gt_classes, but pixels predicted as a label that is not scored (background) are left out, "
        "and so are failed samples"
    ),
    "miou_scored_only": "as miou, but failed samples are left out",
    "pixel_accuracy_pooled": "correct pixels over all pixels with a scored target class",
    "mean_accuracy_gt_classes": "mean of per-class recall over scored classes that occur in the ground truth",
    "frequency_weighted_iou_gt_classes": (
        "IoU averaged over scored classes in the ground truth, weighted by their share of target pixels"
    ),
}

NO_UNION = "no scored class has a target or predicted pixel"
NO_TARGET = "no pixel has a scored target class"
NO_FOREGROUND = "no pixel has a scored target class and a scored prediction"
_REASONS = {
    **dict.fromkeys(REDUCTIONS, NO_TARGET),
    "miou": NO_UNION,
    "miou_scored_only": NO_UNION,
    "miou_gt_classes_foreground": NO_FOREGROUND,
}


def confusion_counts(
    target: npt.NDArray[np.integer[Any]], prediction: npt.NDArray[np.integer[Any]], n_labels: int, ignore_label: int
) -> list[list[int]]:
    """Count the (target, prediction) pairs of one image.

    target: integer [H, W], labels in 0..n_labels - 1, or `ignore_label` where the pixel is not counted. prediction:
    integer [H, W], labels in 0..n_labels - 1. n_labels: size of the label space, background included. ignore_label:
    target value to leave out (255 or 65535). Returns [target, prediction, count] triples of Python integers with count
    > 0, in ascending order.

    >>> confusion_counts(np.array([[0, 1], [1, 255]]), np.array([[0, 1], [0, 1]]), n_labels=2, ignore_label=255)
    [[0, 0, 1], [1, 0, 1], [1, 1, 1]]

    Raises ValueError: the shapes differ, an array is not an integer [H, W] array, or a label is out of range.
    """
    for name, array in (("target", target), ("prediction", prediction)):
        if array.ndim != 2 or array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be an integer [H, W] array, found {array.dtype} {list(array.shape)}")
    if target.shape != prediction.shape:
        raise ValueError(f"target has shape {target.shape}, prediction has shape {prediction.shape}")
    counted = target != ignore_label
    _require_range(prediction, n_labels, "prediction")
    _require_range(target[counted], n_labels, "target")
    # One code for each pair; int64, because 847 labels squared do not fit the uint16 of the target files.
    codes = target[counted].astype(np.int64) * n_labels + prediction[counted]
    counts = np.bincount(codes)
    return [[int(c) // n_labels, int(c) % n_labels, int(counts[c])] for c in np.flatnonzero(counts)]


def sum_confusion(triples: Iterable[Triple], n_labels: int) -> Int64Array:
    """Add [target, prediction, count] triples of any number of samples, in any order.

    Returns int64 [n_labels, n_labels], rows are targets, columns are predictions. Raises ValueError as `add_confusion`.
    """
    matrix = np.zeros((n_labels, n_labels), dtype=np.int64)
    add_confusion(matrix, triples)
    return matrix


def add_confusion(matrix: Int64Array, triples: Iterable[Triple], n_pixels: float = 0.0) -> float:
    """Add triples to a matrix that holds `n_pixels` pixels, in place; returns how many it holds then.

    Raises ValueError: an entry is not three integers, a label is out of range, a count is negative, or the counts add
    up to more than 2**53 pixels (no longer exact in float64).
    """
    n_labels = len(matrix)
    for triple in triples:  # a dozen for an image: arrays take ten times as long
        target, prediction, count = triple if len(triple) == 3 else (None, None, None)
        if not type(target) is type(prediction) is type(count) is int:  # the fastest way
            raise ValueError(
                f"confusion counts: expected [target, prediction, count] triples of integers, found {triple}"
            )
        if not (0 <= target < n_labels and 0 <= prediction < n_labels):
            label = prediction if 0 <= target < n_labels else target
            raise ValueError(f"confusion counts: label {label} is outside 0..{n_labels - 1}")
        if count < 0:
            raise ValueError(f"confusion counts: negative count {count}")
        n_pixels += count
        if n_pixels > MAX_PIXELS:
            raise ValueError(f"confusion counts add up to {n_pixels:.3g} pixels, more than {MAX_PIXELS}")
        matrix[target, prediction] += count
    return n_pixels


@dataclass(frozen=True)
class ClassIoU:
    """One scored class: its pooled pixel counts and its IoU in 0..1, or None and the reason in words."""

    label: int
    name: str
    iou: float | None
    reason: str | None
    target_pixels: int
    predicted_pixels: int
    intersection_pixels: int

    @property
    def union_pixels(self) -> int:
        return self.target_pixels + self.predicted_pixels - self.intersection_pixels


def class_ious(matrix: Int64Array, labels: Sequence[str], scored_labels: Sequence[int]) -> list[ClassIoU]:
    """The scored classes of a confusion matrix int64 [n, n], rows targets, with `labels` the n names.

    A pixel whose target is a label that is not scored is only a false positive of the class predicted there; a
    prediction of such a label (background in voc20) is only a miss of the target's class.

    Raises ValueError: a scored label is out of range or given twice.
    """
    if len(set(scored_labels)) != len(scored_labels):
        raise ValueError(f"scored_labels has a label twice: {list(scored_labels)}")
    _require_range(np.asarray(scored_labels, dtype=np.int64), len(labels), "scored_labels")
    sums = [counts.tolist() for counts in (matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal())]
    classes = []
    for label in scored_labels:
        target, predicted, both = (counts[label] for counts in sums)
        union = target + predicted - both
        reason = None if union else "no pixel of this class in the ground truth or the predictions"
        classes.append(ClassIoU(label, labels[label], ratio(both, union), reason, target, predicted, both))
    return classes


def mean_iou(classes: Iterable[ClassIoU]) -> float | None:
    """Mean IoU of the classes that have one, in 0..1 and unrounded; None without any."""
    return mean([c.iou for c in classes if c.iou is not None])


class SemanticAccumulator(Accumulator):
    """Summed confusion counts of the ok and of the failed samples.

    `miou_gt_classes_foreground` is given only where a label is not scored: it is the released code's mIoU where that
    ignores the background. `per_class` has the fields of `ClassIoU` for each scored class.

    labels: names of all labels, background included. scored_labels: the labels that are averaged over. Raises
    ValueError: a scored label is out of range or given twice.
    """

    def __init__(self, labels: Sequence[str], scored_labels: Sequence[int]) -> None:
        super().__init__(REDUCTIONS, _REASONS)
        self._labels, self._scored_labels = labels, scored_labels
        self._matrices: dict[str, Int64Array] = {}  # by status, those that have a record
        self._n_pixels = 0.0

    def running_figure(self) -> float | None:
        """`miou`, to the bit, in less time than `class_ious` takes: it is asked for every sample."""
        matrix, scored = self._sum_of("ok", "failed"), list(self._scored_labels)
        ious, n_classes = _ious(matrix.diagonal()[scored], matrix.sum(axis=1)[scored], matrix.sum(axis=0)[scored])
        return ratio(math.fsum(ious.tolist()), int(n_classes))

    def count(self, record: SampleRecord) -> None:
        if record.status == "ok" and "confusion" not in record.counts:
            raise ValueError(f"record {record.id!r}: counts have no 'confusion'")
        if record.status not in self._matrices:
            self._matrices[record.status] = np.zeros((len(self._labels), len(self._labels)), np.int64)
        triples = record.counts.get("confusion", ())
        self._n_pixels = add_confusion(self._matrices[record.status], triples, self._n_pixels)

    def values(self) -> dict[str, float | None]:
        matrix = self._sum_of("ok", "failed")
        classes = self._classes(matrix)
        in_target = [c for c in classes if c.target_pixels]
        n_pixels = sum(c.target_pixels for c in classes)
        weighted = math.fsum(c.target_pixels * c.intersection_pixels / c.union_pixels for c in in_target)
        values = {
            "miou": mean_iou(classes),
            "miou_gt_classes": mean_iou(in_target),
            "miou_scored_only": mean_iou(self._classes(self._sum_of("ok"))),
            "pixel_accuracy_pooled": ratio(sum(c.intersection_pixels for c in classes), n_pixels),
            "mean_accuracy_gt_classes": mean([c.intersection_pixels / c.target_pixels for c in in_target]),
            "frequency_weighted_iou_gt_classes": ratio(weighted, n_pixels),
        }
        if len(self._scored_labels) < len(self._labels):
            foreground, scored = np.zeros_like(matrix), np.ix_(self._scored_labels, self._scored_labels)
            foreground[scored] = matrix[scored]
            in_target = [c for c in self._classes(foreground) if c.target_pixels]
            values["miou_gt_classes_foreground"] = mean_iou(in_target)
        return values

    def details(self) -> dict[str, Any]:
        return {"per_class": [vars(c).copy() for c in self._classes(self._sum_of("ok", "failed"))]}

    def _sum_of(self, *statuses: str) -> Int64Array:
        matrices = [self._matrices[status] for status in statuses if status in self._matrices]
        if not matrices:
            return np.zeros((len(self._labels), len(self._labels)), np.int64)
        return matrices[0] if len(matrices) == 1 else matrices[0] + matrices[1]

    def _classes(self, matrix: Int64Array) -> list[ClassIoU]:
        return class_ious(matrix, self._labels, self._scored_labels)


def miou_resampler(records: Sequence[SampleRecord], labels: Sequence[str], scored_labels: Sequence[int]) -> Resampler:
    """`miou` of resamples of the records, NaN where no class has a pixel.

    records: one per id; those without counts add nothing. labels, scored_labels: as for `SemanticAccumulator`.
    """
    from scipy.sparse import csr_array  # takes a while to import

    # In float64 these sums of integers are exact (see MAX_PIXELS). An image has few of the classes.
    values = csr_array(_class_pixels(records, labels, scored_labels).reshape(len(records), -1))

    def resampled(weights: Float64Array) -> Float64Array:
        ious, n_classes = _ious(*(weights @ values).reshape(len(weights), 3, -1).swapaxes(0, 1))
        sums, undefined = ious.sum(axis=1), np.full(len(weights), np.nan)
        means: Float64Array = np.divide(sums, n_classes, out=undefined, where=n_classes > 0)
        return means

    return resampled


def sample_figures(
    records: Sequence[SampleRecord], labels: Sequence[str], scored_labels: Sequence[int]
) -> Float64Array:
    """`SemanticAccumulator.running_figure` of each single record, to the bit, float64 [n]; NaN where it is None."""
    ious, n_classes = _ious(*_class_pixels(records, labels, scored_labels).swapaxes(0, 1))
    sums = [math.fsum(row.tolist()) for row in ious]
    figures = [total / n if n else math.nan for total, n in zip(sums, n_classes.tolist(), strict=True)]
    return np.array(figures, np.float64)


def _ious(both: npt.NDArray[Any], target: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> tuple[Float64Array, Any]:
    """IoU by class from pixels [..., C], 0 for a class without any; and how many classes have some, [...]."""
    union = target + prediction - both
    ious: Float64Array = np.divide(both, union, out=np.zeros(union.shape), where=union > 0)
    return ious, (union > 0).sum(axis=-1)


def _class_pixels(records: Sequence[SampleRecord], labels: Sequence[str], scored_labels: Sequence[int]) -> Float64Array:
    """Pixels of each scored class in both, in the target and in the prediction, float64 [n, 3, C].

    The counts are those that an accumulator has taken.
    """
    n, n_labels = len(records), len(labels)
    confusions = [record.counts.get("confusion", ()) for record in records]
    triples = np.fromiter(chain.from_iterable(chain.from_iterable(confusions)), np.int64).reshape(-1, 3)
    first = n_labels * np.repeat(np.arange(n), [len(own) for own in confusions])  # cell of each triple's record
    target, prediction, count = triples.T
    in_both = np.where(target == prediction, count, 0)
    sums = (
        np.bincount(first + label, weights, n * n_labels).reshape(n, n_labels)[:, list(scored_labels)]
        for label, weights in ((target, in_both), (target, count), (prediction, count))
    )
    return np.stack([*sums], axis=1)


def _require_range(labels: npt.NDArray[np.integer[Any]], n_labels: int, name: str) -> None:
    if not labels.size:
        return
    for value in (int(labels.min()), int(labels.max())):
        if not 0 <= value < n_labels:
            raise ValueError(f"{name}: label {value} is outside 0..{n_labels - 1}")


def predicted_labels(segmentation: Segmentation, sample: Sample, space: LabelSpace) -> Int32Array:
    """The label map in the data set's label ids, int32 [H, W]; 0 where no query was found."""
    return relabeled(segmentation, space.queries, space.query_labels)


def relabeled(segmentation: Segmentation, queries: Sequence[str], labels: Sequence[int]) -> Int32Array:
    """The label map with the label of each query, int32 [H, W]; 0 where no query was found."""
    label_of = dict(zip(queries, labels, strict=True))
    lookup = np.array([0, *(label_of[query] for query in segmentation.queries)], np.int32)
    return np.asarray(lookup[segmentation.label_map], np.int32)


register(
    Task(
        name="semantic",
        words=SEMANTIC,
        prediction=predicted_labels,
        count=lambda target, prediction, space, options: {
            "confusion": confusion_counts(target, prediction, len(space.labels), space.ignore_label)
        },
        accumulator=lambda space, options: SemanticAccumulator(space.labels, space.scored_labels),
        sample_figures=lambda records, space, options: sample_figures(records, space.labels, space.scored_labels),
        resample=lambda records, space, options: miou_resampler(records, space.labels, space.scored_labels),
        names=lambda target, prediction, space: {
            label: space.labels[label] for label in labels_in_either(target, prediction) if label != space.ignore_label
        },
    )
)
