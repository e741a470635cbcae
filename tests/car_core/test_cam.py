"""Grad-CAM against autograd of the softmax score through the last block, one query at a time."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from oracles.literal_car import (
    cam_of,
    gradient_weights,
    in_double,
    min_max,
    scores_of,
    text_features,
    trunk_of,
    unnormalized_cam,
)
from torch import Tensor

from car_core.proposal.cam import grad_cams, patch_mean_gradients, text_patch_scores, unnormalized_cams
from car_core.proposal.gradient import LastBlock, last_block

TEXTS = ["cat", "a red car", "dog", "blue sky", "old bicycle", "grass", "water", "street"]
N_QUERIES = 5

TOWERS: dict[str, dict[str, Any]] = {
    "ViT/16": {"patch": 16},
    "ViT/14": {"patch": 14, "image_size": 56, "width": 96, "embed_dim": 48},
    "GELU": {"quick_gelu": False},
    "layer scale": {"ls_init_value": 0.7},
    "layer scale, GELU": {"ls_init_value": 0.2, "quick_gelu": False, "patch": 14, "image_size": 56},
    "one block": {"layers": 1},
    "ten blocks": {"layers": 10},
}
SIZES = [(50, 70), (16, 16), (14, 14), (1, 90), (130, 40)]


def tower(name: str) -> Any:
    return tiny_clip(5, logit_scale=30.0, **TOWERS[name])


def state_of(model: Any, size: tuple[int, int], seed: int = 0) -> tuple[LastBlock, Tensor, Tensor]:
    """The last block's state, its input tokens [L, D] and the text features, all in the model's precision."""
    trunk = trunk_of(model, photo(*size, seed), positional_half=False)
    with torch.no_grad():
        texts = text_features(model, TEXTS)
    state = last_block(model.visual, model.visual.transformer.resblocks[-1], trunk.tokens.detach())
    return state, trunk.tokens.detach(), texts


def cams_of(state: LastBlock, texts: Tensor, scale: float, n_queries: int = N_QUERIES, **options: bool) -> Tensor:
    logits = scale * texts @ state.image_feature
    return grad_cams(texts, logits, n_queries, partial(text_patch_scores, state, logit_scale=scale), **options)


def as_they_are(activations: Tensor) -> Tensor:
    """For maps that are given in place of texts."""
    return activations


def logit_gradient(model: Any, tokens: Tensor, text: Tensor) -> Tensor:
    """Mean over patches of d logit / d A by autograd, from the log of a softmax against a fixed rival."""
    visual = model.visual
    block = visual.transformer.resblocks[-1]
    leaf = block.ln_1(tokens).detach().requires_grad_()
    attended, _ = block.attn(leaf[None], leaf[None], leaf[None], need_weights=False)
    middle = tokens + block.ls_1(attended[0])
    output = middle + block.ls_2(block.mlp(block.ln_2(middle)))
    vector = visual.ln_post(output)[1:].mean(dim=0) @ visual.proj
    logit = model.logit_scale.exp() * (vector / vector.norm()) @ text
    (gradient,) = torch.autograd.grad(logit, leaf)
    return gradient[1:].mean(dim=0)


def assert_close_to_largest(found: Tensor, expected: Tensor, relative: float) -> None:
    __tracebackhide__ = True
    scale = float(expected.abs().max())
    assert float((found.double() - expected.double()).abs().max()) <= relative * scale


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize(("double", "relative"), [(False, 1e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_patch_mean_gradients_equal_autograd(name: str, size: tuple[int, int], double: bool, relative: float) -> None:
    model = in_double(tower(name)) if double else tower(name)
    state, tokens, texts = state_of(model, size)
    found = patch_mean_gradients(state, texts, float(model.logit_scale.exp()))
    expected = torch.stack([logit_gradient(model, tokens, text) for text in texts])
    assert expected.abs().max() > 1e-4, "a gradient to speak of"
    assert_close_to_largest(found, expected, relative)


@pytest.mark.parametrize("size", SIZES[:2], ids=str)
@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize(("double", "relative"), [(False, 1e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_unnormalized_cam_equals_autograd(name: str, size: tuple[int, int], double: bool, relative: float) -> None:
    """relu(s_c (a_c - sum_j s_j a_j)) against the gradient of each softmax score, taken through the whole block."""
    model = in_double(tower(name)) if double else tower(name)
    state, tokens, texts = state_of(model, size)
    scale = float(model.logit_scale.exp())
    logits = scale * texts @ state.image_feature
    found = unnormalized_cams(texts, logits, N_QUERIES, partial(text_patch_scores, state, logit_scale=scale))
    for c in range(N_QUERIES):
        weights, feature_map = gradient_weights(model, tokens, texts, c)
        expected = torch.relu(feature_map @ weights)
        # The sum over channels cancels: the error is judged by what is added up.
        summed = (feature_map.abs() @ weights.abs()).max()
        assert float((found[c] - expected).abs().max()) <= relative * float(summed)


@pytest.mark.parametrize("size", SIZES[:1] + SIZES[3:], ids=str)
@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize(("double", "tolerance"), [(False, 3e-5), (True, 1e-10)], ids=["float32", "float64"])
def test_grad_cams_equal_autograd(name: str, size: tuple[int, int], double: bool, tolerance: float) -> None:
    """Normalized to [0, 1], against autograd in float64; stretching a faint map enlarges float32's rounding."""
    model, exact = in_double(tower(name)) if double else tower(name), in_double(tower(name))
    state, tokens, texts = state_of(model, size)
    scale = float(model.logit_scale.exp())
    found = cams_of(state, texts, scale)
    assert found.shape == (N_QUERIES, len(state.feature_map))
    assert found.amin() >= 0
    assert found.amax() <= 1
    assert (found.amax(dim=1) > 0.99).any()
    for c in range(N_QUERIES):
        cam = cam_of(exact, tokens.double(), texts[:N_QUERIES].double(), texts[N_QUERIES:].double(), c)
        np.testing.assert_allclose(found[c].numpy(), cam, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["ViT/16", "ViT/14", "layer scale"])
