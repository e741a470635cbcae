"""Semantic segmentation metrics from summed confusion counts.

The only state is integers: a sample contributes [target, prediction, count] triples, samples are merged by
adding, and every figure is one division at the end. Any order and any sharding of the samples therefore gives
the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.tasks.records import Record, mean, ratio, sample_counts, split_by_status
from support.arrays import Float64Array, Int64Array

Triple = Sequence[int]

# Counts above this are no longer exact in float64, so a ratio of them would depend on how they were summed.
MAX_PIXELS = 2**53
_BATCH = 65_536

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
_UNDEFINED = {"miou": NO_UNION, "miou_scored_only": NO_UNION, "miou_gt_classes_foreground": NO_FOREGROUND}


def confusion_counts(
    target: npt.NDArray[np.integer[Any]],
    prediction: npt.NDArray[np.integer[Any]],
    n_labels: int,
    ignore_label: int,
) -> list[list[int]]:
    """Count the (target, prediction) pairs of one image.

    Args:
        target: integer [H, W], labels in 0..n_labels - 1, or `ignore_label` where the pixel is not counted.
        prediction: integer [H, W], labels in 0..n_labels - 1.
        n_labels: size of the label space, background included.
        ignore_label: target value to leave out (255 or 65535).

    Returns:
        [target, prediction, count] triples of Python integers with count > 0, in ascending order.

    Raises:
        ValueError: the shapes differ, an array is not an integer [H, W] array, or a label is out of range.
    """
    _require_label_map(target, "target")
    _require_label_map(prediction, "prediction")
    if target.shape != prediction.shape:
        raise ValueError(f"target has shape {target.shape}, prediction has shape {prediction.shape}")
    counted = target != ignore_label
    _require_range(prediction, n_labels, "prediction")
    _require_range(target[counted], n_labels, "target")
    # One code for each pair; int64, because 847 labels squared do not fit the uint16 of the target files.
    codes = target[counted].astype(np.int64) * n_labels + prediction[counted]
    counts = np.bincount(codes)
    return [[int(c) // n_labels, int(c) % n_labels, int(counts[c])] for c in np.flatnonzero(counts)]


def count_sample(
    target: npt.NDArray[np.integer[Any]],
    prediction: npt.NDArray[np.integer[Any]],
    n_labels: int,
    ignore_label: int,
) -> dict[str, Any]:
    """The `counts` of one sample's record: {"confusion": `confusion_counts(...)`}; the same errors."""
    return {"confusion": confusion_counts(target, prediction, n_labels, ignore_label)}


def sum_confusion(triples: Iterable[Triple], n_labels: int) -> Int64Array:
    """Add [target, prediction, count] triples of any number of samples, in any order.

    Returns:
        int64 [n_labels, n_labels], rows are targets, columns are predictions.

    Raises:
        ValueError: an entry is not three integers, a label is out of range, a count is negative, or the
            counts add up to more than 2**53 pixels (no longer exact in float64).
    """
    matrix = np.zeros((n_labels, n_labels), dtype=np.int64)
    n_pixels = 0.0
    for rows in _batches(iter(triples)):
        _require_range(rows[:, :2], n_labels, "confusion counts")
        if rows[:, 2].min() < 0:
            raise ValueError(f"confusion counts: negative count {rows[:, 2].min()}")
        n_pixels += float(rows[:, 2].sum(dtype=np.float64))
        if n_pixels > MAX_PIXELS:
            raise ValueError(f"confusion counts add up to {n_pixels:.3g} pixels, more than {MAX_PIXELS}")
        np.add.at(matrix, (rows[:, 0], rows[:, 1]), rows[:, 2])
    return matrix


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


