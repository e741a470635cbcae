"""J and F against the published definition computed with scipy and loops; matching against all permutations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.fake_record import FakeRecord
from scipy.ndimage import distance_transform_edt, maximum_filter, minimum_filter

from dataset_adapters import LabelSpace, Sample
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.task import find_task
from evaluation.tasks.video import NO_FRAME, Pair, VideoAccumulator, bound_pixels, contour, count_sample, without_void

Labels = np.ndarray


def summarize(records: Iterable[FakeRecord], *options: str) -> dict[str, Any]:
    accumulator = VideoAccumulator(*options)
    for each in records:
        accumulator.add(each)
    return accumulator.figures()


def blobs(seed: int, shape: tuple[int, int], objects: int) -> Labels:
    """A label map of overlapping discs, some outside the image; objects may be covered."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    for label in rng.permutation(objects) + 1:
        y, x, r = (
            rng.uniform(-0.1, 1.1) * shape[0],
            rng.uniform(-0.1, 1.1) * shape[1],
            rng.uniform(0.1, 0.5) * min(shape),
        )
        labels[(rows - y) ** 2 + (columns - x) ** 2 < r * r] = label
    return labels


def masks_of(labels: Labels, objects: int) -> np.ndarray:
    return np.stack([labels == label for label in range(1, objects + 1)])


def video(
    seed: int, frames: int = 5, objects: int = 3, size: tuple[int, int] = (30, 44)
) -> list[tuple[Labels, Labels]]:
    """Targets and predictions of one video; the predictions are shifted, noisy, sometimes empty, objects swapped."""
    rng = np.random.default_rng(1000 + seed)
    swap = np.concatenate([[0], rng.permutation(objects) + 1])
    pairs = []
    for frame in range(frames):
        target = blobs(10 * seed + frame, size, objects)
        prediction = swap[np.roll(target, rng.integers(-3, 4, 2), axis=(0, 1))]
        prediction[rng.random(size) < 0.02] = 0
        pairs.append((target, prediction * (rng.random() > 0.15)))
    return pairs


def reference_contour(mask: np.ndarray) -> np.ndarray:
    """Where the square of a pixel and its neighbors to the right and below has pixels of both kinds."""
    same = {"size": 2, "origin": -1, "mode": "nearest"}
    return maximum_filter(mask, **same) != minimum_filter(mask, **same)


