"""The page and the engine: `method.segment` on plain functions gives the bits that `CaR.segment` gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo
from test_batch import WORDS, car, models

from car_core import CaR, Segmentation
from car_core.classifier.similarity import similarity_matrix
from car_core.engine.batching import MicroBatcher
from car_core.method import Models, segment
from car_core.models.text_encoder import TextEncoder
from car_core.proposal.generator import ProposalGenerator
from support.arrays import RGBArray


def segment_plainly(
    made: CaR, models: dict[str, Any], image: RGBArray, queries: list[str], trace: bool
) -> Segmentation:
    """The page with f and g called as they are: one image at a time, nothing kept."""
    config, tower = made.config, made.classifier_tower
    encode = partial(tower.encode, feature=config.classifier_feature)
    texts_of_f, texts_of_g = (TextEncoder(models[f"{role}_clip"], role=role) for role in ("proposal", "classifier"))
    generator = ProposalGenerator(models["proposal_clip"], texts_of_f, config, made.device)
    [encoded] = generator.encode([image], [{}])

    def match(features: torch.Tensor, rows: list[list[str]], ensemble: str) -> torch.Tensor:
        return similarity_matrix(
            features, torch.stack(texts_of_g(zip(*rows, strict=True)), dim=1), tower.logit_scale, ensemble
        )

    return segment(
        image,
        queries,
        Models(lambda texts, background: generator(encoded, texts, background, {}), match),
        lambda prompted: torch.cat([encode(tower.preprocess(each)[None]) for each in prompted]),
        config,
        trace=trace,
    )


def assert_same_bits(found: Segmentation, expected: Segmentation) -> None:
    __tracebackhide__ = True
    assert (found.queries, found.kept, len(found.steps)) == (expected.queries, expected.kept, len(expected.steps))
    pairs = [
        (getattr(found, name), getattr(expected, name)) for name in ("masks", "scores", "label_map", "merged_mask")
    ]
    for step, other in zip(found.steps, expected.steps, strict=True):
        assert (step.queries, step.kept) == (other.queries, other.kept)
        pairs += [(getattr(step, name), getattr(other, name)) for name in ("scores", "proposals", "prompted")]
    for own, other in pairs:
        assert (own is None) == (other is None)
        if own is not None:
            assert own.dtype == other.dtype
            np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize(
    "fields",
    [{}, {"recurrence": "once"}, {"crf": None}, {"cam": "gradcam"}, {"eta": 1.0}, {"theta": 1.0}],
    ids=["full", "once", "no CRF", "gradcam", "empty masks", "none or one survives"],
)
@pytest.mark.parametrize("mode", ["semantic", "referring"])
@pytest.mark.parametrize("profile", ["released", "paper"])
def test_the_page_is_what_the_engine_runs(profile: Any, mode: Any, fields: dict[str, Any]) -> None:
    """With one image per forward pass: another number of images changes the last bits of what a product adds up."""
    trace = profile == "paper"
    made = car(profile=profile, mode=mode, **fields)
    made.classifier_batcher = MicroBatcher(1, shared=False)
    images, queries = [photo(52, 76), photo(33, 40, 1)], [WORDS[:5], WORDS[2:4]]
    together = made.segment_batch(images, queries, trace=trace)
    for image, texts, batched in zip(images, queries, together, strict=True):
        plain = segment_plainly(made, models(), image, texts, trace)
        assert_same_bits(made.segment(image, texts, trace=trace), plain)
        assert_same_bits(batched, plain)
