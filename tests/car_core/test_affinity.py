"""CLIP-ES affinity, its attention and its boxes against literal loops over their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from oracles.literal_car import affinity_of, box_of, in_double, spread_cam, trunk_of
from scipy import ndimage

from car_core import CaRConfig
from car_core.models.text_encoder import TextEncoder
from car_core.models.vit_blocks import block_with_attention
from car_core.proposal.affinity import box_mask, propagate, sinkhorn_normalize
from car_core.proposal.generator import ProposalGenerator
from car_core.proposal.trunk import ProposalTower

FloatArray = npt.NDArray[np.float32]


def random_cam(height: int, width: int, seed: int, smooth: float = 0.8) -> FloatArray:
    """A CAM [h, w] in [0, 1] with several peaks."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), smooth)
    field = np.maximum(field, 0)
    return (field / max(field.max(), 1e-12)).astype(np.float32)


def random_attention(patches: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(patches, patches, generator=generator).mul(1.5).softmax(dim=1)


@pytest.mark.parametrize("patches", [1, 2, 12, 35])
def test_affinity_equals_the_literal_loop(patches: int) -> None:
    attention = random_attention(patches, patches)
    matrix = sinkhorn_normalize(attention)
    np.testing.assert_allclose((matrix @ matrix).numpy(), affinity_of(attention.double().numpy()), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize(("height", "width"), [(5, 7), (1, 6), (6, 1), (2, 2), (9, 4), (1, 1)])
@pytest.mark.parametrize("lambda_", [0.0, 0.4, 0.7, 1.0])
def test_spread_equals_boxed_columns_of_the_affinity(height: int, width: int, lambda_: float) -> None:
    """A is formed here, and its columns outside the box are left out one by one.

    The product itself agrees to 1e-6; stretching it to [0, 1] enlarges the difference.
    """
    attention = random_attention(height * width, 3)
    affinity = affinity_of(attention.double().numpy())
    cams = np.stack([random_cam(height, width, seed) for seed in range(5)])
    found = propagate(torch.from_numpy(cams).flatten(1), sinkhorn_normalize(attention), (height, width), lambda_)
    for cam, proposal in zip(cams, found, strict=True):
        expected = spread_cam(cam.ravel().astype(np.float64), affinity, (height, width), lambda_)
        np.testing.assert_allclose(proposal.numpy(), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"layers": 10}, (49, 70)),
        ({"layers": 8}, (32, 40)),
        ({"layers": 3, "patch": 14, "image_size": 56}, (60, 41)),
        ({"layers": 1}, (48, 48)),
        ({"layers": 9, "ls_init_value": 0.5, "quick_gelu": False, "width": 96}, (33, 64)),
    ],
    ids=["10 blocks", "8 blocks", "fewer than 8 blocks", "one block", "layer scale"],
)
def test_attention_is_the_mean_of_the_last_eight_blocks(config: dict[str, Any], size: tuple[int, int]) -> None:
    """W from explicit heads, one at a time, of every block; D as CaR holds it."""
    model, image = tiny_clip(3, **config), photo(*size)
    f = ProposalGenerator(model, TextEncoder(model, role="f"), CaRConfig(profile="paper"), torch.device("cpu"))
    literal = trunk_of(in_double(model), image, positional_half=False)
    [encoded] = f.encode([image], [{}])
    assert encoded.grid == literal.grid
    assert encoded.affinity_root is not None
    normed = model.visual.transformer.resblocks[-1].ln_1(literal.tokens.float())
    np.testing.assert_allclose(normed[1:], encoded.last.feature_map, atol=1e-4)
    affinity = (encoded.affinity_root @ encoded.affinity_root).numpy()
    np.testing.assert_allclose(affinity, affinity_of(literal.attention.numpy()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("lambda_", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_box_equals_bounding_rectangles_of_connected_parts(seed: int, lambda_: float) -> None:
    height, width = np.random.default_rng(seed).integers(1, 16, 2)
    cam = random_cam(int(height), int(width), seed, smooth=seed % 4 / 2)
    np.testing.assert_array_equal(box_mask(cam, lambda_), box_of(cam, lambda_))


def test_box_joins_diagonal_neighbors() -> None:
    """8-connected: one rectangle around the diagonal, not three single patches."""
    cam = np.zeros((6, 6), np.float32)
    cam[[1, 2, 3], [1, 2, 3]] = 1
    expected = np.zeros((6, 6), bool)
    expected[1:4, 1:4] = True
    np.testing.assert_array_equal(box_mask(cam, 0.4), expected)


def test_box_never_holds_the_last_row_or_column() -> None:
    expected = np.ones((4, 5), bool)
    expected[-1] = expected[:, -1] = False
    np.testing.assert_array_equal(box_mask(np.ones((4, 5), np.float32), 0.4), expected)


def test_box_of_a_ring_holds_its_hole() -> None:
    cam = np.zeros((9, 9), np.float32)
    cam[1:7, 1:7] = 1
    cam[3:5, 3:5] = 0
    expected = np.zeros((9, 9), bool)
    expected[1:7, 1:7] = True
    np.testing.assert_array_equal(box_mask(cam, 0.4), expected)


@pytest.mark.parametrize("place", [(3, 2), (1, 4), (3, 4)], ids=["last row", "last column", "corner"])
def test_peak_at_the_far_border_has_no_box(place: tuple[int, int]) -> None:
    """The off-by-one of the box rule leaves nothing; the proposal stays finite zeros."""
    cam = np.zeros((4, 5), np.float32)
    cam[place] = 1
    assert not box_mask(cam, 0.4).any()
    proposal = propagate(torch.from_numpy(cam).reshape(1, -1), sinkhorn_normalize(random_attention(20, 0)), (4, 5), 0.4)
    assert torch.equal(proposal, torch.zeros(1, 20))


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 1.0])
def test_all_zero_cam_has_no_box(lambda_: float) -> None:
    assert not box_mask(np.zeros((4, 5), np.float32), lambda_).any()
    proposal = propagate(torch.zeros(2, 20), sinkhorn_normalize(random_attention(20, 0)), (4, 5), lambda_)
    assert torch.equal(proposal, torch.zeros(2, 20))


def test_lambda_is_lowered_until_a_patch_passes() -> None:
    """With lambda 1 nothing lies above the maximum; at 0.9 the maximum alone does."""
    cam = np.full((5, 5), 0.85, np.float32)
    cam[2, 2] = 1
    cam[1, 1] = 0.95
    expected = np.zeros((5, 5), bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(box_mask(cam, 1.0), expected)


def test_threshold_is_exclusive_on_truncated_levels() -> None:
    """int(0.4 * 255) = 102: a patch of level 102 is out, one of 103 is in."""
    cam = np.zeros((4, 6), np.float32)
    cam[1, 1], cam[1, 3], cam[1, 4] = 1, 102.9 / 255, 103.1 / 255
    expected = np.zeros((4, 6), bool)
    expected[1, 1] = expected[1, 4] = True
    np.testing.assert_array_equal(box_mask(cam, 0.4), expected)


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 1.0])
def test_very_faint_cam_ends(lambda_: float) -> None:
    """A maximum of one level in 255 still finds its box; less than one level counts as zero."""
    cam = np.zeros((4, 4), np.float32)
    cam[1, 2] = 1.5 / 255
    assert box_mask(cam, lambda_).sum() == 1
    assert not box_mask(cam / 2, lambda_).any()