@dataclass(frozen=True)
class SemanticMetrics:
    """Figures of one confusion matrix, in 0..1 and unrounded; None where the denominator is zero.

    What each figure averages over stands in `REDUCTIONS`. A pixel whose target is a label that is not scored
    is only a false positive of the class predicted there; a prediction of such a label (background in voc20)
    is only a miss of the target's class.
    """

    classes: tuple[ClassIoU, ...]

    @classmethod
    def from_confusion(cls, matrix: Int64Array, labels: Sequence[str], scored_labels: Sequence[int]) -> SemanticMetrics:
        """Read the scored classes from int64 [n, n] (rows targets), with `labels` the n names.

        Raises:
            ValueError: the matrix does not fit the labels, a scored label is out of range or given twice.
        """
        expected = (len(labels), len(labels))
        if matrix.shape != expected:
            raise ValueError(f"confusion matrix has shape {matrix.shape}, {expected} expected for the labels")
        if len(set(scored_labels)) != len(scored_labels):
            raise ValueError(f"scored_labels has a label twice: {list(scored_labels)}")
        _require_range(np.asarray(scored_labels, dtype=np.int64), len(labels), "scored_labels")
        rows, columns, diagonal = matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal()
        return cls(
            tuple(
                _class_iou(label, labels[label], int(rows[label]), int(columns[label]), int(diagonal[label]))
                for label in scored_labels
            )
        )

    @property
    def miou(self) -> float | None:
        return mean([c.iou for c in self.classes if c.iou is not None])

    @property
    def miou_gt_classes(self) -> float | None:
        return mean([c.iou for c in self._in_ground_truth if c.iou is not None])

    @property
    def pixel_accuracy_pooled(self) -> float | None:
        return ratio(sum(c.intersection_pixels for c in self.classes), self._n_target_pixels)

    @property
    def mean_accuracy_gt_classes(self) -> float | None:
        return mean([c.intersection_pixels / c.target_pixels for c in self._in_ground_truth])

    @property
    def frequency_weighted_iou_gt_classes(self) -> float | None:
        weighted = sum(c.target_pixels * c.intersection_pixels / c.union_pixels for c in self._in_ground_truth)
        return ratio(weighted, self._n_target_pixels)

    @property
    def _in_ground_truth(self) -> tuple[ClassIoU, ...]:
        return tuple(c for c in self.classes if c.target_pixels)

    @property
    def _n_target_pixels(self) -> int:
        return sum(c.target_pixels for c in self.classes)


def summarize(
    records: Iterable[Record], label_space_labels: Sequence[str], scored_labels: Sequence[int]
) -> dict[str, Any]:
    """Turn the records of a run into its metrics.

    Args:
        records: one an id; `counts["confusion"]` holds the triples. A failed sample whose target is known
            carries the counts of an all-background prediction; one whose target is unknown carries none.
        label_space_labels: names of all labels, background included.
        scored_labels: the labels that are averaged over.

    Returns:
        A JSON-ready dict: every key of `REDUCTIONS` (`miou_gt_classes_foreground` only where a label is not scored:
        the released code's mIoU where it ignores the background) with a float in 0..1 (unrounded) or None; `reductions`
        (what each averages over) and `undefined` (a reason for every None); `n_total`, `n_scored`, `n_failed`
        (samples); `failed` ({id, error, counted_as_empty} each); `per_class` (the fields of `ClassIoU` each).

    Raises:
        ValueError: an id occurs twice, or counts are missing, malformed or outside the label space.
    """
    ok, failed = split_by_status(records)
    for record in ok:
        if "confusion" not in record.counts:
            raise ValueError(f"record {record.id!r}: counts have no 'confusion'")
    n_labels = len(label_space_labels)
    matrix_ok, matrix_failed = (sum_confusion(_triples(group), n_labels) for group in (ok, failed))
    metrics = SemanticMetrics.from_confusion(matrix_ok + matrix_failed, label_space_labels, scored_labels)
    scored_only = SemanticMetrics.from_confusion(matrix_ok, label_space_labels, scored_labels)
    values = _values(metrics, scored_only)
    if len(scored_labels) < n_labels:
        foreground = _without_unscored(matrix_ok + matrix_failed, scored_labels)
        values["miou_gt_classes_foreground"] = SemanticMetrics.from_confusion(
            foreground, label_space_labels, scored_labels
        ).miou_gt_classes
    return {
        **values,
        "reductions": {name: REDUCTIONS[name] for name in values},
        "undefined": {name: _UNDEFINED.get(name, NO_TARGET) for name, value in values.items() if value is None},
        **sample_counts(ok, failed),
        "per_class": [vars(c).copy() for c in metrics.classes],
    }


def resampled_figures(
    records: Sequence[Record], weights: Int64Array, label_space_labels: Sequence[str], scored_labels: Sequence[int]
) -> Float64Array:
    """`miou` of each of several resamples of the records.

    Args:
        records: one an id; those without counts add nothing.
        weights: int64 [B, n], how often each record occurs in each resample.

    Returns:
        float64 [B], NaN where no class has a pixel.
    """
    pixels = _class_pixels(records, len(label_space_labels), scored_labels)
    # In float64 these sums of integers are exact (see MAX_PIXELS), and a matrix product is fast only there.
    sums = weights.astype(np.float64) @ pixels.reshape(len(records), -1).astype(np.float64)
    return _mean_iou(sums.reshape(len(weights), 3, len(scored_labels)))


