"""Half precision in the encoders: close to float32, independent of the batch, and float32 where it must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers.tiny_clip import photo, tiny_clip
from test_batch import WORDS, set_batcher
from torch import nn

from car_core import CaR, CaRConfig, ModelError
from car_core.classifier.tower import ClassifierTower
from car_core.engine.batching import MicroBatcher
from car_core.engine.precision import dtype_of, in_precision
from car_core.proposal.trunk import ProposalTower

HALVES = [torch.bfloat16, torch.float16]


def car(precision: Any) -> CaR:
    f = tiny_clip(5, patch=16, layers=10, logit_scale=10.0)
    g = tiny_clip(3, patch=14, image_size=56, layers=3, embed_dim=48)
    config = CaRConfig(theta=0.2, lambda_=0.3, background=("sky", "water"), templates=("a photo of a {}.",))
    return CaR(config, proposal_clip=f, classifier_clip=g, precision=precision)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_weights_that_multiply_are_lowered_in_a_copy(dtype: torch.dtype) -> None:
    visual = tiny_clip(4).visual
    lowered = in_precision(visual, dtype)
    block, norm = lowered.transformer.resblocks[0], lowered.transformer.resblocks[0].ln_1
    assert {block.attn.in_proj_weight.dtype, block.attn.out_proj.weight.dtype, block.mlp.c_fc.weight.dtype} == {dtype}
    assert {norm.weight.dtype, lowered.ln_post.weight.dtype, lowered.proj.dtype} == {torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in visual.parameters())
    assert in_precision(visual, torch.float32) is visual


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_norms_and_the_stream_between_blocks_are_float32(dtype: torch.dtype) -> None:
    tower, seen = ClassifierTower(tiny_clip(4), dtype=dtype), []
    for module in tower.visual.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda _, given, found: seen.extend([given[0].dtype, found.dtype]))
    found = tower.encode(tower.preprocess(photo(60, 60))[None])
    assert len(seen) == 2 * (2 * len(tower.blocks("last_block")) + 2)
    assert {*seen, found.dtype} == {torch.float32}


@pytest.mark.parametrize("name", ["plain", "layer scale"])
def test_features_are_as_close_to_float32_as_those_of_autocast(name: str) -> None:
    model = tiny_clip(4, **({"ls_init_value": 0.7} if name == "layer scale" else {}))
    exact = ClassifierTower(model)
    images = torch.stack([exact.preprocess(photo(60, 70, seed)) for seed in range(6)])
    expected = exact.encode(images)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        automatic = F.normalize(model.encode_image(exact.pixels(images)).float(), dim=-1)
    found = ClassifierTower(model, dtype=torch.bfloat16).encode(images)
    difference = (found - expected).abs().max()
    assert 0 < difference <= 1.5 * (automatic - expected).abs().max()


def test_trunk_in_half_precision() -> None:
    model = tiny_clip(5, layers=10)
    exact, half = (ProposalTower(model, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    pixels = exact.preprocess(photo(50, 70), 4096)[None]
    [expected], [found] = (tower.trunk(pixels, CaRConfig(profile="paper")) for tower in (exact, half))
    assert found.tokens.dtype == found.attention.dtype == torch.float32
    # Softmaxed in float32: each row of a head's attention is made of shares of 1.
    assert 0 < (found.attention - expected.attention).abs().max() < 0.05 * expected.attention.max()
    assert 0 < (found.tokens - expected.tokens).abs().max() < 0.05 * expected.tokens.abs().max()


@pytest.mark.parametrize(
    "batcher",
    [MicroBatcher(16, shared=False), MicroBatcher(3, shared=False), MicroBatcher(4, shared=True)],
    ids=["16", "3", "shared"],
)
def test_order_and_neighbors_do_not_change_a_bit(batcher: MicroBatcher) -> None:
    images = [photo(52, 76, seed) for seed in range(3)]
    queries = [WORDS[:4], WORDS[1:3], WORDS[2:7]]

    def segment(numbers: list[int]) -> list[Any]:
        fresh = car("bfloat16")
        set_batcher(fresh, batcher)
        return fresh.segment_batch([images[i] for i in numbers], [queries[i] for i in numbers], trace=True)

    expected = segment([0, 1, 2])
    for order in ([2, 0, 1], [1], [0, 2]):
        for result, i in zip(segment(order), order, strict=True):
            np.testing.assert_array_equal(result.scores, expected[i].scores)
            np.testing.assert_array_equal(result.masks, expected[i].masks)
            for step, other in zip(result.steps, expected[i].steps, strict=True):
                np.testing.assert_array_equal(step.proposals, other.proposals)


def test_a_precision_that_is_not_offered_is_named() -> None:
    with pytest.raises(ModelError, match="expected one of float32, bfloat16 on cpu, found 'float16'"):
        car("float16")
    with pytest.raises(ModelError, match="found 'int8'"):
        car("int8")
    assert dtype_of("float16", torch.device("cuda")) == torch.float16
