"""What the benchmark compares CaR with: the released order of work finds the same, operations are counted right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip

from car_core import CaR, CaRConfig
from car_core.classifier.tower import ClassifierTower
from evaluation.bench.machine import matrix_product, operations
from evaluation.bench.released_order import ReleasedOrder

QUERIES = ["cat", "a red car", "dog", "blue sky"]


@pytest.mark.parametrize(
    "fields",
    [{}, {"profile": "paper"}, {"cam": "gradcam"}, {"mode": "referring", "templates": ()}, {"theta": 1.0}],
    ids=["released", "paper", "gradcam", "referring", "one survivor"],
)
def test_released_order_of_work_gives_the_same(fields: dict[str, Any]) -> None:
    """A forward and backward pass a query, an encoding a template: the same survivors, scores and masks."""
    texts = {"background": ("sky", "sea"), "templates": ("a {}", "a photo of {}"), "theta": 0.2, "crf": None}
    config = CaRConfig(**{**texts, **fields})
    models = {"proposal_clip": tiny_clip(4), "classifier_clip": tiny_clip(6, patch=14, image_size=56, layers=3)}
    found = CaR(config, **models).segment(photo(50, 60), QUERIES, trace=True)
    expected = ReleasedOrder(config, **models).segment(photo(50, 60), QUERIES)
    assert expected.kept == found.kept
    assert expected.steps == len(found.steps)
    np.testing.assert_allclose(expected.scores, found.scores[list(found.kept)], rtol=0, atol=1e-5)
    last = found.steps[-1]
    assert last.proposals is not None
    kept = last.proposals[[last.queries.index(i) for i in found.kept]]
    np.testing.assert_allclose(expected.proposals, kept, rtol=0, atol=1e-4)


def test_counted_operations() -> None:
    """A product has 2 n^3; a tower 2 a weight and token, and its attention on top."""
    product, expected = matrix_product(torch.device("cpu"))
    assert operations(product) == expected
    width, layers, tokens, patch = 64, 3, 17, 14
    tower = ClassifierTower(tiny_clip(6, patch=patch, image_size=56, layers=layers, width=width))
    images = torch.stack([tower.preprocess(photo(50, 60, seed)) for seed in range(2)])
    whole = 24 * width**2 * tokens + 4 * tokens**2 * width
    # The last block run gives the class token alone: its keys and values are of all tokens, the rest of one.
    last = 4 * width**2 * tokens + 20 * width**2 + 4 * tokens * width
    embedding = 2 * (tokens - 1) * 3 * patch**2 * width + 2 * width * 32
    assert operations(lambda: tower.encode(images, feature="before_last_block")) == 2 * (
        (layers - 2) * whole + last + embedding
    )