def loop_contour(mask: np.ndarray) -> np.ndarray:
    """A pixel whose neighbor to the right, below or right and below, if it is in the image, is of another kind."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            beyond = [(min(y + b, height - 1), min(x + a, width - 1)) for a, b in ((1, 0), (0, 1), (1, 1))]
            found[y, x] = any(mask[near] != mask[y, x] for near in beyond)
    return found


def reference_j_f(target: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    union = (target | prediction).sum()
    j = (target & prediction).sum() / union if union else 1.0
    radius = np.ceil(0.008 * np.linalg.norm(target.shape))
    one, other = reference_contour(target), reference_contour(prediction)
    if not one.any() or not other.any():
        return j, float(one.any() == other.any())
    recall = (one & (distance_transform_edt(~other) <= radius)).sum() / one.sum()
    precision = (other & (distance_transform_edt(~one) <= radius)).sum() / other.sum()
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def records_of(name: str, frames: list[tuple[Labels, Labels]], objects: int = 3) -> list[FakeRecord]:
    return [
        FakeRecord(f"{name}/{t:05d}", counts=count_sample(masks_of(target, objects), prediction))
        for t, (target, prediction) in enumerate(frames)
    ]


@pytest.mark.parametrize("size", [(30, 44), (1, 1), (7, 150), (200, 200)])
def test_every_pair_has_the_published_j_and_f(size: tuple[int, int]) -> None:
    values = []
    for target, prediction in video(size[1], 3, 2, size):
        pairs = [Pair(*row) for row in count_sample(masks_of(target, 2), prediction)["pairs"]]
        assert [pair[:2] for pair in pairs] == [(1, 1), (1, 2), (2, 1), (2, 2)]
        for pair in pairs:
            expected = reference_j_f(target == pair.target, prediction == pair.prediction)
            assert (pair.j, pair.f) == pytest.approx(expected, abs=1e-12)
            values.append(pair.f)
    assert size == (1, 1) or len({round(value, 6) for value in values}) > 4


def test_the_bound_is_the_official_one() -> None:
    assert bound_pixels(480, 854) == 8
    assert bound_pixels(480, 910) == 9
    # A contour at the bound is matched, one pixel further it is not.
    target, at, beyond = (np.zeros((480, 854), np.int32) for _ in range(3))
    target[:, 400:], at[:, 408:], beyond[:, 409:] = 1, 1, 1
    fs = [Pair(*count_sample(masks_of(target, 1), each)["pairs"][0]).f for each in (target, at, beyond)]
    assert fs == [1.0, 1.0, 0.0]
    border = np.zeros((9, 9), bool)
    border[-1] = border[:, -1] = True
    for mask in (border, ~border, blobs(4, (20, 30), 1) > 0):
        np.testing.assert_array_equal(contour(mask), loop_contour(mask))
        np.testing.assert_array_equal(contour(mask), reference_contour(mask))


def test_empty_targets_and_predictions() -> None:
    empty, full = np.zeros((6, 8), np.int32), np.ones((6, 8), np.int32)
    dot = empty.copy()
    dot[2, 3] = 1
    cases = {(0, 0): (empty, empty), (0, 1): (empty, dot), (1, 0): (dot, empty), (1, 1): (dot, dot)}
    for (t, p), (target, prediction) in cases.items():
        pair = Pair(*count_sample(masks_of(target, 1), prediction)["pairs"][0])
        assert (pair.j, pair.f) == ((1.0, 1.0) if t == p else (0.0, 0.0))
    pair = Pair(*count_sample(masks_of(full, 1), full)["pairs"][0])
    assert (pair.j, pair.f, pair.target_contour) == (1.0, 1.0, 0)  # the image's border is no contour
    assert count_sample(masks_of(dot, 1), dot * 7)["pairs"][0][2:4] == [0, 1]  # an id above n is no object


def reference_figures(sequences: dict[str, list[tuple[Labels, Labels]]], task: str) -> dict[str, float]:
    """Objects averaged over all videos of a set, then over sets; the best of all assignments in each video."""
    by_set: dict[str, list[tuple[float, float]]] = {}
    for name, frames in sequences.items():
        kept = frames if task == "unsupervised" else frames[1:-1]
        table = {
            (t, p): np.mean([reference_j_f(a == t, b == p) for a, b in kept], axis=0)
            for t in (1, 2, 3)
            for p in (1, 2, 3)
        }
        orders = list(itertools.permutations((1, 2, 3))) if task == "unsupervised" else [(1, 2, 3)]
        best = max(orders, key=lambda order: sum(table[t, p].sum() for t, p in zip((1, 2, 3), order, strict=True)))
        by_set.setdefault(name.split("/")[0], []).extend(
            tuple(table[t, p]) for t, p in zip((1, 2, 3), best, strict=True)
        )
    means = {name: np.mean(values, axis=0) for name, values in by_set.items()}
    j, f = np.mean(list(means.values()), axis=0)
    return {"j": j, "f": f, "j_and_f": (j + f) / 2, **{f"j_and_f_{name}": m.mean() for name, m in means.items()}}


@pytest.fixture(scope="module")
def sequences() -> dict[str, list[tuple[Labels, Labels]]]:
    names = [f"anno_{number}/{name}" for number in range(4) for name in ("goat", "dogs")]
    return {name: video(seed, frames=4 + seed % 3) for seed, name in enumerate(names)}


@pytest.mark.parametrize("task", ["unsupervised", "semi-supervised"])
def test_figures_equal_the_reference(sequences: dict[str, Any], task: str) -> None:
    records = [record for name, frames in sequences.items() for record in records_of(name, frames)]
    found, expected = summarize(records, task), reference_figures(sequences, task)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert len({round(value, 4) for value in expected.values()}) > 4
    assert found["j_and_f_scored_only"] == found["j_and_f"]
    assert (len(found["per_object"]), found["n_total"]) == (24, len(records))
    swapped = sum(each["object"] != each["predicted"] for each in found["per_object"])
    assert (swapped > 0) == (task == "unsupervised")


def test_failed_frames(sequences: dict[str, Any]) -> None:
    frames = sequences["anno_0/goat"]
    good = records_of("anno_0/goat", frames)
    target = masks_of(frames[1][0], 3)
    empty = FakeRecord(good[1].id, "failed", "broken", count_sample(target, np.zeros((30, 44), np.int32)))
    unknown = FakeRecord(good[2].id, "failed", "no such file")
    found = summarize([good[0], empty, unknown, *good[3:]])
    blank = [frames[0], (frames[1][0], frames[1][1] * 0), *frames[3:]]
    assert found["j_and_f"] == pytest.approx(reference_figures({"anno_0/goat": blank}, "unsupervised")["j_and_f"])
    scored = reference_figures({"anno_0/goat": [frames[0], *frames[3:]]}, "unsupervised")
    assert found["j_and_f_scored_only"] == pytest.approx(scored["j_and_f"])
    assert [entry["counted_as_empty"] for entry in found["failed"]] == [True, False]
    assert found["undefined"] == {f"j_and_f_anno_{number}": NO_FRAME for number in (1, 2, 3)}


def test_a_failed_end_frame_takes_no_other_frame_with_it(sequences: dict[str, Any]) -> None:
    frames = sequences["anno_0/goat"]
    good = records_of("anno_0/goat", frames)
    failed = [FakeRecord(record.id, "failed", "broken", record.counts) for record in (good[0], good[-1])]
    found = summarize([failed[0], *good[1:-1], failed[1]], "semi-supervised")
    assert found["j_and_f_scored_only"] == found["j_and_f"] == summarize(good, "semi-supervised")["j_and_f"]


def test_no_record_is_undefined_with_a_reason() -> None:
    summary = summarize([FakeRecord("anno_0/goat/00000", "failed", "gone")])
    assert summary["undefined"].keys() == summary["reductions"].keys()
    json.dumps(summary, allow_nan=False)
    assert summarize([])["j_and_f"] is None


def test_the_running_figure_takes_objects_as_named() -> None:
    frames = video(3)
    running = VideoAccumulator()
    assert running.running_figure() is None
    for record in [*records_of("anno_0/goat", frames), FakeRecord("anno_0/goat/9", "failed", "gone")]:
        running.add(record)
    expected = np.mean([reference_j_f(t == label, p == label) for t, p in frames for label in (1, 2, 3)])
    assert running.running_figure() == pytest.approx(expected, abs=1e-12)


def changed(counts: dict[str, Any], row: int, column: int, value: Any) -> dict[str, Any]:
    pairs = [list(pair) for pair in counts["pairs"]]
    pairs[row][column] = value
    return {"pairs": pairs}


GOOD = count_sample(masks_of(blobs(1, (20, 20), 2), 2), blobs(2, (20, 20), 2))


@pytest.mark.parametrize(
    ("id_", "counts", "message"),
    [
        ("anno_0/goat/0", {"pears": []}, "expected pairs of 8 integers"),
        ("anno_0/goat/0", {"pairs": [[1, 1, 0]]}, "expected pairs of 8 integers"),
        ("anno_0/goat/0", changed(GOOD, 0, 2, -1), "expected pairs of 8 integers"),
        ("anno_0/goat/0", changed(GOOD, 0, 2, 0.5), "expected pairs of 8 integers"),
        ("anno_0/goat/0", changed(GOOD, 1, 1, 3), "expected a pair for each target and predicted object"),
        ("anno_0/goat/0", {"pairs": GOOD["pairs"][:3]}, "expected a pair for each target and predicted object"),
        ("anno_0/goat/0", changed(GOOD, 0, 2, 500), "contradict each other"),
        ("anno_0/goat/0", changed(GOOD, 0, 6, 500), "contradict each other"),
        ("goat/0", GOOD, "id: expected <anno_0..anno_3>/<video>/<frame>"),
        ("anno_4/goat/0", GOOD, "id: expected <anno_0..anno_3>/<video>/<frame>"),
    ],
)
def test_bad_records_are_refused(id_: str, counts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize([FakeRecord(id_, counts=counts)])


def test_frames_that_differ_in_their_objects_are_refused() -> None:
    one = count_sample(np.ones((1, 4, 4), bool), np.ones((4, 4), np.int32))
    with pytest.raises(ValueError, match="anno_0/goat: expected the same objects in all frames"):
        summarize([FakeRecord("anno_0/goat/0", counts=one), FakeRecord("anno_0/goat/1", counts=GOOD)])


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        (np.zeros((2, 2), bool), np.zeros((2, 2), np.int32), r"target must be a bool \[n, H, W\]"),
        (np.zeros((1, 2, 2)), np.zeros((2, 2), np.int32), r"target must be a bool \[n, H, W\]"),
        (np.zeros((1, 2, 2), bool), np.zeros((2, 2)), r"prediction must be an integer \[H, W\]"),
        (np.zeros((1, 2, 3), bool), np.zeros((3, 2), np.int32), "prediction has shape"),
    ],
)
def test_bad_masks_are_refused(target: np.ndarray, prediction: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_sample(target, prediction)


def test_options() -> None:
    assert find_task("video").choices == {"davis_task": ("unsupervised", "semi-supervised")}
    with pytest.raises(ValueError, match="davis_task: expected one of unsupervised, semi-supervised, found 'x'"):
        summarize([], "x")


def official_j(target: np.ndarray, prediction: np.ndarray, void: np.ndarray | None) -> float:
    """Region similarity as the evaluator of DAVIS 2017 defines it: pixels of both sets that are not void, counted."""
    inside = both = either = 0
    for y, x in np.ndindex(*target.shape):
        if void is None or not void[y, x]:
            inside += 1
            both += bool(target[y, x] and prediction[y, x])
            either += bool(target[y, x] or prediction[y, x])
    return both / either if either else 1.0


def official_f(target: np.ndarray, prediction: np.ndarray, void: np.ndarray | None) -> float:
    """Contour accuracy likewise: void pixels are taken out of both masks before their contours are drawn."""
    kept = np.ones_like(target) if void is None else ~void
    one, other = loop_contour(target & kept), loop_contour(prediction & kept)
    radius = int(np.ceil(0.008 * np.linalg.norm(target.shape)))
    n_one, n_other = int(one.sum()), int(other.sum())
    if n_one == 0 or n_other == 0:
        return float(n_one == n_other)

    def near(points: np.ndarray, place: tuple[int, int]) -> bool:
        return any((y - place[0]) ** 2 + (x - place[1]) ** 2 <= radius**2 for y, x in np.argwhere(points))

    precision = sum(near(one, tuple(place)) for place in np.argwhere(other)) / n_other
    recall = sum(near(other, tuple(place)) for place in np.argwhere(one)) / n_one
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("davis_task", ["unsupervised", "semi-supervised"])
def test_void_is_left_out_as_by_the_official_evaluator(davis_task: str) -> None:
    """Unsupervised: of J and F. Semi-supervised: that evaluator is given no void, so it is background."""
    rng = np.random.default_rng(7)
    scorer = Scorer("video", LabelSpace.of_objects("ref-davis17/text"), {"davis_task": davis_task})
    records, expected, values = [], {}, set()
    for t, (labels, prediction) in enumerate(video(5, frames=4, objects=2, size=(22, 31))):
        void = blobs(70 + t, labels.shape, 2) == 2
        void |= rng.random(labels.shape) < 0.05
        void = void if t != 2 else np.zeros_like(void)
        labels = np.where(void, 0, labels)  # the evaluator sets 255 to 0 before it separates the objects
        masks = masks_of(labels, 2)
        sample = Sample(
            f"anno_0/goat/{t:05d}", np.zeros((*labels.shape, 3), np.uint8), ("a", "b"), "video", masks, (1, 2)
        )
        found: Any = SimpleNamespace(
            label_map=prediction.astype(np.int32), queries=("a", "b"), kept=(0, 1), steps=(), seconds={}
        )
        sample = replace(sample, sequence="anno_0/goat", void=void)
        record = scorer.record_of(sample, found, 0.0)
        given = void if davis_task == "unsupervised" else None
        for row in record.counts["pairs"]:
            pair = Pair(*row)
            one, other = masks[pair.target - 1], prediction == pair.prediction
            expected[t, pair.target, pair.prediction] = official_j(one, other, given), official_f(one, other, given)
            assert (pair.j, pair.f) == pytest.approx(expected[t, pair.target, pair.prediction], abs=1e-12)
            values |= {pair.j}
        records.append(record)
    assert len(values) > 6
    frames = range(4) if davis_task == "unsupervised" else range(1, 3)
    means = {(a, b): np.mean([expected[t, a, b] for t in frames], axis=0) for a in (1, 2) for b in (1, 2)}
    orders = [((1, 1), (2, 2)), ((1, 2), (2, 1))][: 2 if davis_task == "unsupervised" else 1]
    best = max(sum(means[pair].sum() for pair in order) for order in orders) / 4
    figures = scorer.summarize({record.id: record for record in records})
    assert figures["j_and_f"] == pytest.approx(best, abs=1e-12)
    assert ("void pixels are left out" in figures["reductions"]["j"]) == (davis_task == "unsupervised")


def test_a_frame_that_is_all_void_is_empty() -> None:
    void = np.ones((6, 8), bool)
    sample = Sample("anno_0/goat/0", np.zeros((6, 8, 3), np.uint8), ("a",), "video", np.zeros((1, 6, 8), bool), (1,))
    kept = without_void(np.ones((6, 8), np.int32), replace(sample, void=void), {})
    assert not kept.any()
    assert without_void(np.ones((6, 8), np.int32), sample, {}).all()
