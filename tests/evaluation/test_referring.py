"""Referring metrics against loops over pixels and cases worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.fake_record import FakeRecord

from dataset_adapters import LabelSpace
from evaluation.tasks.referring import (
    NO_SAMPLE,
    NO_UNION,
    THRESHOLDS,
    ReferringAccumulator,
    count_sample,
    reductions,
)
from evaluation.tasks.task import find_task


def summarize(records: Iterable[FakeRecord], *options: str) -> dict[str, Any]:
    accumulator = ReferringAccumulator(*options)
    for each in records:
        accumulator.add(each)
    return accumulator.figures()


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping masks whose IoU varies from none to nearly all."""
    rng = np.random.default_rng(seed)
    target = rng.random(tuple(rng.integers(1, 30, 2))) < rng.choice([0, 0.1, 0.5, 0.9])
    return target, target ^ (rng.random(target.shape) < rng.choice([0.01, 0.1, 0.3, 0.6]))


def loop_counts(target: np.ndarray, prediction: np.ndarray) -> dict[str, int]:
    counts = dict.fromkeys(("intersection", "union", "target", "prediction"), 0)
    for t, p in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        counts["intersection"] += t and p
        counts["union"] += t or p
        counts["target"] += t
        counts["prediction"] += p
    return counts


