"""Baselines against outputs of their authors' code on photos (shared/reference_methods, see its README)."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from car_core.baselines import BASELINES, corrclip
from car_core.baselines.dense import class_probabilities, label_pixels
from car_core.baselines.dino import DinoTrunk
from car_core.baselines.lposs import LPOSSConfig, LPOSSSegmenter, patch_centers, patch_graph, spread
from car_core.baselines.resclip import same_class
from car_core.baselines.sc_clip import find_outliers
from car_core.models.clip import open_clip

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference_methods"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the authors' outputs are not here")

HALF = 2.5e-4  # what float16 may round away from logits below 1/2
CASES = ("sclip_voc21", "naclip_voc21", "scclip_voc21", "scclip_plain", "resclip_voc21", "resclip_stuff")
Arrays = dict[str, npt.NDArray[Any]]


@cache
def clip(activation: str) -> Any:
    made = open_clip.CLIP(**json.loads((REFERENCE / f"config_clip_{activation}.json").read_text()))
    weights = np.load(REFERENCE / "weights_clip.npz")
    made.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights}, strict=True)
    return made


def dino(name: str) -> DinoTrunk:
    from timm.models.vision_transformer import VisionTransformer  # after our guard of torchvision

    sizes = json.loads((REFERENCE / f"config_{name}.json").read_text())
    norm = partial(torch.nn.LayerNorm, eps=sizes.pop("layer_norm_eps"))
    made: Any = VisionTransformer(**sizes, num_classes=0, norm_layer=norm, dynamic_img_size=True)
    weights = np.load(REFERENCE / f"weights_{name}.npz")
    made.load_state_dict({key: torch.from_numpy(weights[key]) for key in weights}, strict=True)
    made.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    return DinoTrunk(made)


def case(name: str) -> tuple[Arrays, dict[str, Any]]:
    arrays = dict(np.load(REFERENCE / f"{name}.npz"))
    return arrays, json.loads(str(arrays["settings"]))


def segmenter(settings: dict[str, Any]) -> Any:
    config = {
        "background": (),
        "short_side": settings["short_side"],
        "crop": settings["slide_crop"],
        "stride": settings["slide_stride"],
        "logit_scale": settings["logit_scale"],
        "prob_threshold": settings["prob_thd"],
        "area_threshold": settings.get("area_thd") or 0,
        "pamr_steps": settings.get("pamr_steps") or 0,
    }
    if settings["method"] == "resclip":
        config |= dict(zip(("cross_factor", "cross_share"), settings["attn_rcs_weights"], strict=True))
        config |= dict(zip(("feedback_factor", "feedback_share"), settings["attn_sfr_weights"], strict=True))
        config["first_threshold"] = settings["temp_thd"]
    known = BASELINES[settings["method"]]
    return known.segmenter(known.config(**config), clip=clip("quickgelu"))  # type: ignore[call-arg]


@pytest.mark.parametrize("name", CASES)
def test_logits_and_labels_of_a_photo(name: str) -> None:
    arrays, settings = case(name)
    made, words = segmenter(settings), torch.from_numpy(arrays["text_features"])
    with torch.inference_mode():
        cosines = made.cosines(arrays["image"], words)
        assert np.abs(cosines[:, ::8, ::8].numpy() - arrays["logits_grid8"]).max() < HALF
        assert (cosines.argmax(dim=0).numpy() == arrays["argmax_text"]).mean() > 0.999
        classes = class_probabilities(cosines * made.config.logit_scale, arrays["texts_per_class"].tolist())
        labels = label_pixels(classes, made.config.prob_threshold, made.config.area_threshold)
    assert (labels.numpy() == arrays["labels"]).mean() > 0.999


@pytest.mark.parametrize("name", CASES)
def test_features_of_windows(name: str) -> None:
    arrays, settings = case(name)
    made, step = segmenter(settings), settings.get("feature_row_step", 1)
    expected = torch.from_numpy(arrays["window_features"])
    with torch.inference_mode():
        pixels, slices = made.windows(arrays["image"])
        windows = torch.stack([pixels[:, rows, columns] for rows, columns in slices[: len(expected)]])
        height, width = (side - side % 16 for side in windows.shape[2:])
        words = torch.from_numpy(arrays["text_features"])
        found, _ = made.patch_features(windows[..., :height, :width], windows, words)
    torch.testing.assert_close(found[:, ::step], F.normalize(expected, dim=-1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["scclip_voc21", "scclip_plain"])
def test_outliers_of_scclip(name: str) -> None:
    arrays, settings = case(name)
    made = segmenter(settings)
    with torch.inference_mode():
        pixels, slices = made.windows(arrays["image"])
        hidden, _ = made.hidden(torch.stack([pixels[:, rows, columns] for rows, columns in slices]))
        found = find_outliers(hidden[-1][:, 1:], made.config.neighbors, made.config.outliers)
    for own, expected in zip(found, arrays["outlier_idx"], strict=True):
        assert set(own.nonzero()[:, 0].tolist()) == set(expected.tolist())


@pytest.mark.parametrize("name", ["resclip_voc21", "resclip_stuff"])
def test_the_first_pass_of_resclip_as_attention(name: str) -> None:
    arrays, settings = case(name)
    labels = torch.from_numpy(arrays["patch_labels"][0].astype(np.int64))
    found = F.pad(same_class(labels, settings["gaussian_std"]), (1, 0, 1, 0))
    sums = found.sum(dim=-1, keepdim=True)
    rows = (found / torch.where(sums > 0, sums, 1))[:: settings["sfr_row_step"]]
    np.testing.assert_allclose(rows, arrays["w0_sfr_rows"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["lposs_voc21", "lpossplus_voc21"])
def test_lposs_stage_by_stage(name: str) -> None:
    arrays, settings = case(name)
    config = LPOSSConfig(background=(), pixels=settings["pixel_refine"])
    made = LPOSSSegmenter(config, clip=clip("gelu"), dino=dino("dino16"))
    words = torch.from_numpy(arrays["text_features"])
    with torch.inference_mode():
        if not config.pixels:  # LPOSS+ has the same stages before the pixels
            pixels, slices = made.windows(arrays["image"])
            windows = torch.stack([pixels[:, rows, columns] for rows, columns in slices])
            cosines, values, grid = made.nodes(windows, words)
            corners = [[rows.start, rows.stop, columns.start, columns.stop] for rows, columns in slices]
            assert corners == arrays["window_y1y2x1x2"].tolist()
            np.testing.assert_allclose(values[:196], arrays["w0_dino_features"], rtol=0, atol=1e-5)
            np.testing.assert_allclose(cosines[:196], arrays["w0_node_scores_in"], rtol=0, atol=1e-5)
            graph = patch_graph(values, patch_centers(slices, grid, made.patch), config)
            # Nearly equal neighbors at place 400 may be exchanged: a few of two million entries, and their scores.
            assert graph.nnz + graph.shape[0] == pytest.approx(int(arrays["graph_nnz"]), rel=1e-4)
            scores = spread(graph, cosines.double().numpy(), config.alpha)
            difference = np.abs(scores - arrays["node_scores_out"])
            assert np.median(difference) < 1e-4
            assert difference.max() < 0.2
        classes = made.class_maps(arrays["image"], words, arrays["texts_per_class"].tolist())
    expected = arrays["logits_grid8"]
    np.testing.assert_allclose(classes[:, ::8, ::8], expected, rtol=0, atol=2e-3 * np.abs(expected).max())
    assert (made.labels(classes).numpy() == arrays["labels"]).mean() > 0.999


@pytest.mark.parametrize("name", ["corrclip_voc21", "corrclip_city"])
def test_corrclip_stage_by_stage(name: str) -> None:
    arrays, settings = case(name)
    assert settings["pad_multiple"] == 56
    assert settings["min_samples"] == 1
    config = corrclip.CorrCLIPConfig(
        background=(),
        short_side=settings["short_side"],
        crop=settings["slide_crop"],
        stride=settings["slide_stride"],
        logit_scale=settings["logit_scale"],
        prob_threshold=settings["prob_thd"],
        tau=settings["tau"],
        merge_distance=settings["eps"],
        spatial_share=settings["alpha"],
        semantic_share=settings["beta"],
    )
    none: Any = None
    made = corrclip.CorrCLIPSegmenter(config, clip=clip("quickgelu"), dino=dino("dino8"), masks=none)
    regions = torch.from_numpy(arrays["region_map"].astype(np.int64))
    with torch.inference_mode():
        pixels, slices = made.windows(arrays["image"])
        seen = corrclip.nearest(regions[None], (pixels.shape[1], pixels.shape[2]))[0]
        for i, (rows, columns) in enumerate(slices):
            window, numbers = pixels[None, :, rows, columns], seen[None, rows, columns]
            alike, grid = made.alike(window)
            before = corrclip.nearest(numbers, grid).flatten()
            joined = corrclip.merged(before.view(grid), alike[0], config.merge_distance)
            clusters = [int(joined[before == value][0]) for value in before.unique()[1:]]
            expected = [label for label in arrays["region_cluster"][i].tolist() if label >= 0]
            assert [label - min(clusters) for label in clusters] == expected or (not expected and len(clusters) < 2)
            if i == 0:
                np.testing.assert_allclose(alike[0, ::8], arrays["w0_dino_features_rows"], rtol=0, atol=1e-5)
                weights = corrclip.scope(alike @ alike.mT, joined[None], config.tau)
                np.testing.assert_allclose(weights[0, ::64], arrays["w0_scope_weights_rows"], rtol=0, atol=1e-5)
                branches = made.branches(window, alike, joined.view(1, *grid))
                for branch, found in zip(("main", "spatial", "semantic"), branches, strict=True):
                    np.testing.assert_allclose(found[0, ::8], arrays[f"w0_{branch}_rows"], rtol=0, atol=1e-4)
            if i < 4 and f"w{i}_features_rows" in arrays:
                found, _ = made.features(window, numbers)
                np.testing.assert_allclose(found[0, ::8], arrays[f"w{i}_features_rows"], rtol=0, atol=1e-4)
        cosines = made.cosines(arrays["image"], torch.from_numpy(arrays["text_features"]), regions)
        np.testing.assert_allclose(cosines[:, ::8, ::8], arrays["logits_grid8"], rtol=0, atol=1e-4)
        assert (cosines.argmax(dim=0).numpy() == arrays["argmax_text"]).mean() > 0.999
        classes = class_probabilities(cosines * config.logit_scale, arrays["texts_per_class"].tolist())
        labels = label_pixels(classes, config.prob_threshold, 0)
        assert (labels.numpy() == arrays["labels_before_correction"]).mean() > 0.999
        corrected = corrclip.most_frequent(labels, regions, len(classes))
    assert (corrected.numpy() == arrays["labels"]).mean() > 0.999
