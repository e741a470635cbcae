"""CorrCLIP against a restatement in float64 and loops; its regions, windows and trunk."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from oracles import literal_baselines as literal
from test_baselines import tiny_dino

from car_core.baselines.corrclip import (
    CorrCLIPConfig,
    CorrCLIPSegmenter,
    load_trunk_and_sam,
    merged,
    most_frequent,
    region_map,
    scope,
)
from car_core.baselines.dino import DinoTrunk
from car_core.errors import ConfigError

QUERIES = ["cat", "dog", "a red car"]


class Masks:
    """As many random rectangles as asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def masks(self, image: Any) -> Any:
        rng, (height, width) = np.random.default_rng(self._count), image.shape[:2]
        found = np.zeros((self._count, height, width), np.bool_)
        for mask in found:
            top, left = rng.integers(0, height), rng.integers(0, width)
            mask[top : top + 1 + rng.integers(0, height), left : left + 1 + rng.integers(0, width)] = True
        return found


def segmenter(masks: Any, **settings: Any) -> CorrCLIPSegmenter:
    config = CorrCLIPConfig(templates=("{}",), **settings)
    return CorrCLIPSegmenter(config, clip=tiny_clip(), dino=DinoTrunk(tiny_dino()), masks=masks)


@pytest.mark.parametrize(
    ("regions", "distance"),
    [("four", 0.2), ("four", 0.02), ("all covered", 0.2), ("two", 0.2), ("one", 0.2)],
)
def test_features_equal_the_literal_restatement(regions: str, distance: float) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    numbers = np.zeros((2, 64, 64), np.int64)
    if regions != "one":
        numbers[:, 10:50, 5:40] = 2
    if regions in ("four", "all covered"):
        numbers[0, 30:, 30:], numbers[1, :20, 50:], numbers[:, 50:, :20] = 3, 4, 6
    if regions == "all covered":
        numbers += 1
    made = segmenter(None, merge_distance=distance, spatial_share=0.7)
    with torch.inference_mode():
        found, grid = made.features(pixels, torch.from_numpy(numbers))
    assert grid == (8, 8)
    for image, own, features in zip(pixels, numbers, found, strict=True):
        expected = literal.corr_features(tiny_clip(), tiny_dino(), image, own, made.config)
        torch.testing.assert_close(features.double(), expected, rtol=0, atol=5e-5)


def test_regions_are_painted_from_small_to_large() -> None:
    masks = np.zeros((4, 5, 6), np.bool_)
    masks[0, :4, :4], masks[1, 2:, 2:5], masks[2, 0, 0], masks[3, 4, 5] = True, True, True, True
    expected = np.zeros((5, 6), int)
    for number, mask in enumerate([masks[2], masks[3], masks[1], masks[0]], 1):
        expected[mask] = number
    assert region_map(masks).tolist() == expected.tolist()
    assert region_map(masks[:0]).tolist() == np.zeros((5, 6), int).tolist()


def test_a_region_takes_its_most_frequent_label() -> None:
    rng = np.random.default_rng(0)
    labels, regions = rng.integers(0, 3, (9, 7)), rng.integers(2, 6, (9, 7))
    expected = labels.copy()
    for region in (3, 4, 5):  # the smallest stays as it is
        counts = Counter(labels[regions == region].tolist())
        expected[regions == region] = min(counts, key=lambda label: (-counts[label], label))
    found = most_frequent(torch.from_numpy(labels), torch.from_numpy(regions), 3)
    assert found.tolist() == expected.tolist()
    ties = most_frequent(torch.tensor([[2, 1, 0, 2, 1, 0]]), torch.tensor([[0, 5, 5, 5, 5, 0]]), 3)
    assert ties.tolist() == [[2, 1, 1, 1, 1, 0]]


def test_merging_is_by_steps_and_needs_three_regions() -> None:
    angles = torch.tensor([0.0, 0.0, 0.5, 1.0, 2.5])  # cosine .88 a step, .54 at both ends
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    regions = torch.tensor([[1, 4, 5, 7, 9]])
    assert merged(regions, features, 0.2).unique(return_inverse=True)[1].tolist() == [0, 1, 1, 1, 2]
    assert merged(regions, features, 0.1).unique(return_inverse=True)[1].tolist() == [0, 1, 2, 3, 4]
    assert merged(regions[:, :2], features[:2], 0.2).tolist() == [1, 4]


def test_a_flat_window_has_numbers() -> None:
    weights = scope(torch.ones(1, 4, 4), torch.zeros(1, 4, dtype=torch.int64), 4.0)
    assert weights[0].tolist() == torch.eye(4).tolist()
    assert np.isfinite(segmenter(Masks(2)).segment(np.full((30, 30, 3), 128, np.uint8), QUERIES).scores).all()


