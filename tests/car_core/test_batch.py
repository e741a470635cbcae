"""Several images together give what they give one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.tiny_clip import photo, tiny_clip

from car_core import CaR, CaRConfig, Segmentation
from car_core.engine.batching import MicroBatcher

WORDS = ["cat", "a red car", "dog", "blue sky", "old bicycle", "grass", "a tall tree"]
# Image sizes and the number of queries of each.
BATCH = [((52, 76), 5), ((33, 40), 1), ((70, 30), 7), ((16, 16), 2), ((1, 1), 3), ((52, 76), 4)]


def car(**fields: Any) -> CaR:
    texts = {"background": ("sky", "water"), "templates": ("a photo of a {}.", "This is a {}")}
    if fields.get("mode") == "referring":
        texts["templates"] = ()
    return CaR(CaRConfig(**{"theta": 0.2, "lambda_": 0.3, **texts, **fields}), **models())


def models() -> dict[str, Any]:
    """Those of `car`."""
    f = tiny_clip(5, patch=16, layers=10, logit_scale=10.0)
    return {"proposal_clip": f, "classifier_clip": tiny_clip(3, patch=14, image_size=56, layers=3, embed_dim=48)}


def set_batcher(car: CaR, batcher: MicroBatcher, *, trunk_only: bool = False) -> None:
    """For both encoders."""
    car.trunk_batcher.size, car.trunk_batcher.shared = batcher.size, batcher.shared
    if not trunk_only:
        car.classifier_batcher = MicroBatcher(batcher.size, shared=batcher.shared)


def assert_equal(found: Segmentation, expected: Segmentation) -> None:
    __tracebackhide__ = True
    assert found.queries == expected.queries
    assert found.kept == expected.kept
    assert [(step.queries, step.kept) for step in found.steps] == [(step.queries, step.kept) for step in expected.steps]
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-5)
    for step, other in zip(found.steps, expected.steps, strict=True):
        np.testing.assert_allclose(step.scores, other.scores, rtol=0, atol=1e-5)
        assert step.proposals is not None
        assert other.proposals is not None
        np.testing.assert_allclose(step.proposals, other.proposals, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.masks, expected.masks)
    np.testing.assert_array_equal(found.label_map, expected.label_map)
    assert (found.merged_mask is None) == (expected.merged_mask is None)
    if found.merged_mask is not None and expected.merged_mask is not None:
        np.testing.assert_array_equal(found.merged_mask, expected.merged_mask)


BATCHERS = {
    "alone": MicroBatcher(16, shared=False),
    "alone, small": MicroBatcher(3, shared=False),
    "shared": MicroBatcher(4, shared=True),
}


@pytest.mark.parametrize("batcher", BATCHERS.values(), ids=BATCHERS)
@pytest.mark.parametrize("mode", ["semantic", "referring"])
@pytest.mark.parametrize("profile", ["released", "paper"])
def test_batched_equals_one_by_one(profile: Any, mode: Any, batcher: MicroBatcher) -> None:
    """Images of other sizes, with other numbers of queries, that end after other numbers of steps."""
    images = [photo(*size, seed) for seed, (size, _) in enumerate(BATCH)]
    queries = [[WORDS[(seed + i) % 7] for i in range(n)] for seed, (_, n) in enumerate(BATCH)]
    alone_car, batch_car = car(profile=profile, mode=mode), car(profile=profile, mode=mode)
    set_batcher(alone_car, batcher, trunk_only=True)
    alone = [alone_car.segment(image, texts, trace=True) for image, texts in zip(images, queries, strict=True)]
    set_batcher(batch_car, batcher)
    together = batch_car.segment_batch(images, queries, trace=True)
    backwards = batch_car.segment_batch(images[::-1], queries[::-1], trace=True)[::-1]
    if profile == "paper" or mode == "referring":
        assert len({len(result.steps) for result in alone}) > 1, "the batch empties as it goes"
    for found, again, expected in zip(together, backwards, alone, strict=True):
        assert_equal(found, expected)
        assert_equal(again, expected)


@pytest.mark.parametrize("batcher", BATCHERS.values(), ids=BATCHERS)
def test_order_and_neighbors_do_not_change_a_bit(batcher: MicroBatcher) -> None:
    """At one pass size, an image's numbers are the same bits in any batch."""

    def segment(numbers: list[int]) -> list[Segmentation]:
        fresh = car()
        set_batcher(fresh, batcher)
        return fresh.segment_batch([images[i] for i in numbers], [queries[i] for i in numbers], trace=True)

    images = [photo(52, 76, seed) for seed in range(3)]
    queries = [WORDS[:4], WORDS[1:3], WORDS[2:7]]
    expected = segment([0, 1, 2])
    for order in ([2, 0, 1], [1], [0, 2]):
        for result, i in zip(segment(order), order, strict=True):
            np.testing.assert_array_equal(result.scores, expected[i].scores)
            for step, other in zip(result.steps, expected[i].steps, strict=True):
                np.testing.assert_array_equal(step.proposals, other.proposals)


def test_order_of_queries_moves_with_them() -> None:
    """Queries are a set to the method: listing them in another order permutes the result."""
    image, forward = photo(52, 76, 1), WORDS[:5]
    first, second = car().segment(image, forward, trace=True), car().segment(image, forward[::-1], trace=True)
    assert tuple(4 - i for i in reversed(second.kept)) == first.kept
    np.testing.assert_allclose(second.scores[::-1], first.scores, atol=1e-5)
    proposals, other = first.steps[0].proposals, second.steps[0].proposals
    assert proposals is not None
    assert other is not None
    np.testing.assert_allclose(other[::-1], proposals, rtol=0, atol=1e-4)
