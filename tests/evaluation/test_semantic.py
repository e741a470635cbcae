"""Semantic metrics against a loop over pixels, scikit-learn, and cases worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.fake_record import FakeRecord
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from dataset_adapters import LabelSpace
from evaluation.tasks.semantic import (
    MAX_PIXELS,
    NO_FOREGROUND,
    NO_TARGET,
    NO_UNION,
    REDUCTIONS,
    SemanticAccumulator,
    confusion_counts,
    sum_confusion,
)
from evaluation.tasks.task import TASKS, find_task

N = 5
LABELS = ["background", "a", "b", "c", "d"]
IGNORE = 255


def record(id_: str, triples: list[list[int]], status: str = "ok") -> FakeRecord:
    return FakeRecord(id_, status, "broken" if status == "failed" else None, {"confusion": triples})


def summarize(records: Iterable[FakeRecord], labels: Sequence[str], scored_labels: Sequence[int]) -> dict[str, Any]:
    accumulator = SemanticAccumulator(labels, scored_labels)
    for each in records:
        accumulator.add(each)
    return accumulator.figures()


def random_maps(seed: int, n: int = N, size: int = 23) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, n, (size, size + 3), dtype=np.int32)
    target[rng.random(target.shape) < 0.1] = IGNORE
    return target, rng.integers(0, n, target.shape, dtype=np.int32)


def loop_confusion(target: np.ndarray, prediction: np.ndarray) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for t, p in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t != IGNORE:
            counts[t, p] = counts.get((t, p), 0) + 1
    return counts


def as_array(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, dtype=np.int32)


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_a_loop_over_pixels_and_scikit_learn(seed: int) -> None:
    target, prediction = random_maps(seed)
    triples = confusion_counts(target, prediction, N, IGNORE)
    assert {(t, p): c for t, p, c in triples} == loop_confusion(target, prediction)
    kept = target != IGNORE
    expected = confusion_matrix(target[kept], prediction[kept], labels=range(N))
    np.testing.assert_array_equal(sum_confusion(triples, N), expected)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_scikit_learn(seed: int) -> None:
    target, prediction = random_maps(seed)
    summary = summarize([record("x", confusion_counts(target, prediction, N, IGNORE))], LABELS, range(N))
    t, p = target[target != IGNORE], prediction[target != IGNORE]
    per_class = jaccard_score(t, p, labels=range(N), average=None)
    assert [c["iou"] for c in summary["per_class"]] == pytest.approx(per_class, abs=1e-12)
    assert summary["miou"] == pytest.approx(jaccard_score(t, p, average="macro"), abs=1e-12)
    weighted = jaccard_score(t, p, average="weighted")
    assert summary["frequency_weighted_iou_gt_classes"] == pytest.approx(weighted, abs=1e-12)
    assert summary["pixel_accuracy_pooled"] == pytest.approx(accuracy_score(t, p), abs=1e-12)
    recall = [np.mean(p[t == label] == label) for label in range(N)]
    assert summary["mean_accuracy_gt_classes"] == pytest.approx(np.mean(recall), abs=1e-12)


def test_semantic_counts_are_integers_and_survive_json() -> None:
    triples = confusion_counts(*random_maps(0), N, IGNORE)
    assert all(type(value) is int for triple in triples for value in triple)
    assert all(count > 0 for _, _, count in triples)
    assert json.loads(json.dumps(triples)) == triples == sorted(triples)


def test_merging_is_not_averaging_per_image() -> None:
    # 1/2 in one image and 90/100 in the other: pooled 91/102, never the mean of the ratios.
    records = [record("x", [[1, 1, 1], [1, 0, 1]]), record("y", [[1, 1, 90], [1, 0, 10]])]
    assert summarize(records, LABELS, [1])["miou"] == 91 / 102


def test_more_triples_than_one_batch_are_summed() -> None:
    np.testing.assert_array_equal(sum_confusion([[1, 0, 1]] * 70_000, 2), [[0, 0], [70_000, 0]])


def test_many_labels_of_16_bits_do_not_overflow() -> None:
    target = np.array([[846, 65535]], dtype=np.uint16)
    assert confusion_counts(target, np.array([[845, 0]], dtype=np.uint16), 847, 65535) == [[846, 845, 1]]


def test_an_ignored_pixel_counts_nowhere() -> None:
    target, prediction = as_array([[IGNORE, IGNORE]]), as_array([[1, 2]])
    assert confusion_counts(target, prediction, N, IGNORE) == []


def test_absent_class_is_left_out_but_a_false_one_counts_as_zero() -> None:
    # Class a: 1/2. Class b is predicted but not in the ground truth. Classes c and d never occur.
    summary = summarize([record("x", [[1, 1, 1], [1, 2, 1]])], LABELS, range(1, N))
    assert [c["iou"] for c in summary["per_class"]] == [0.5, 0.0, None, None]
    assert [c["reason"] is None for c in summary["per_class"]] == [True, True, False, False]
    assert summary["miou"] == 0.25
    assert summary["miou_gt_classes"] == 0.5
    assert summary["mean_accuracy_gt_classes"] == 0.5


@pytest.mark.parametrize("records", [[], [record("x", [])]], ids=["no samples", "all pixels ignored"])
def test_nothing_counted_is_undefined_with_a_reason(records: list[FakeRecord]) -> None:
    summary = summarize(records, LABELS, range(1, N))
    assert all(summary[name] is None for name in REDUCTIONS)
    assert summary["undefined"]["miou"] == NO_UNION
    assert summary["undefined"]["pixel_accuracy_pooled"] == NO_TARGET
    assert summary["undefined"].keys() == REDUCTIONS.keys()
    json.dumps(summary, allow_nan=False)


def test_prediction_without_target_counts_by_reduction() -> None:
    """It is zero in one reduction and undefined in the other."""
    summary = summarize([record("x", [[0, 1, 4]])], LABELS, range(1, N))
    assert summary["miou"] == 0.0
    assert summary["miou_gt_classes"] is None
    assert summary["undefined"]["miou_gt_classes"] == NO_TARGET


def test_released_mean_leaves_predicted_background_out() -> None:
    generator = np.random.default_rng(11)
    target, prediction = generator.integers(1, N, (9, 31)), generator.integers(0, N, (9, 31))
    target[target == 2] = IGNORE
    ious = []
    for label in range(1, N):
        pairs = [
            (t == label, p == label)
            for t, p in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True)
            if t != IGNORE and p != 0
        ]
        if any(t for t, _ in pairs):
            ious.append(sum(t and p for t, p in pairs) / sum(t or p for t, p in pairs))
    records = [record("x", confusion_counts(target, prediction, N, IGNORE))]
    summary = summarize(records, LABELS, range(1, N))
    assert summary["miou_gt_classes_foreground"] == pytest.approx(np.mean(ious), rel=1e-12)
    assert summary["miou_gt_classes_foreground"] > summary["miou_gt_classes"]
    assert "miou_gt_classes_foreground" not in summarize(records, LABELS, range(N))["reductions"]


def test_voc20_background_may_be_predicted_and_is_only_a_miss() -> None:
    # Ground-truth background is ignored; label 0 is not scored, so it has no IoU and no false positives.
    target, prediction = as_array([[1, 1, 2, IGNORE]]), as_array([[1, 0, 2, 1]])
    summary = summarize(
        [record("x", confusion_counts(target, prediction, 3, IGNORE))], ["background", "a", "b"], [1, 2]
    )
    assert [c["label"] for c in summary["per_class"]] == [1, 2]
    assert [c["iou"] for c in summary["per_class"]] == [0.5, 1.0]
    assert summary["miou"] == 0.75
    assert summary["pixel_accuracy_pooled"] == 2 / 3


def test_semantic_failed_sample_is_empty_prediction_and_listed() -> None:
    target = as_array([[1, 1, 0, 0]])
    empty = confusion_counts(target, np.zeros_like(target), N, IGNORE)
    records = [
        record("good", confusion_counts(target, target, N, IGNORE)),
        record("bad", empty, "failed"),
        FakeRecord("unread", "failed", "no such file"),
    ]
    summary = summarize(records, LABELS, range(N))
    assert summary["miou"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert summary["miou_scored_only"] == 1.0
    assert (summary["n_total"], summary["n_scored"], summary["n_failed"]) == (3, 1, 2)
    assert summary["failed"] == [
        {"id": "bad", "error": "broken", "counted_as_empty": True},
        {"id": "unread", "error": "no such file", "counted_as_empty": False},
    ]


def test_all_samples_failed_leaves_scored_only_mean_undefined() -> None:
    summary = summarize([record("x", [[1, 0, 4]], "failed")], LABELS, range(1, N))
    assert summary["miou"] == 0.0
    assert summary["miou_scored_only"] is None
    assert summary["undefined"] == {"miou_scored_only": NO_UNION, "miou_gt_classes_foreground": NO_FOREGROUND}


def test_figures_are_fractions_and_unrounded() -> None:
    summary = summarize([record("x", [[1, 1, 1], [1, 0, 2]])], LABELS, [1])
    assert summary["miou"] == 1 / 3


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        ([[5]], [[0]], "target: label 5 is outside 0..4"),
        ([[-1]], [[0]], "target: label -1 is outside 0..4"),
        ([[0]], [[5]], "prediction: label 5 is outside 0..4"),
        ([[IGNORE]], [[-3]], "prediction: label -3 is outside 0..4"),
        ([[0, 1]], [[0]], r"target has shape \(1, 2\), prediction has shape \(1, 1\)"),
    ],
)
def test_bad_label_maps_are_refused(target: list, prediction: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_counts(as_array(target), as_array(prediction), N, IGNORE)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2)), np.zeros((2, 2), bool), np.zeros(4, np.int32), np.zeros((1, 2, 2), np.int32)]
)
def test_arrays_that_are_not_label_maps_are_refused(array: np.ndarray) -> None:
    good = np.zeros((2, 2), np.int32)
    with pytest.raises(ValueError, match="target must be an integer"):
        confusion_counts(array, good, N, IGNORE)
    with pytest.raises(ValueError, match="prediction must be an integer"):
        confusion_counts(good, array, N, IGNORE)


@pytest.mark.parametrize(
    ("triples", "message"),
    [
        ([[0, 5, 1]], "label 5 is outside"),
        ([[-1, 0, 1]], "label -1 is outside"),
        ([[0, 0, -1]], "negative count -1"),
        ([{"target": 0, "prediction": 0, "count": 1}], "triples of integers, found {'target'"),
        ([[0, 0]], "triples"),
        ([[0, 0, 1], [0, 0]], "triples"),
        ([[0, 0, 1.5]], "integers"),
        ([["0", "0", "1"]], "integers"),
        ([[0, 0, None]], "integers"),
        ([[0, 0, 2**63]], "pixels, more than"),
        ([[0, 0, 2**200]], "pixels, more than"),
        ([[0, 0, 2**62]] * 3, str(MAX_PIXELS)),
        (["abc"], "triples"),
    ],
)
def test_malformed_counts_are_refused(triples: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sum_confusion(triples, N)


def test_an_image_without_pixels_has_no_counts() -> None:
    assert confusion_counts(np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int32), N, IGNORE) == []


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([FakeRecord("x")], "no 'confusion'"),
    ],
)
def test_bad_records_are_refused(records: list[FakeRecord], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize(records, LABELS, range(N))


@pytest.mark.parametrize(
    ("scored", "message"), [([5], "scored_labels: label 5"), ([1, 1], "twice"), ([-1], "label -1")]
)
def test_bad_scored_labels_are_refused(scored: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize([], LABELS, scored)


def test_metrics_are_found_by_task() -> None:
    space = LabelSpace("made", tuple(LABELS), ("a",), (1,), IGNORE, tuple(range(N)))
    target, prediction = random_maps(1)
    counts = find_task("semantic").count(target, prediction, space, {})
    accumulator = find_task("semantic").accumulator(space, {})
    accumulator.add(FakeRecord("x", counts=counts))
    assert accumulator.figures()["n_scored"] == 1
    with pytest.raises(ValueError, match=f"'detection'; tasks: {', '.join(TASKS)}"):
        find_task("detection")


def test_frequency_weighted_iou_is_rounded_once() -> None:
    """A sum that is rounded after every term, as `sum` was before Python 3.12, gives 0.09302075775065047 here."""
    matrix = np.array([[16, 71, 43, 70], [27, 78, 71, 76], [37, 57, 12, 77], [50, 41, 74, 31]])
    rows, columns, diagonal = (values.tolist() for values in (matrix.sum(1), matrix.sum(0), matrix.diagonal()))
    terms = [t * i / (t + p - i) for t, p, i in zip(rows, columns, diagonal, strict=True)]
    exact = float(sum(map(Fraction, terms))) / int(matrix.sum())
    triples = [[t, p, int(matrix[t, p])] for t in range(4) for p in range(4)]
    found = summarize([record("x", triples)], LABELS[:4], range(4))["frequency_weighted_iou_gt_classes"]
    assert found == exact == 0.09302075775065048