def test_softmax_is_not_flat(name: str) -> None:
    """The cases above tell a score from a logit: probabilities far from uniform and from certain."""
    model = tower(name)
    _, tokens, texts = state_of(model, (50, 70))
    normed = model.visual.transformer.resblocks[-1].ln_1(tokens)
    scores = scores_of(model, tokens, normed, texts)
    assert scores.max() > 2 / len(scores)
    assert (scores > 0.01).sum() >= 3


def test_scores_near_certainty_do_not_cancel() -> None:
    """s_c near 1 leaves a gradient of size 1 - s_c: still right to 1e-5."""
    model = copy.deepcopy(tower("ViT/16"))
    model.logit_scale.fill_(float(np.log(500.0)))
    exact = copy.deepcopy(model).double()
    state, tokens, texts = state_of(model, (50, 70))
    logits = 500.0 * texts @ state.image_feature
    best = int(logits.argmax())
    order = [best, *(i for i in range(len(texts)) if i != best)]
    found = cams_of(state, texts[order], 500.0, 1)[0]
    assert logits.softmax(0)[best] > 0.97
    expected = cam_of(exact, tokens.double(), texts[order[:1]].double(), texts[order[1:]].double(), 0)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-5)


def suppressed() -> tuple[Tensor, Tensor]:
    """Activations and logits of two queries and one background text; the background leaves query 0 no CAM.

    a_0 < a_2 everywhere and s_2 = s_0 >> s_1, so s_0 a_0 + .. is below the mean everywhere; without text 2, a_0 > a_1.
    """
    activations = torch.tensor([[1.0, 2.0, 0.5], [0.5, 1.0, 0.2], [3.0, 4.0, 2.0]])
    return activations, torch.tensor([0.3, 0.1, 0.6])


def literal_cam(activations: Tensor, logits: Tensor, c: int) -> Tensor:
    probabilities = logits.double().softmax(0)
    mean = sum(s * a for s, a in zip(probabilities, activations.double(), strict=True))
    return torch.relu(probabilities[c] * (activations[c].double() - mean))


