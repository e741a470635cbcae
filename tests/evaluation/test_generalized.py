"""Generalized referring metrics against a literal loop, on split records, empty masks and bad records."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from helpers.fake_record import FakeRecord

from evaluation.tasks.generalized import (
    NO_SAMPLE,
    NO_TARGETS,
    ONLY_TARGETS,
    GeneralizedAccumulator,
    count_sample,
    reductions,
)
from evaluation.tasks.task import find_task


def summarize(records: Iterable[FakeRecord], **options: str) -> dict[str, Any]:
    accumulator = GeneralizedAccumulator(**options)
    for each in records:
        accumulator.add(each)
    return accumulator.figures()


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions that are empty, small or overlapping, so that every case occurs."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(8, 30, 2))
    target = rng.random(shape) < rng.choice([0, 0, 0.1, 0.5, 0.9])
    like = target ^ (rng.random(shape) < rng.choice([0.01, 0.1, 0.3]))
    return target, [like, np.zeros(shape, bool), rng.random(shape) < 0.05][rng.choice(3, p=[0.6, 0.2, 0.2])]


def objects(target: np.ndarray) -> np.ndarray:
    """The same pixels as two objects that overlap, or none: bool [n, H, W]."""
    halves = np.stack([target, target])
    halves[0, : len(target) // 2], halves[1, len(target) // 2 + 1 :] = False, False
    return halves if target.any() else halves[:0]


def literal(pairs: list[tuple[np.ndarray, np.ndarray]], least: int) -> dict[str, float]:
    """The four cases of ReLA's evaluator, one pixel at a time."""
    total_i = total_u = 0
    ious, target_ious = [], []
    hits = {"TP": 0, "TN": 0, "FP": 0, "FN": 0}
    for target, prediction in pairs:
        i = u = n_target = n_predicted = 0
        for t, p in zip(target.ravel().tolist(), prediction.ravel().tolist(), strict=True):
            i, u, n_target, n_predicted = i + (t and p), u + (t or p), n_target + t, n_predicted + p
        says_none = n_predicted < least
        if n_target == 0:
            hits["TP" if says_none else "FN"] += 1
            ious.append(1.0 if says_none else 0.0)
            total_u += 0 if says_none else u
            continue
        hits["FP" if says_none else "TN"] += 1
        i = 0 if says_none else i
        total_i, total_u = total_i + i, total_u + u
        ious.append(i / u)
        target_ious.append(i / u)
    found = {
        "giou_mean_over_samples": float(np.mean(ious)),
        "ciou_pooled": total_i / total_u,
        "n_acc": hits["TP"] / (hits["TP"] + hits["FN"]),
        "t_acc": hits["TN"] / (hits["TN"] + hits["FP"]),
    }
    for threshold in (0.7, 0.8, 0.9):
        found[f"precision_at_{threshold}"] = sum(iou >= threshold for iou in target_ious) / len(target_ious)
    return found


def record(id_: str, target: np.ndarray, prediction: np.ndarray, status: str = "ok") -> FakeRecord:
    return FakeRecord(id_, status, "broken" if status == "failed" else None, count_sample(objects(target), prediction))