def loop_metrics(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """As LAVT's test loop has it: one IoU a sample, 0 where the union is 0, sums for the overall IoU."""
    total_i = total_u = 0
    ious = []
    for target, prediction in pairs:
        counts = loop_counts(target, prediction)
        i, u = counts["intersection"], counts["union"]
        ious.append(0.0 if u == 0 else i * 1.0 / u)
        total_i, total_u = total_i + i, total_u + u
    found = {"miou_mean_over_samples": np.mean(np.array(ious)), "oiou_pooled": total_i / total_u}
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        found[f"precision_at_{threshold}"] = sum(iou >= threshold for iou in ious) / len(ious)
    return found


def record(id_: str, target: np.ndarray, prediction: np.ndarray, status: str = "ok") -> FakeRecord:
    return FakeRecord(id_, status, "broken" if status == "failed" else None, count_sample(target, prediction))


def counts(intersection: int, union: int) -> dict[str, int]:
    return {"intersection": intersection, "union": union, "target": union, "prediction": intersection}


def test_counts_equal_a_loop_over_pixels() -> None:
    for seed in range(50):
        found = count_sample(*pair(seed))
        assert found == loop_counts(*pair(seed))
        assert all(type(value) is int for value in found.values())


def test_metrics_equal_a_literal_loop() -> None:
    pairs = [pair(seed) for seed in range(200)]
    summary = summarize([record(str(n), *masks) for n, masks in enumerate(pairs)])
    expected = loop_metrics(pairs)
    assert len({round(value, 3) for value in expected.values()}) > 5
    assert {name: summary[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert summary["miou_mean_over_scored_samples"] == summary["miou_mean_over_samples"]


def test_the_mean_and_the_overall_figure_differ() -> None:
    # 1/2 of a small object and 90/100 of a large one.
    summary = summarize([FakeRecord("x", counts=counts(1, 2)), FakeRecord("y", counts=counts(90, 100))])
    assert summary["miou_mean_over_samples"] == 0.7
    assert summary["oiou_pooled"] == 91 / 102


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_precision_counts_an_iou_equal_to_its_threshold(threshold: float) -> None:
    exact = Fraction(str(threshold))
    for scale in (1, 7, 12345):
        i, u = exact.numerator * scale, exact.denominator * scale
        at, below = FakeRecord("at", counts=counts(i, u)), FakeRecord("below", counts=counts(i * 10**6 - 1, u * 10**6))
        summary = summarize([at, below])
        assert summary[f"precision_at_{threshold}"] == 0.5


def test_two_empty_masks_have_iou_0() -> None:
    empty = np.zeros((4, 5), bool)
    summary = summarize([record("x", empty, empty)])
    assert (summary["miou_mean_over_samples"], summary["precision_at_0.5"]) == (0.0, 0.0)
    assert summary["oiou_pooled"] is None
    assert summary["undefined"] == {"oiou_pooled": NO_UNION}


def test_referring_failed_sample_counts_as_empty_prediction() -> None:
    target = np.ones((2, 3), bool)
    records = [
        record("good", target, target),
        record("bad", target, np.zeros_like(target), "failed"),
        FakeRecord("unread", "failed", "no such file"),
    ]
    summary = summarize(records)
    assert summary["miou_mean_over_samples"] == summary["oiou_pooled"] == summary["precision_at_0.9"] == 0.5
    assert summary["miou_mean_over_scored_samples"] == 1.0
    assert (summary["n_total"], summary["n_scored"], summary["n_failed"]) == (3, 1, 2)
    assert summary["failed"] == [
        {"id": "bad", "error": "broken", "counted_as_empty": True},
        {"id": "unread", "error": "no such file", "counted_as_empty": False},
    ]


def test_nothing_counted_is_undefined_with_a_reason() -> None:
    summary = summarize([])
    assert all(summary[name] is None for name in reductions("original"))
    assert summary["undefined"].keys() == reductions("original").keys()
    assert summary["undefined"]["miou_mean_over_samples"] == NO_SAMPLE
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("shape", [(480, 640), (427, 640), (640, 428), (17, 900), (480, 480), (1, 1)])
def test_480_takes_the_pixel_under_each_centre(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    target, prediction = rng.random((2, *shape)) < 0.4
    exact = [[(2 * i + 1) * side for i in range(480)] for side in shape]
    rows, columns = ([value // 960 for value in axis] for axis in exact)
    expected = loop_counts(target[np.ix_(rows, columns)], prediction[np.ix_(rows, columns)])
    found = count_sample(target, prediction, "480x480")
    # A center on the border of two pixels may fall to either side.
    tied = sum(value % 960 == 0 for axis in exact for value in axis)
    for name, value in expected.items():
        assert found[name] == value if not tied else abs(found[name] - value) <= 480 * tied


def test_the_resolution_is_said_in_the_figures_description() -> None:
    assert "480x480" in summarize([], "480x480")["reductions"]["miou_mean_over_samples"]
    assert "own size" in summarize([])["reductions"]["miou_mean_over_samples"]


def test_the_running_figure_ends_at_the_mean() -> None:
    records = [record(str(seed), *pair(seed)) for seed in range(30)] + [FakeRecord("unread", "failed", "gone")]
    running = ReferringAccumulator()
    assert running.running_figure() is None
    for entry in records:
        running.add(entry)
    assert running.running_figure() == pytest.approx(summarize(records)["miou_mean_over_samples"], abs=1e-12)


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), bool), r"target must be a bool \[H, W\] array, found float64 \[2, 2\]"),
        (np.zeros((2, 2), bool), np.zeros((2, 2), np.uint8), "prediction must be a bool"),
        (np.zeros(4, bool), np.zeros(4, bool), "target must be a bool"),
        (np.zeros((2, 3), bool), np.zeros((3, 2), bool), r"target has shape \(2, 3\), prediction has shape \(3, 2\)"),
    ],
)
def test_bad_masks_are_refused(target: np.ndarray, prediction: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_sample(target, prediction)


def test_an_unknown_resolution_is_refused() -> None:
    mask = np.zeros((2, 2), bool)
    with pytest.raises(ValueError, match="resolution: expected one of original, 480x480, found '512x512'"):
        count_sample(mask, mask, "512x512")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([FakeRecord("x")], "record 'x': counts: expected intersection, union"),
        ([FakeRecord("x", counts={**counts(1, 2), "union": 1.5})], "expected intersection, union"),
        ([FakeRecord("x", counts={**counts(1, 2), "target": -1})], "expected intersection, union"),
        ([FakeRecord("x", counts={**counts(1, 2), "prediction": 5})], "contradict each other"),
        ([FakeRecord("x", counts=counts(3, 2))], "contradict each other"),
    ],
)
def test_bad_records_are_refused(records: list[FakeRecord], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize(records)


def test_metrics_are_found_by_task() -> None:
    referring, space = find_task("referring"), LabelSpace.of_objects("made")
    assert referring.choices == {"resolution": ("original", "480x480")}
    target, prediction = pair(1)
    assert referring.count(target, prediction, space, {"resolution": "original"}) == count_sample(target, prediction)
