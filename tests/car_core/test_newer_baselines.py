"""Parts of SC-CLIP, ResCLIP and LPOSS against loops, scikit-learn and SciPy; whole methods on tiny towers."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from helpers.tiny_clip import tiny_clip
from oracles import literal_baselines as literal
from sklearn.neighbors import LocalOutlierFactor

from car_core.baselines import BASELINES
from car_core.baselines.dino import DinoTrunk, TrunkConfig, load_trunk
from car_core.baselines.lposs import LPOSSConfig, LPOSSSegmenter, patch_graph, pixel_graph, spread, to_lab
from car_core.baselines.resclip import same_class
from car_core.baselines.sc_clip import fill, find_outliers
from car_core.errors import ModelError

QUERIES = ["cat", "dog", "a red car"]


def photo(height: int, width: int) -> Any:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_outliers_are_those_of_the_local_outlier_factor() -> None:
    """Where each patch's own reach counts, as in the authors' code, the factor is the mean ratio of two reaches."""
    points = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[0, 7] *= 9
    found = find_outliers(points, 6, 0.05)
    for own, mask in zip(points.numpy(), found, strict=True):
        squared = ((own[:, None] - own) ** 2).sum(axis=-1)
        order = squared.argsort(axis=1)[:, 1:7]
        reach = squared[np.arange(40), order[:, -1]]
        scores = [reach[i] * np.mean([1 / reach[j] for j in order[i]]) for i in range(40)]
        assert mask.tolist() == [score > np.quantile(scores, 0.95) for score in scores]
        assert int(LocalOutlierFactor(6).fit(own).negative_outlier_factor_.argmin()) in mask.nonzero()[:, 0].tolist()


def test_outliers_are_filled_from_sound_neighbors_only() -> None:
    patches = torch.randn(1, 12, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 12, dtype=torch.bool)
    mask[0, [0, 1, 4, 5, 11]] = True  # 0 has no sound neighbor
    found = fill(patches, mask, (3, 4))
    for row, column in itertools.product(range(3), range(4)):
        i = row * 4 + column
        near = [
            y * 4 + x
            for y, x in itertools.product(
                range(max(0, row - 1), min(3, row + 2)), range(max(0, column - 1), min(4, column + 2))
            )
            if (y, x) != (row, column) and not mask[0, y * 4 + x]
        ]
        expected = patches[0, near].mean(dim=0) if mask[0, i] and near else patches[0, i]
        torch.testing.assert_close(found[0, i], expected)


# The last has points whose side depends on how halves are computed, as have the 21 x 31 patches of most photos of VOC.
@pytest.mark.parametrize(("grid", "rare"), [((4, 5), 0.5), ((1, 3), 0.5), ((1, 1), 0.5), ((2, 29), 0.06)])
def test_the_first_pass_of_resclip_by_loops(grid: tuple[int, int], rare: float) -> None:
    labels = (torch.rand(grid, generator=torch.Generator().manual_seed(0)) < rare).long()
    np.testing.assert_allclose(same_class(labels, 1.0), literal.same_class(labels.numpy(), 1.0), rtol=1e-5)


def tower_input(side: int = 64) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_features_of_sc_clip_equal_the_literal_restatement() -> None:
    config = BASELINES["sc-clip"].config(templates=("{}",), neighbors=5, outliers=0.2)  # type: ignore[call-arg]
    made = BASELINES["sc-clip"].segmenter(config, clip=tiny_clip())
    with torch.inference_mode():
        found, _ = made.patch_features(tower_input(), tower_input(), None)
        # Of four blocks, 9, 4 and 4 to 10 of twelve are the third, the first, and the first to the third.
        expected = literal.sc_features(tiny_clip(), tower_input()[0], config, similar=3, low=1, levels=range(1, 4))
    torch.testing.assert_close(found[0].double(), expected, rtol=0, atol=5e-5)


def test_features_of_resclip_equal_the_literal_restatement() -> None:
    clip, pixels = tiny_clip(image_size=32, patch=8), tower_input(32)
    config = BASELINES["resclip"].config(templates=("{}",), first_threshold=0.3, cross_share=0.3)  # type: ignore[call-arg]
    made = BASELINES["resclip"].segmenter(config, clip=clip)
    with torch.inference_mode():
        plain = BASELINES["naclip"].segmenter(BASELINES["naclip"].config(), clip=clip)
        first, _ = plain.patch_features(pixels, pixels, None)
        words = torch.nn.functional.normalize(first[0, ::4] - first[0].mean(dim=0), dim=1)
        found, _ = made.patch_features(pixels, pixels, words)
        # Of four blocks, 6 to 9 of twelve are the second and the third.
        expected = literal.res_features(clip, pixels[0], words, config, range(2, 4))
    torch.testing.assert_close(found[0].double(), expected, rtol=0, atol=5e-5)


def test_scores_are_spread_as_by_conjugate_gradients() -> None:
    values = torch.nn.functional.normalize(torch.randn(30, 4, generator=torch.Generator().manual_seed(3)), dim=1)
    config = LPOSSConfig(nearest=8)
    graph = patch_graph(values, torch.rand(30, 2, generator=torch.Generator().manual_seed(4)) * 50, config)
    dense = graph.toarray()
    np.testing.assert_allclose(dense, dense.T)
    assert not dense.diagonal().any()
    scores = np.random.default_rng(0).normal(size=(30, 3))
    system = np.eye(30) - config.alpha * dense
    found = spread(graph, scores, config.alpha)
    for own, column in zip(found.T, scores.T, strict=True):
        expected, _ = scipy.sparse.linalg.cg(system, column, rtol=1e-6, maxiter=10)
        np.testing.assert_allclose(own, expected, rtol=1e-9)
    assert not spread(graph, np.zeros((30, 2)), config.alpha).any()


def test_patches_are_joined_by_likeness_and_distance() -> None:
    values = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0.8, 0.6], [0, 1], [-1, 0.1]]), dim=1)
    centers = torch.tensor([[0.0, 0], [3, 4], [0, 8], [6, 0]])
    config = LPOSSConfig(nearest=4, distance_scale=0.1)
    weights = np.array(
        [
            [
                0
                if i == j
                else 2 * max(0, float(a @ b)) ** 3 * math.exp(-0.1 * float((centers[i] - centers[j]).norm()))
                for j, b in enumerate(values)
            ]
            for i, a in enumerate(values)
        ]
    )
    sums = weights.sum(axis=1)
    scale = np.divide(1, np.sqrt(sums), out=np.zeros(4), where=sums > 0)
    expected = weights * scale[:, None] * scale
    np.testing.assert_allclose(patch_graph(values, centers, config).toarray(), expected, rtol=1e-5, atol=1e-12)


def test_lab_of_the_primaries() -> None:
    colors = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]], np.uint8)
    expected = [[100, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [0, 0, 0]]
    np.testing.assert_allclose(to_lab(colors)[0], expected, atol=0.02)


def test_pixels_are_joined_by_color_within_the_radius() -> None:
    image = photo(4, 3) // 16 + 100
    weights = np.zeros((12, 12))
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(itertools.product(range(4), range(3))), repeat=2):
        if i != j and max(abs(y - v), abs(x - u)) <= 2:
            difference = (to_lab(image)[y, x] - to_lab(image)[v, u]) / np.array([100, 128, 128])
            weights[i, j] = math.exp(-np.linalg.norm(difference) / 0.05)
    scale = 1 / np.sqrt(weights.sum(axis=1))
    found = pixel_graph(image, 2, 0.05).toarray()
    np.testing.assert_allclose(found, weights * scale[:, None] * scale, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "settings"), [("sc-clip", {}), ("resclip", {}), ("resclip", {"crop": 0}), ("naclip", {"crop": 0})]
)
@pytest.mark.parametrize("size", [(40, 61), (3, 200), (1, 1)])
def test_whole_methods_on_odd_images(method: str, settings: dict[str, Any], size: tuple[int, int]) -> None:
    known = BASELINES[method]
    made = known.segmenter(known.config(templates=("{}",), background=("sky",), **settings), clip=tiny_clip())  # type: ignore[call-arg]
    found = made.segment(photo(*size), QUERIES)
    assert found.label_map.shape == size
    assert np.isfinite(found.scores).all()
    flat = made.segment(np.full((30, 30, 3), 128, np.uint8), QUERIES)
    assert np.isfinite(flat.scores).all()


def trunk(name: str = "vit_tiny_patch16_224") -> DinoTrunk:
    return load_trunk(TrunkConfig(dino_model=name, dino_weights="random:1"))[0]["dino"]


@pytest.mark.parametrize(("pixels", "background"), [(False, ()), (False, ("grass",)), (True, ("grass",))])
def test_lposs_whole(pixels: bool, background: tuple[str, ...]) -> None:
    small: dict[str, Any] = {"short_side": 32, "nearest": 20, "radius": 3}
    config = LPOSSConfig(templates=("{}",), pixels=pixels, background=background, **small)
    made = LPOSSSegmenter(config, clip=tiny_clip(), dino=trunk())
    found = made.segment(photo(30, 41), QUERIES)
    assert found.label_map.shape == (30, 41)
    assert (found.label_map > 0).all() or background  # without background words no pixel is background
    assert made.segment(photo(2, 90), QUERIES).label_map.shape == (2, 90)


def test_lposs_pads_windows_of_thin_images_with_black() -> None:
    made = LPOSSSegmenter(LPOSSConfig(templates=("{}",), nearest=20), clip=tiny_clip(), dino=trunk())
    seen: list[torch.Tensor] = []
    handle = made.visual.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    made.segment(np.full((2, 90, 3), 200, np.uint8), QUERIES)
    handle.remove()
    mean, std = (torch.tensor(values)[:, None] for values in made.normalization)
    height = made.resized(np.zeros((2, 90, 3), np.uint8)).shape[0]
    colors = (seen[0][0] * std[..., None] + mean[..., None]) * 255
    assert height % 16
    torch.testing.assert_close(colors[:, :height], torch.full_like(colors[:, :height], 200), atol=1e-3, rtol=0)
    torch.testing.assert_close(colors[:, height:], torch.zeros_like(colors[:, height:]), atol=1e-3, rtol=0)


def test_a_trunk_of_other_patches_is_refused() -> None:
    with pytest.raises(ModelError, match="expected CLIP's patches of"):
        LPOSSSegmenter(LPOSSConfig(), clip=tiny_clip(), dino=trunk("vit_small_patch32_224"))
