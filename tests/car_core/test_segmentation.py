"""Painting labels and merging the masks of one reference, against loops over pixels."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from oracles.literal_car import merged_by_loop

from car_core.segmentation import merge_masks, paint_labels


def random_masks(n: int, seed: int, density: float) -> npt.NDArray[np.bool_]:
    return np.random.default_rng(seed).random((n, 11, 13)) < density


def painted_by_loop(
    masks: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], order: tuple[int, ...]
) -> npt.NDArray[np.int32]:
    """Each pixel belongs to the best-scoring mask that covers it; of equals, to the later one."""
    result = np.zeros(masks.shape[1:], np.int32)
    for y, x in itertools.product(*map(range, result.shape)):
        best = None
        for i in sorted(order):
            if masks[i, y, x] and (best is None or scores[i] >= scores[best]):
                best = i
        result[y, x] = 0 if best is None else best + 1
    return result


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("density", [0.1, 0.5, 0.9])
def test_paint_labels(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    masks, scores = random_masks(5, seed, density), rng.choice([0.1, 0.3, 0.6], 5).astype(np.float32)
    order = tuple(rng.permutation(5)[: rng.integers(0, 6)].tolist())
    found = paint_labels(masks, scores, order)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, painted_by_loop(masks, scores, order))


def test_nothing_to_paint_is_background() -> None:
    found = paint_labels(random_masks(3, 0, 0.5), np.ones(3, np.float32), ())
    assert found.shape == (11, 13)
    assert not found.any()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("density", [0.02, 0.3, 0.7])
@pytest.mark.parametrize(("inclusive", "union_of_small"), [(True, True), (False, True), (True, False), (False, False)])
def test_merge_masks(seed: int, density: float, inclusive: bool, union_of_small: bool) -> None:
    masks = random_masks(4, seed, density)
    scores = np.random.default_rng(seed).random(4).astype(np.float32)
    scores[seed % 4] = 0
    scores[1 + seed % 3] = scores[0]  # pixels of exactly half the weight
    found = merge_masks(masks, scores, inclusive=inclusive, union_of_small=union_of_small)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(
        found, merged_by_loop(masks, scores.astype(float).tolist(), inclusive, union_of_small)
    )


def test_half_of_the_weight_is_enough_only_if_inclusive() -> None:
    masks = np.zeros((2, 4, 5), bool)
    masks[0, :, :3] = True
    masks[1, :, 2:] = True
    for scores, inclusive, expected in (
        ([0.4, 0.4], False, masks[0] & masks[1]),
        ([0.4, 0.4], True, masks[0] | masks[1]),
        ([0.5, 0.4], False, masks[0]),
        ([0.5, 0.4], True, masks[0]),
    ):
        merged = merge_masks(masks, np.array(scores, np.float32), inclusive=inclusive, union_of_small=False)
        np.testing.assert_array_equal(merged, expected)


@pytest.mark.parametrize(("pixels", "united"), [(4, True), (5, True), (6, False)], ids=["4 %", "5 %", "6 %"])
def test_union_where_the_merge_covers_at_most_a_twentieth(pixels: int, united: bool) -> None:
    masks = np.zeros((2, 10, 10), bool)
    masks[0].flat[:pixels] = True
    masks[1].flat[50:90] = True
    scores = np.array([0.6, 0.4], np.float32)
    expected = masks[0] | masks[1] if united else masks[0]
    np.testing.assert_array_equal(merge_masks(masks, scores, inclusive=False, union_of_small=True), expected)
    np.testing.assert_array_equal(merge_masks(masks, scores, inclusive=False, union_of_small=False), masks[0])


@pytest.mark.parametrize("union_of_small", [True, False])
def test_no_sentence_left_is_an_empty_mask(union_of_small: bool) -> None:
    merged = merge_masks(
        np.zeros((3, 6, 7), bool), np.zeros(3, np.float32), inclusive=True, union_of_small=union_of_small
    )
    assert merged.shape == (6, 7)
    assert not merged.any()
