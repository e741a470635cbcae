"""Baselines against their literal restatements on small ViTs."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers.hub import serve_hub
from helpers.tiny_clip import photo, tiny_clip
from oracles import literal_baselines as literal
from safetensors.torch import save, save_file

from car_core import CaR, CaRConfig, ConfigError, ImageError, ModelError, QueryError
from car_core.baselines import BASELINES, load_baseline
from car_core.baselines.attention import above_mean
from car_core.baselines.dense import DenseSegmenter, label_pixels
from car_core.baselines.dino import DinoTrunk, TrunkConfig, load_trunk
from car_core.baselines.pamr import affinity, refine_maps
from car_core.baselines.proxyclip import ProxyCLIPConfig, ProxyCLIPSegmenter
from car_core.baselines.windows import mean_of_windows, resized_positions, window_slices
from car_core.config import CRFConfig
from car_core.images import as_channels
from car_core.models.clip import normalize, open_clip
from car_core.models.weights import WeightsRecord

from timm.models.vision_transformer import VisionTransformer  # isort: skip  behind the guard of car_core.models.clip

ATTENTION = ["clip", "maskclip", "sclip", "clearclip", "naclip"]
QUERIES = ["cat", "dog", "a red bus"]


class DarkAndBright:
    """Masks of an image's dark and bright pixels."""

    def masks(self, image: Any) -> Any:
        brightness = image.mean(axis=2)
        return np.stack([brightness < 100, brightness > 140])


def segmenter(method: str, **settings: Any) -> Any:
    baseline = BASELINES[method]
    if method == "lposs":
        settings |= {"dino_model": "vit_tiny_patch16_224", "dino_weights": "random:1"}
    config = baseline.config(**settings)
    if method in ("proxyclip", "corrclip"):
        models = {"dino": DinoTrunk(tiny_dino())} | ({"masks": DarkAndBright()} if method == "corrclip" else {})
    else:
        models, _ = baseline.load_extra_models(config)
    return baseline.segmenter(config, clip=tiny_clip(), **models)


def load_dino(name: str, weights: str) -> tuple[DinoTrunk, WeightsRecord]:
    models, [record] = load_trunk(TrunkConfig(dino_model=name, dino_weights=weights))
    return models["dino"], record


@functools.cache
def tiny_dino(patch: int = 8) -> Any:
    """A random ViT of timm for images of 64 pixels, whose patches look less alike than those of fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        sizes: dict[str, Any] = {"img_size": 64, "patch_size": patch, "embed_dim": 32, "depth": 2, "num_heads": 2}
        model = VisionTransformer(**sizes, num_classes=0, dynamic_img_size=True)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    model.pretrained_cfg = {"mean": literal.DINO_MEAN, "std": literal.DINO_STD}
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(("patch", "beta"), [(8, 1.2), (16, 1.2), (8, 0.3)])
def test_proxyclips_features_equal_the_literal_attention(patch: int, beta: float) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    config = ProxyCLIPConfig(beta=beta)
    made = ProxyCLIPSegmenter(config, clip=tiny_clip(), dino=DinoTrunk(tiny_dino(patch)))
    found, grid = made.patch_features(pixels, pixels, None)
    assert grid == (64 // patch, 64 // patch)
    for image, features in zip(pixels, found, strict=True):
        expected = literal.proxy_features(tiny_clip(), tiny_dino(patch), image, beta, config.gamma)
        torch.testing.assert_close(features.double(), expected, rtol=0, atol=2e-5)


def test_a_flat_window_of_proxyclip_has_numbers() -> None:
    """Patches that are all alike attend to each other equally, where the authors' softmax is over nothing."""
    weights = above_mean(torch.ones(1, 6, 6), beta=1.2, gamma=3.0)
    torch.testing.assert_close(weights, torch.full((1, 6, 6), 1 / 6))


