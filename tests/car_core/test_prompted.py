"""Prompted images drawn and resized together are those drawn and resized one by one, to the byte."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip

from car_core import CaR, CaRConfig
from car_core.classifier.prompt_rendering import render_on_cpu, render_on_gpu
from car_core.classifier.tower import ClassifierTower
from car_core.classifier.visual_prompts import PROMPTS, PromptCanvas
from car_core.images import as_channels, binarize_all, upsample_all

SUBSETS = [names for n in range(len(PROMPTS) + 1) for names in itertools.combinations(PROMPTS, n)]


def masks(height: int, width: int) -> list[np.ndarray]:
    """Of nothing, one pixel, two, the corner, all, a ring, and at random; eight pixels a byte."""
    found = [np.zeros((height, width), np.bool_) for _ in range(6)]
    found[1][height // 2, width // 2] = True
    found[2][0, 0] = found[2][-1, -1] = True
    found[3][: height // 3 + 1, : width // 4 + 1] = True
    found[4][:] = True
    found[5][2:-2, 2:-2] = True
    found[5][height // 3 : -(height // 3) or None, width // 3 : -(width // 3) or None] = False
    found.append(np.random.default_rng(0).random((height, width)) > 0.6)
    return [np.packbits(mask) for mask in found]


@pytest.mark.parametrize("prompts", SUBSETS, ids="+".join)
@pytest.mark.parametrize("gray_weights", ["rgb", "bgr"])
def test_together_is_one_by_one(prompts: tuple[str, ...], gray_weights: str) -> None:
    tower, canvas = (
        ClassifierTower(tiny_clip(4)),
        PromptCanvas.from_image(photo(70, 91), prompts, gray_weights),
    )
    expected, found = (way(canvas, masks(70, 91), tower) for way in (render_on_cpu, render_on_gpu))
    assert found.dtype == torch.uint8
    assert torch.equal(found, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 3), (64, 64), (130, 40)], ids=str)
def test_together_is_one_by_one_at_any_size(size: tuple[int, int]) -> None:
    """And in pieces, where all at once would take too much memory."""
    tower, canvas = (
        ClassifierTower(tiny_clip(4)),
        PromptCanvas.from_image(photo(*size), ("blur", "circle"), "rgb"),
    )
    expected = render_on_cpu(canvas, masks(*size), tower)
    assert torch.equal(render_on_gpu(canvas, masks(*size), tower), expected)
    two_at_once = 24 * max(size[0], 64) * max(size[1], 64) * 2
    assert torch.equal(render_on_gpu(canvas, masks(*size), tower, most_bytes=two_at_once), expected)


def test_a_car_that_draws_together_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the same bits."""
    queries, image = ["cat", "a red car", "dog", "blue sky"], photo(52, 76)
    f, g = tiny_clip(4), tiny_clip(6, patch=14, image_size=56, layers=3)

    def segment() -> tuple[np.ndarray, ...]:
        config = CaRConfig(theta=0.2, background=("sky",), templates=("a {}",), crf=None)
        found = CaR(config, proposal_clip=f, classifier_clip=g).segment(image, queries)
        return found.label_map, *(step.scores for step in found.steps)

    expected = segment()
    for module in ("car_core.car", "car_core.engine.pillow_resize"):
        monkeypatch.setattr(f"{module}.is_gpu", lambda device: True)
    monkeypatch.setattr("car_core.car.render_on_cpu", None)  # so that it is not the CPU's way again
    for own, other in zip(segment(), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_binarized_is_what_an_upsampled_proposal_is_above() -> None:
    proposal = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    for threshold in (0.0, 0.4, float(np.float32(0.4)), 1.0):
        [expected] = upsample_all(proposal[None], (52, 76)) > threshold
        [found] = binarize_all(proposal[None], (52, 76), threshold)
        np.testing.assert_array_equal(found, expected)


def test_channels_come_first() -> None:
    image = photo(4, 6)
    np.testing.assert_array_equal(as_channels(image), image.transpose(2, 0, 1))