def test_all_zero_cam_is_computed_again_without_background() -> None:
    activations, logits = suppressed()
    assert not literal_cam(activations, logits, 0).any(), "the case does what it says"
    expected = min_max(literal_cam(activations[:2], logits[:2], 0).numpy())
    assert expected.max() > 0.99
    found = grad_cams(activations, logits, 2, as_they_are)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_recomputing_touches_only_the_zero_cam() -> None:
    activations, logits = suppressed()
    activations = torch.cat([activations[:1], torch.tensor([[9.0, 1.0, 5.0]]), activations[2:]])
    found = grad_cams(activations, logits, 2, as_they_are)
    np.testing.assert_allclose(found[1], min_max(literal_cam(activations, logits, 1).numpy()), atol=1e-6)


def test_texts_that_are_much_alike_do_not_cancel() -> None:
    """As those of an untrained text tower: maps are as good as the texts' float32 differences are."""
    model = tower("ViT/16")
    exact = in_double(model)
    state, tokens, texts = state_of(model, (50, 70))
    texts = torch.nn.functional.normalize(texts[:1] + 1e-3 * texts, dim=-1)
    found = cams_of(state, texts, 30.0)
    for c in range(N_QUERIES):
        expected = cam_of(exact, tokens.double(), texts[:N_QUERIES].double(), texts[N_QUERIES:].double(), c)
        np.testing.assert_allclose(found[c], expected, rtol=0, atol=1e-4)


def test_recompute_rule_on_a_model() -> None:
    """Found among many photos: queries whose CAM the background leaves empty, against autograd without it."""
    model, recomputed = tower("ViT/16"), 0
    exact = in_double(model)
    for seed in range(6):
        state, tokens, texts = state_of(model, (40, 50), seed)
        scale = float(model.logit_scale.exp())
        found = cams_of(state, texts, scale)
        for c in range(N_QUERIES):
            if not unnormalized_cam(exact, tokens.double(), texts.double(), c).any():
                recomputed += 1
                alone = unnormalized_cam(exact, tokens.double(), texts[:N_QUERIES].double(), c)
                np.testing.assert_allclose(found[c], min_max(alone), rtol=0, atol=2e-5)
    assert recomputed >= 3


def test_cam_that_stays_zero_is_finite_zeros() -> None:
    """One query and no background: its softmax is constant."""
    cams = grad_cams(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0.4]), 1, as_they_are)
    assert torch.equal(cams, torch.zeros(1, 3))
    cams = grad_cams(torch.zeros(3, 4), torch.tensor([0.4, 0.1, 0.2]), 2, as_they_are)
    assert torch.equal(cams, torch.zeros(2, 4))


@pytest.mark.parametrize("size", [(50, 70), (16, 16)], ids=str)
def test_without_rivals_each_query_faces_the_background_alone(size: tuple[int, int]) -> None:
    model = tower("ViT/14")
    state, tokens, texts = state_of(model, size)
    scale = float(model.logit_scale.exp())
    found = cams_of(state, texts, scale, queries_compete=False)
    exact = in_double(model)
    for c in range(N_QUERIES):
        alone = cam_of(exact, tokens.double(), texts[c : c + 1].double(), texts[N_QUERIES:].double(), 0)
        np.testing.assert_allclose(found[c], alone, rtol=0, atol=1e-5)
    assert (found - cams_of(state, texts, scale)).abs().max() > 1e-3 or size == (16, 16)


def test_without_rivals_equals_one_query_at_a_time() -> None:
    activations, logits = suppressed()
    found = grad_cams(activations, logits, 2, as_they_are, queries_compete=False)
    for c in (0, 1):
        np.testing.assert_array_equal(found[c], grad_cams(activations[[c, 2]], logits[[c, 2]], 1, as_they_are)[0])


def test_single_patch() -> None:
    """A 1 x 1 grid: a constant map, which min-max normalization makes zero."""
    state, tokens, texts = state_of(tower("ViT/16"), (16, 16))
    assert len(tokens) == 2
    cams = cams_of(state, texts, 30.0)
    assert torch.equal(cams, torch.zeros(N_QUERIES, 1))


def test_adding_a_text_leaves_the_activations_of_others() -> None:
    """What makes later steps free: a_j does not depend on the texts beside it."""
    state, _, texts = state_of(tower("ViT/16"), (50, 70))
    every, some = text_patch_scores(state, texts, 30.0), text_patch_scores(state, texts[2:4], 30.0)
    assert_close_to_largest(some, every[2:4], 1e-6)