@pytest.mark.parametrize("patch", [8, 16])
def test_proxyclip_pads_windows_on_all_sides_to_multiples_of_56(patch: int) -> None:
    made = ProxyCLIPSegmenter(ProxyCLIPConfig(templates=("{}",)), clip=tiny_clip(), dino=DinoTrunk(tiny_dino(patch)))
    assert (made.config.short_side, made.config.crop, made.config.stride) == (96, 96, 32)
    assert made.segment(photo(50, 61), QUERIES).label_map.shape == (50, 61)
    windows = torch.randn(1, 3, 96, 61, generator=torch.Generator().manual_seed(0))
    words = F.normalize(torch.randn(4, 32, generator=torch.Generator().manual_seed(1)), dim=-1)
    whole = torch.zeros(1, 3, 112, 112)
    whole[..., 8:104, 25:86] = windows  # 16 and 51 more: 8 and 25 of them before
    features, grid = made.patch_features(whole, windows, words)
    assert grid == (112 // patch, 112 // patch)
    maps = F.interpolate((features @ words.T).mT.unflatten(-1, grid), size=(112, 112), mode="bilinear")
    torch.testing.assert_close(made.window_cosines(windows, words), maps[..., 8:104, 25:86])


def test_windows_of_partial_patches_are_cut_or_padded() -> None:
    """SCLIP's and NACLIP's code does not see the rest and stretches its map; ClearCLIP's has zeros all around."""
    windows = torch.randn(2, 3, 64, 45, generator=torch.Generator().manual_seed(0))
    words = F.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), dim=-1)
    for method in ("sclip", "naclip", "resclip", "sc-clip"):
        made = segmenter(method)
        features, grid = made.patch_features(windows[..., :32], windows, words)
        assert grid == (4, 2)
        maps = F.interpolate((features @ words.T).mT.unflatten(-1, grid), size=(64, 45), mode="bilinear")
        torch.testing.assert_close(made.window_cosines(windows, words), maps)
    made, whole = segmenter("clearclip"), torch.zeros(2, 3, 64, 48)
    whole[..., 1:46] = windows
    features, grid = made.patch_features(whole, windows, words)
    maps = F.interpolate((features @ words.T).mT.unflatten(-1, grid), size=(64, 48), mode="bilinear")
    torch.testing.assert_close(made.window_cosines(windows, words), maps[..., 1:46])