def _class_pixels(records: Sequence[Record], n_labels: int, scored_labels: Sequence[int]) -> Int64Array:
    """int64 [n, 3, C]: pixels of each scored class in both, in the target and in the prediction."""
    pixels = np.zeros((len(records), 3, n_labels), np.int64)
    for row, record in enumerate(records):
        matrix = sum_confusion(record.counts.get("confusion", ()), n_labels)
        pixels[row] = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    return pixels[:, :, list(scored_labels)]


def _mean_iou(pixels: npt.NDArray[Any]) -> Float64Array:
    """[m, 3, C] pixels as in `_class_pixels` to the mean IoU over classes with a pixel, float64 [m] or NaN."""
    both, union = pixels[:, 0], pixels[:, 1] + pixels[:, 2] - pixels[:, 0]
    ious = np.divide(both, union, out=np.zeros(union.shape), where=union > 0)
    present = (union > 0).sum(axis=1)
    means: Float64Array = np.divide(ious.sum(axis=1), present, out=np.full(len(pixels), np.nan), where=present > 0)
    return means


class RunningMeanIoU:
    """`miou` over the records so far, for the progress line."""

    name = "mIoU"

    def __init__(self, labels: Sequence[str], scored_labels: Sequence[int]) -> None:
        self._labels, self._scored_labels = labels, scored_labels
        self._matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)

    def add(self, record: Record) -> None:
        """Count one record in."""
        self._matrix += sum_confusion(record.counts.get("confusion", []), len(self._labels))

    def figure(self) -> float | None:
        """The figure in 0..1; None while no scored class has a pixel."""
        return SemanticMetrics.from_confusion(self._matrix, self._labels, self._scored_labels).miou


def _values(metrics: SemanticMetrics, scored_only: SemanticMetrics) -> dict[str, float | None]:
    return {
        "miou": metrics.miou,
        "miou_gt_classes": metrics.miou_gt_classes,
        "miou_scored_only": scored_only.miou,
        "pixel_accuracy_pooled": metrics.pixel_accuracy_pooled,
        "mean_accuracy_gt_classes": metrics.mean_accuracy_gt_classes,
        "frequency_weighted_iou_gt_classes": metrics.frequency_weighted_iou_gt_classes,
    }


def _without_unscored(matrix: Int64Array, scored_labels: Sequence[int]) -> Int64Array:
    kept = np.zeros_like(matrix)
    scored = np.ix_(scored_labels, scored_labels)
    kept[scored] = matrix[scored]
    return kept


def _class_iou(label: int, name: str, target: int, predicted: int, intersection: int) -> ClassIoU:
    union = target + predicted - intersection
    reason = None if union else "no pixel of this class in the ground truth or the predictions"
    return ClassIoU(label, name, ratio(intersection, union), reason, target, predicted, intersection)


def _triples(records: Iterable[Record]) -> Iterator[Triple]:
    return chain.from_iterable(record.counts.get("confusion", ()) for record in records)


def _batches(triples: Iterator[Triple]) -> Iterator[npt.NDArray[np.int64]]:
    # Bounded batches: the triples of a million records must not be in memory at once.
    while batch := list(islice(triples, _BATCH)):
        try:
            rows = np.asarray(batch)
        except (ValueError, OverflowError) as error:
            raise ValueError("confusion counts: expected [target, prediction, count] triples") from error
        if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind != "i":
            raise ValueError(
                "confusion counts: expected [target, prediction, count] triples of integers, "
                f"found an array of shape {rows.shape} and type {rows.dtype}"
            )
        yield rows.astype(np.int64, copy=False)


def _require_label_map(array: npt.NDArray[np.integer[Any]], name: str) -> None:
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be an integer [H, W] array, found {array.dtype} {list(array.shape)}")


def _require_range(labels: npt.NDArray[np.integer[Any]], n_labels: int, name: str) -> None:
    if not labels.size:
        return
    for value in (int(labels.min()), int(labels.max())):
        if not 0 <= value < n_labels:
            raise ValueError(f"{name}: label {value} is outside 0..{n_labels - 1}")