def test_attention_in_groups_of_heads_is_the_same() -> None:
    """One head at a time or all, one image or several: the same but for rounding."""
    visual = tiny_clip(5, layers=10).visual
    block, generator = visual.transformer.resblocks[0], torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 21, len(visual.class_embedding), generator=generator)
    with torch.inference_mode():
        expected = [
            torch.cat(parts)
            for parts in zip(*(block_with_attention(block, each[None]) for each in tokens), strict=True)
        ]
        for found in (block_with_attention(block, tokens), block_with_attention(block, tokens, most_bytes=1)):
            for own, other in zip(found, expected, strict=True):
                torch.testing.assert_close(own, other, rtol=0, atol=1e-5)


def test_the_trunk_of_several_images_is_that_of_each() -> None:
    tower, paper = ProposalTower(tiny_clip(5, layers=10)), CaRConfig(profile="paper")
    pixels = torch.stack([tower.preprocess(photo(50, 70, seed), 4096) for seed in range(3)])
    for own, each in zip(tower.trunk(pixels, paper), pixels, strict=True):
        [other] = tower.trunk(each[None], paper)
        assert (own.grid, own.counted_blocks) == (other.grid, other.counted_blocks) == ((4, 5), 7)
        torch.testing.assert_close(own.attention, other.attention, rtol=0, atol=1e-5)
        torch.testing.assert_close(own.tokens, other.tokens, rtol=0, atol=1e-5)