@pytest.mark.parametrize("count", [0, 1, 5, 300])
@pytest.mark.parametrize("size", [(40, 61), (3, 200), (1, 1)])
def test_whole_on_odd_images(count: int, size: tuple[int, int]) -> None:
    image = photo(*size)
    found = segmenter(Masks(count)).segment(image, QUERIES)
    assert found.label_map.shape == size
    assert list(found.seconds)[:1] == ["sam"]
    regions = region_map(Masks(count).masks(image)).numpy()
    for region in np.unique(regions)[1:]:
        assert len(np.unique(found.label_map[regions == region])) == 1


def test_windows_are_padded_on_all_sides_and_cut_back() -> None:
    made = segmenter(None)
    pixels, regions = torch.randn(1, 3, 96, 60), torch.arange(96 * 60).view(1, 96, 60)
    whole, numbers, (rows, columns) = made.padded(pixels, regions)
    assert (whole.shape, rows, columns) == ((1, 3, 112, 112), slice(8, 104), slice(26, 86))
    assert torch.equal(whole[:, :, rows, columns], pixels)
    assert torch.equal(numbers[:, rows, columns], regions)
    assert (whole.count_nonzero(), (numbers == 10_000).sum()) == (pixels.count_nonzero(), 112 * 112 - 96 * 60)


def test_chunks_of_windows_change_nothing() -> None:
    image, made = photo(50, 130), segmenter(Masks(7))
    together = made.segment(image, QUERIES)
    made.chunk = 1
    alone = made.segment(image, QUERIES)
    np.testing.assert_array_equal(together.label_map, alone.label_map)
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-5)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75, as PyTorch has it."""
    x = abs(distance)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_a_trunks_positions_are_resized_as_in_dinos_own_code() -> None:
    """Bicubic, in steps of n_old / (n + 0.1), by loops; the trunk itself stays as it was."""
    model, (rows, columns) = tiny_dino(), (12, 5)
    axes = []
    for count in (rows, columns):
        places = [(i + 0.5) * 8 / (count + 0.1) - 0.5 for i in range(count)]
        axis = np.zeros((count, 8))
        for i, place in enumerate(places):
            for j in range(math.floor(place) - 1, math.floor(place) + 3):
                axis[i, min(max(j, 0), 7)] += cubic(place - j)
        axes.append(axis)
    own = model.pos_embed[0].double().numpy()
    grid = np.einsum("iy,jx,yxd->ijd", *axes, own[1:].reshape(8, 8, -1)).reshape(rows * columns, -1)
    pixels = torch.randn(1, 3, rows * 8, columns * 8, generator=torch.Generator().manual_seed(2))
    before, trunk = model.pos_embed, DinoTrunk(model)
    with torch.inference_mode():
        tokens = model.patch_embed(pixels).flatten(1, 2) + torch.from_numpy(grid[None]).float()
        tokens = torch.cat([(model.cls_token + before[:, :1]), tokens], dim=1)
        last = model.blocks[-1]
        expected = last.attn.qkv(last.norm1(model.blocks[:-1](tokens)))[:, 1:]
        found = torch.cat(trunk.qkv(pixels), dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert model.pos_embed is before
    assert tuple(model.patch_embed.grid_size) == (8, 8)


def test_the_models_of_a_configuration_and_what_sam_is_asked_for(tmp_path: Any, monkeypatch: Any) -> None:
    pytest.importorskip("transformers", reason="needs the extra sam")
    monkeypatch.setenv("CAR_CACHE", str(tmp_path))
    trunk: Any = {"dino_model": "vit_tiny_patch16_224", "dino_weights": "random:1"}
    sam = {"model": "random:0", "points_per_side": 2, "pred_iou_threshold": 0, "stability_threshold": 0}
    config = CorrCLIPConfig(templates=("{}",), sam=sam, **trunk)  # type: ignore[arg-type]
    models, records = load_trunk_and_sam(config)
    assert [record.role for record in records] == ["dino", "sam"]
    made = CorrCLIPSegmenter(config, clip=tiny_clip(), **models)
    assert made.segment(photo(20, 30), QUERIES).label_map.shape == (20, 30)
    assert len(list((tmp_path / "sam").rglob("*.npz"))) == 1
    asked = CorrCLIPConfig(sam={"model": "random:0"}).sam  # type: ignore[arg-type]
    assert asked is not None
    assert (asked.points_per_side, asked.pred_iou_threshold, asked.stability_threshold, asked.SINGLE) == (
        8,
        0.4,
        0.4,
        True,
    )
    with pytest.raises(ConfigError, match="iom_threshold"):
        CorrCLIPConfig(sam={"model": "random:0", "iom_threshold": 0.5})  # type: ignore[arg-type]