@pytest.mark.parametrize("patch", [8, 16])
def test_a_trunks_positions_are_resized_as_in_dinos_code(patch: int) -> None:
    """By torch alone: the factor (n + 0.1) / n_old of each side, bicubic; and timm's own way by its setting."""
    model, pixels = tiny_dino(patch), torch.randn(1, 3, 80, 112, generator=torch.Generator().manual_seed(4))
    old, grid = 64 // patch, (80 // patch, 112 // patch)
    square = model.pos_embed[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    factors = tuple((side + 0.1) / old for side in grid)
    resized = F.interpolate(square, scale_factor=factors, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    assert resized.shape[1] == grid[0] * grid[1]
    tokens = F.conv2d(pixels, model.patch_embed.proj.weight, model.patch_embed.proj.bias, stride=patch)
    tokens = torch.cat([model.cls_token + model.pos_embed[:, :1], tokens.flatten(2).mT + resized], dim=1)
    before = model.pos_embed
    expected = model.norm(model.blocks(tokens))[:, 1:]
    found = DinoTrunk(model).features(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert model.pos_embed is before
    as_timm = DinoTrunk(model, positions="timm").features(pixels)
    torch.testing.assert_close(as_timm, model.forward_features(pixels)[:, 1:])
    assert (as_timm - found).abs().max() > 1e-3
    normed = model.blocks[-1].norm1(model.blocks[:-1](tokens))
    values = F.linear(normed, model.blocks[-1].attn.qkv.weight, model.blocks[-1].attn.qkv.bias).chunk(3, dim=-1)[2]
    torch.testing.assert_close(DinoTrunk(model).qkv(pixels)[2], values[:, 1:], rtol=0, atol=1e-5)


def test_methods_resize_positions_as_their_authors_do() -> None:
    ways = {
        name: known.config().positions for name, known in BASELINES.items() if "positions" in known.config.model_fields
    }  # type: ignore[call-arg, attr-defined]
    assert {name for name, way in ways.items() if way == "size"} == {"lposs"}
    trunks = {
        name: known.config().dino_positions
        for name, known in BASELINES.items()
        if "dino_positions" in known.config.model_fields
    }  # type: ignore[call-arg, attr-defined]
    assert trunks == dict.fromkeys(("proxyclip", "lposs", "corrclip"), "scale_factor")
    # In the tower itself: 96 pixels are 6 patches, against 4 of the tower's own.
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    visual = tiny_clip().visual
    square = visual.positional_embedding[1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    for method, target in [("sclip", {"scale_factor": (6.1 / 4, 6.1 / 4)}), ("lposs", {"size": (6, 6)})]:
        grid = F.interpolate(square, **target, mode="bicubic").flatten(2).mT[0]
        tokens = visual.conv1(pixels).flatten(2).mT
        tokens = torch.cat([visual.class_embedding[None, None], tokens], dim=1)
        tokens = visual.ln_pre(tokens + torch.cat([visual.positional_embedding[:1], grid]))
        for block in visual.transformer.resblocks[:-1]:
            tokens = block(tokens)
        torch.testing.assert_close(segmenter(method).tokens(pixels)[0], tokens, rtol=0, atol=1e-5)


def test_a_trunk_of_timm_is_loaded_by_name_and_file_and_hashed(tmp_path: Path) -> None:
    name, pixels = "vit_tiny_patch16_224", torch.randn(1, 3, 32, 48)
    trunk, record = load_dino(name, "random:1")
    assert (record.role, record.name, record.trained) == ("dino", "random:1", False)
    state = trunk._model.state_dict()
    for file in (tmp_path / "a.safetensors", tmp_path / "b.pth"):
        save_file(state, file) if file.suffix == ".safetensors" else torch.save(state, file)
        again, other = load_dino(name, str(file))
        assert (other.name, other.trained) == (file.name, True)
        assert (other.sha256, other.model_sha256) == (record.sha256, record.model_sha256)
        assert torch.equal(again.features(pixels), trunk.features(pixels))
    assert trunk.features(pixels).shape == (1, 6, 192)
    assert load_dino(name, "random:2")[1].sha256 != record.sha256


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "norm.bias"}, r"1 of \d+ parameters missing \(norm.bias\)"),
        (lambda s: {**s, "head.weight": torch.ones(2, 192)}, r"1 unexpected \(head.weight\)"),
        (lambda s: {**s, "norm.bias": s["norm.bias"] / 0}, "NaN or infinity in norm.bias"),
        (lambda s: {**s, "pos_embed": s["pos_embed"][:, :101]}, "pos_embed of the shape"),
    ],
    ids=["missing", "unexpected", "not finite", "shape"],
)
def test_a_trunk_whose_weights_do_not_fit_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    trunk, _ = load_dino("vit_tiny_patch16_224", "random:1")
    torch.save(change(trunk._model.state_dict()), tmp_path / "dino.pth")
    with pytest.raises(ModelError, match=said):
        load_dino("vit_tiny_patch16_224", str(tmp_path / "dino.pth"))