@pytest.mark.parametrize(("option", "least"), [("50", 50), ("1", 1)])
def test_metrics_equal_a_literal_loop(option: str, least: int) -> None:
    pairs = [pair(seed) for seed in range(200)]
    records = [record(str(n), *masks) for n, masks in enumerate(pairs)]
    summary, expected = summarize(records, no_target_below=option), literal(pairs, least)
    assert 0 < expected["n_acc"] < 1
    assert 0 < expected["t_acc"] < 1
    assert {name: summary[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert summary["giou_mean_over_scored_samples"] == summary["giou_mean_over_samples"]
    assert summary["n_no_target"] == sum(not target.any() for target, _ in pairs)
    running = GeneralizedAccumulator(no_target_below=option)
    assert running.running_figure() is None
    for each in records:
        running.add(each)
    assert running.running_figure() == pytest.approx(expected["giou_mean_over_samples"], abs=1e-12)


def test_released_generalized_protocol_is_iou_of_first_object() -> None:
    ious, intersections, unions, accumulator = [], 0, 0, GeneralizedAccumulator(no_target_below="0", objects="first")
    for seed in range(60):
        target, prediction = pair(seed)
        masks = objects(target)
        first = {place for place, value in np.ndenumerate(masks[0]) if value} if len(masks) else set()
        predicted = {place for place, value in np.ndenumerate(prediction) if value}
        union = len(first | predicted)
        ious.append(len(first & predicted) / union if union else 0)
        intersections, unions = intersections + len(first & predicted), unions + union
        counts = count_sample(masks, prediction, no_target_below="0", objects="first")
        accumulator.add(FakeRecord(str(seed), "ok", None, counts))
    found = accumulator.figures()
    assert 0 < sum(ious) < len(ious)
    assert found["giou_mean_over_samples"] == pytest.approx(sum(ious) / len(ious), abs=1e-12)
    assert found["ciou_pooled"] == intersections / unions
    assert (found["n_acc"], found["t_acc"]) == (0, 1)
    assert "the first object" in found["reductions"]["giou_mean_over_samples"]


def test_an_object_without_a_pixel_is_not_the_first() -> None:
    masks = np.zeros((3, 4, 5), bool)  # a crowd's mask is empty
    masks[1, :2], masks[2] = True, True
    assert count_sample(masks, masks[1], objects="first")["union"] == 10
    assert count_sample(masks[:1], masks[1], objects="first") == count_sample(masks[:1], masks[1])


def test_the_rule_of_50_pixels_is_exact() -> None:
    empty, prediction = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    prediction.ravel()[:49] = True
    more = prediction.copy()
    more[9, 9] = True
    found = summarize([record("49", empty, prediction), record("50", empty, more)])
    assert (found["n_acc"], found["ciou_pooled"], found["giou_mean_over_samples"]) == (0.5, 0.0, 0.5)
    assert summarize([record("49", empty, prediction)], no_target_below="1")["n_acc"] == 0
    # The mask of a wrong "no target" is not blanked: its pixels stay in the union.
    target = ~prediction
    assert summarize([record("x", target, prediction), record("y", more, more)])["ciou_pooled"] == 50 / 150


def test_split_and_merged_in_any_order_gives_the_same_bits() -> None:
    records = [record(str(seed), *pair(seed)) for seed in range(100)]
    expected = json.dumps(summarize(records))
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        merged = [FakeRecord(r.id, counts=json.loads(json.dumps(r.counts))) for r in shuffled]
        assert json.dumps(summarize(iter(merged[:40] + merged[40:]))) == expected


def test_a_failed_sample_is_never_right() -> None:
    empty, full = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    records = [
        record("none", empty, empty),
        record("none failed", empty, empty, "failed"),
        record("one", full, full),
        record("one failed", full, empty, "failed"),
        FakeRecord("unread", "failed", "no such file"),
    ]
    found = summarize(records)
    assert [found[name] for name in ("giou_mean_over_samples", "n_acc", "t_acc", "ciou_pooled")] == [0.5] * 4
    assert found["giou_mean_over_scored_samples"] == 1
    assert (found["n_total"], found["n_scored"], found["n_failed"], found["n_no_target"]) == (5, 2, 3, 2)


def test_figures_without_samples_are_undefined_with_a_reason() -> None:
    empty, full = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    assert summarize([record("x", full, full)])["undefined"] == {"n_acc": ONLY_TARGETS}
    without = summarize([record("x", empty, empty)])
    assert without["undefined"]["t_acc"] == without["undefined"]["precision_at_0.9"] == NO_TARGETS
    assert (without["giou_mean_over_samples"], without["ciou_pooled"]) == (1.0, None)
    nothing = summarize([])
    assert nothing["undefined"].keys() == reductions("original", "50").keys()
    assert nothing["undefined"]["giou_mean_over_samples"] == NO_SAMPLE
    json.dumps(nothing, allow_nan=False)


def test_a_target_that_resizing_loses_is_still_a_target() -> None:
    target = np.zeros((2000, 2000), bool)
    target[1, 1] = True
    counts = count_sample(objects(target), np.zeros_like(target), "480x480")
    assert (counts["target"], counts["has_target"]) == (0, 1)
    assert summarize([FakeRecord("x", counts=counts)])["t_acc"] == 0


def test_whether_there_is_a_target_is_no_matter_of_pixels() -> None:
    nothing, full = np.zeros((9, 9), bool), np.ones((9, 9), bool)
    crowd = nothing[np.newaxis]  # an object whose pixels do not count
    assert count_sample(crowd, nothing)["has_target"] == 1
    assert count_sample(crowd[:0], nothing)["has_target"] == 0
    said_none, said_one = (summarize([FakeRecord("x", counts=count_sample(crowd, mask))]) for mask in (nothing, full))
    assert (said_none["giou_mean_over_samples"], said_none["t_acc"], said_none["n_no_target"]) == (0, 0, 0)
    assert (said_one["giou_mean_over_samples"], said_one["t_acc"], said_one["ciou_pooled"]) == (0, 1, 0)
    for wrong in (nothing, crowd.astype(np.uint8)):
        with pytest.raises(ValueError, match=r"target must be a bool \[n, H, W\] array, found"):
            count_sample(wrong, nothing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"has_target": 2}, "expected has_target, 0 or 1"),
        ({"has_target": None}, "expected has_target, 0 or 1"),
        ({"has_target": 0}, "expected has_target, 0 or 1"),
        ({"union": 1}, "contradict each other"),
        ({"target": -1}, "expected intersection, union"),
    ],
)
def test_bad_records_are_refused(change: dict[str, Any], message: str) -> None:
    full = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match=message):
        summarize([FakeRecord("x", counts={**count_sample(objects(full), full), **change})])


def test_options() -> None:
    assert find_task("generalized").choices["no_target_below"] == ("50", "1", "0")
    with pytest.raises(ValueError, match="no_target_below: expected one of 50, 1, 0, found '20'"):
        summarize([], no_target_below="20")
    with pytest.raises(ValueError, match="objects: expected one of all, first, found 'last'"):
        summarize([], objects="last")
    assert "fewer than 50 pixels" in summarize([])["reductions"]["n_acc"]
    assert "an empty prediction" in summarize([], no_target_below="1")["reductions"]["n_acc"]