def test_a_published_trunk_is_read_without_its_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, record = load_dino("vit_tiny_patch16_224", "random:1")
    head = {"head.weight": torch.ones(1000, 192), "head.bias": torch.ones(1000)}
    with serve_hub(tmp_path, monkeypatch) as hub:
        published = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/model.safetensors"
        hub.files[published] = save({**trunk._model.state_dict(), **head})
        _, found = load_dino("vit_tiny_patch16_224", "timm")
    assert (found.sha256, found.trained) == (record.sha256, True)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("vit_tiny_patch16_22", "random:1", "dino_model: .*did you mean .*vit_tiny_patch16_224"),
        ("resnet18", "random:1", "dino_model: resnet18: expected a ViT"),
        ("vit_tiny_patch16_224", "random:x", "whole number"),
        ("vit_tiny_patch16_224", f"random:{2**63}", r"dino_weights: .* below 2\*\*63"),
        ("vit_tiny_patch16_224", "/nowhere/dino.pth", "none at /nowhere/dino.pth"),
        ("vit_tiny_patch16_224", __file__, "expected weights of vit_tiny_patch16_224"),
    ],
)
def test_a_trunk_that_is_not_there_is_one_line(name: str, weights: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refusal:
        load_dino(name, weights)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("method", ATTENTION)
def test_patch_features_equal_the_literal_attention(method: str) -> None:
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found, grid = segmenter(method).patch_features(pixels, pixels, None)
    assert grid == (4, 4)
    for image, features in zip(pixels, found, strict=True):
        expected = literal.features(method, tiny_clip(), image)
        torch.testing.assert_close(features.double(), expected, rtol=0, atol=2e-5)


def test_methods_differ_and_naclip_without_neighbors_is_another() -> None:
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = [segmenter(method).patch_features(pixels, pixels, None)[0] for method in ATTENTION]
    found.append(segmenter("naclip", gaussian_std=0.01).patch_features(pixels, pixels, None)[0])
    for i, features in enumerate(found):
        assert all((features - other).abs().max() > 1e-3 for other in found[:i])


def test_plain_clip_is_the_tower_as_it_is() -> None:
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    visual, seen = tiny_clip().visual, []
    handle = visual.transformer.resblocks[-1].register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    visual(pixels)
    handle.remove()
    expected = F.normalize(visual.ln_post(seen[0][:, 1:]) @ visual.proj, dim=-1)
    torch.testing.assert_close(segmenter("clip").patch_features(pixels, pixels, None)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["sclip", "naclip"])
@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((70, 100), {}),
        ((70, 100), {"background": (), "prob_threshold": 0.0}),
        ((40, 53), {"area_threshold": 0.3, "prob_threshold": 0.3, "synonyms": {"cat": ("kitten", "tom cat")}}),
    ],
    ids=["defaults", "no background", "thresholds"],
)
def test_labels_equal_the_literal_windows_and_thresholds(
    method: str, size: tuple[int, int], settings: dict[str, Any]
) -> None:
    """Words of 3 templates; short side 96, windows of 64, 32 apart: 1.5, 1 and 0.5 times the tower."""
    templates = ("a {}.", "the {} there", "{}")
    chosen = {"background": ("sky", "wall"), "templates": templates, **settings}
    method_of = segmenter(method, **chosen)
    image, config = photo(*size, seed=5), method_of.config
    assert (config.short_side, config.crop, config.stride) == (96, 64, 32)

    groups = [config.background] if config.background else []
    groups += [config.synonyms.get(query, (query,)) for query in QUERIES]
    words = []
    for word in (word for group in groups for word in group):
        parts = tiny_clip().encode_text(open_clip.tokenize([t.replace("{}", word) for t in templates]), normalize=True)
        words.append(parts.mean(dim=0) / parts.mean(dim=0).norm())
    large = literal.scaled(image, 96)
    pixels = normalize(as_channels(large), (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    total, count = torch.zeros(len(words), *large.shape[:2]).double(), torch.zeros(large.shape[:2])
    for top, bottom, left, right in literal.windows(*large.shape[:2], 64, 32):
        features = literal.features(method, tiny_clip(), pixels[:, top:bottom, left:right])
        maps = (features @ torch.stack(words).double().T).T.reshape(1, -1, 4, 4)
        total[:, top:bottom, left:right] += F.interpolate(maps, size=(64, 64), mode="bilinear")[0]
        count[top:bottom, left:right] += 1
    cosines = F.interpolate((total / count)[None], size=size, mode="bilinear")[0]
    probabilities = (config.logit_scale * cosines).softmax(dim=0).numpy()
    first = 0 if config.background else 1
    members = [first + number for number, group in enumerate(groups) for _ in group]
    expected = literal.labels(probabilities, members, config)

    found = method_of.segment(image, QUERIES)
    assert (found.label_map == expected).mean() >= 0.999  # float noise decides a few pixels
    assert len(np.unique(expected)) >= 2
    np.testing.assert_array_equal(found.masks, [found.label_map == i + 1 for i in range(3)])
    assert found.kept == tuple(i for i in range(3) if found.masks[i].any())
    for i in range(3):
        best = max((probabilities[w][found.masks[i]].max(initial=0) for w, m in enumerate(members) if m == i + 1))
        assert found.scores[i] == pytest.approx(best, abs=1e-4)


def test_windows_cover_everything_and_their_mean_is_exact() -> None:
    for size in [(96, 130), (96, 96), (40, 300), (96, 128)]:
        places = window_slices(size, 64, 32)
        assert [(r.start, r.stop, c.start, c.stop) for r, c in places] == literal.windows(*size, 64, 32)
        field = torch.randn(2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        parts = torch.stack([field[:, rows, columns] for rows, columns in places])
        torch.testing.assert_close(mean_of_windows(parts, places, size), field, rtol=0, atol=1e-12)


def test_positions_of_another_grid_are_resized() -> None:
    """The class token keeps its own, and the model's own grid stays as it is."""
    positions = torch.randn(17, 8)
    assert resized_positions(positions, (4, 4), (4, 4), by="size") is positions
    wide = resized_positions(positions, (4, 4), (4, 9), by="size")
    assert wide.shape == (37, 8)
    assert torch.equal(wide[0], positions[0])
    # Values at the same places as before along the side that keeps its length.
    constant = positions.clone()
    constant[1:] = torch.arange(4.0).repeat_interleave(4)[:, None]
    rows = resized_positions(constant, (4, 4), (4, 9), by="size")[1:].reshape(4, 9, 8)
    torch.testing.assert_close(rows, torch.arange(4.0)[:, None, None].expand(4, 9, 8), rtol=0, atol=1e-5)


def test_positions_by_scale_factor_step_as_in_the_authors_code() -> None:
    """A place x of 20 reads the 16 old ones at (x + 0.5) * 16 / 20.1 - 0.5, by cubic convolution with a = -0.75."""
    row = torch.randn(16, generator=torch.Generator().manual_seed(0)).tolist()
    positions = torch.cat([torch.zeros(1, 1), torch.tensor(row).repeat(16)[:, None]])

    def kernel(distance: float) -> float:
        if distance <= 1:
            return 1.25 * distance**3 - 2.25 * distance**2 + 1
        return -0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4)

    def read(x: int) -> float:
        place = (x + 0.5) * 16 / 20.1 - 0.5
        taps = range(math.floor(place) - 1, math.floor(place) + 3)
        return sum(kernel(abs(place - tap)) * row[min(max(tap, 0), 15)] for tap in taps)

    found = resized_positions(positions, (16, 16), (16, 20), by="scale_factor")[1:].reshape(16, 20)[8]
    torch.testing.assert_close(found, torch.tensor([read(x) for x in range(20)]), rtol=0, atol=1e-5)


def test_pamr_equals_the_literal_loop() -> None:
    generator = np.random.default_rng(3)
    maps, image = generator.normal(size=(2, 20, 23)), generator.normal(size=(3, 20, 23))
    found = refine_maps(torch.tensor(maps), torch.tensor(image), 3)
    np.testing.assert_allclose(found.numpy(), literal.pamr(maps, image, 3), rtol=0, atol=1e-9)
    assert refine_maps(torch.tensor(maps), torch.tensor(image), 0).numpy() is not None
    torch.testing.assert_close(affinity(torch.tensor(image)).sum(dim=0), torch.ones(20, 23).double())


def test_pamr_of_constant_image_is_finite_and_option_counts() -> None:
    flat = refine_maps(torch.rand(2, 9, 9), torch.zeros(3, 9, 9), 10)
    assert torch.isfinite(flat).all()
    image, settings = photo(50, 60), {"templates": ("{}",), "background": ("sky",), "prob_threshold": 0.0}
    plain, refined = (segmenter("naclip", pamr_steps=n, **settings).segment(image, QUERIES) for n in (0, 10))
    assert (plain.label_map != refined.label_map).any()


def test_area_threshold_of_nothing_predicted_leaves_background() -> None:
    classes = torch.zeros(3, 4, 4)
    classes[0] = 1
    assert not label_pixels(classes, 0.1, 0.5).any()


def test_imagenet_templates_are_openais_80() -> None:
    templates = DenseSegmenter._templates(segmenter("sclip"))
    assert len(templates) == len(set(templates)) == 80
    assert all(template.count("{}") == 1 for template in templates)
    assert {"a photo of a {}.", "itap of my {}.", "a tattoo of the {}."} <= set(templates)


@pytest.mark.parametrize("cam_template", ["a clean origami {}.", "{}"])
@pytest.mark.parametrize("crf", [None, CRFConfig()], ids=["no crf", "crf"])
def test_clip_es_is_car_without_recurrence(crf: CRFConfig | None, cam_template: str) -> None:
    shared = {"crf": crf, "cam_template": cam_template, "background": ("grass", "sky"), "lambda_": 0.3}
    config = CaRConfig(profile="paper", recurrence="none", **shared)
    expected = CaR(config, proposal_clip=tiny_clip(), classifier_clip=tiny_clip())
    method = segmenter("clip-es", **shared)
    for seed in range(3):
        image = photo(52, 76, seed)
        np.testing.assert_array_equal(
            method.segment(image, QUERIES).label_map, expected.segment(image, QUERIES).label_map
        )
    [twice] = method.segment_two_pass_batch([image], QUERIES, ["grass", "sky"])
    both = expected.segment_two_pass(image, QUERIES, ["grass", "sky"])
    np.testing.assert_array_equal(twice.label_map, both.label_map)
    assert twice.queries == both.queries


@pytest.mark.parametrize("method", sorted(set(BASELINES) - {"sam3"}))  # which has no CLIP: test_sam3
def test_a_batch_changes_nothing_and_input_is_checked(method: str) -> None:
    settings = {"background": ("sky",), **({} if method == "clip-es" else {"templates": ("{}",)})}
    found, one_by_one = segmenter(method, **settings), segmenter(method, **settings)
    images = [photo(40, 60), photo(90, 33, 1)]
    batch = found.segment_batch(images, [QUERIES, QUERIES[:1]])
    for image, queries, one in zip(images, [QUERIES, QUERIES[:1]], batch, strict=True):
        alone = one_by_one.segment(image, queries)
        np.testing.assert_array_equal(one.label_map, alone.label_map)
        np.testing.assert_array_equal(one.scores, alone.scores)
        assert one.masks.shape == (len(queries), *image.shape[:2])
        assert one.label_map.dtype == np.int32
        assert one.steps == ()
    assert found.segment(photo(1, 1), ["cat"]).label_map.shape == (1, 1)
    for queries, message in ((["cat", "cat"], "each text once"), ([], "at least one"), (["x " * 99], "77 tokens")):
        with pytest.raises(QueryError, match=message):
            found.check_queries(queries)
    with pytest.raises(ImageError, match="image 1:"):
        found.segment_batch([photo(9, 9), np.zeros((4, 4))], [["cat"]] * 2)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("naclip", {"gaussian_std": 0}, "gaussian_std: "),
        ("proxyclip", {"residual": True}, "residual: no such field"),
        ("sclip", {"gaussian_std": 5}, "gaussian_std: no such field"),
        ("sclip", {"prob_treshold": 5}, "did you mean prob_threshold"),
        ("clip", {"templates": ("a photo",)}, "one {} for the query"),
        ("clip", {"templates": ()}, "at least one template"),
        ("clip", {"background": ("a", "a")}, "background: text 2: .* found 'a' again"),
        ("clip", {"synonyms": {"cat": ()}}, "for 'cat'"),
        ("clip-es", {"short_side": 336}, "short_side: no such field"),
        ("clip", {"method": "sclip"}, "method: "),
    ],
)
def test_impossible_settings_are_refused_by_name(method: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BASELINES[method].config(**settings)


def test_load_baseline_builds_the_miniature() -> None:
    found = load_baseline("maskclip", weights="miniature")
    assert (found.config.proposal_model, found.config.crop, found.config.short_side) == ("miniature", 160, 240)
    assert [record.role for record in found.weights] == ["proposal"]
