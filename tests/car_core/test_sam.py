"""SAM: matching against a literal loop, suppression, and tiny SAMs of random weights through the real pipeline."""

from __future__ import annotations

import importlib.metadata
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.tiny_clip import photo, tiny_clip
from PIL import Image
from safetensors.torch import load_file, save_file

from car_core import CaR, CaRConfig, ConfigError, ModelError, SAMConfig
from car_core.baselines.corrclip import RegionsConfig
from car_core.models.torchvision_guard import declare_missing_ops
from car_core.models.weights import build_seeded
from car_core.refine.matching import intersection_over_minimum, match_masks
from car_core.refine.sam import CachedMasks, boxes_of_masks, non_maximum_suppression
from car_core.refine.sam import tiny_sam as tiny_sam_of
from car_core.segmentation import paint_labels

Masks = npt.NDArray[np.bool_]
declare_missing_ops()


def random_sam() -> Any:
    """A tiny SamModel; skips the test without transformers."""
    transformers = pytest.importorskip("transformers", reason="needs the extra sam")
    return build_seeded(0, lambda: tiny_sam_of(transformers))


def config(profile: Any = "released", **settings: Any) -> SAMConfig:
    sam = CaRConfig(profile=profile, sam={"model": "none", **settings}).sam
    assert sam is not None
    return sam


def literal_match(masks: Masks, candidates: Masks, settings: SAMConfig) -> Masks:
    result = []
    for mask in masks:
        a = {tuple(place) for place in np.argwhere(mask)}
        others = [{tuple(place) for place in np.argwhere(candidate)} for candidate in candidates]
        if not a or not others:
            result.append(mask)
            continue
        values = []
        for b in others:
            common = len(a & b)
            inside = common / len(b) if b and common >= (settings.min_overlap or 0) * len(a) else 0.0
            values.append(max(common / len(a), inside))
        chosen = [b for b, value in zip(others, values, strict=True) if value > settings.iom_threshold]
        union = set().union(*(chosen or [others[values.index(max(values))]]))
        iou = len(a & union) / len(a | union)
        new = np.zeros_like(mask)
        for place in union if iou > settings.iou_threshold else a:
            new[place] = True
        result.append(new)
    return np.stack(result)


def blobs(count: int, seed: int) -> Masks:
    """Discs of all sizes, some nearly equal, some inside others."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:24, 0:31]
    centers = generator.choice([6, 7, 12, 18], (count, 2))
    radii = generator.choice([1, 2, 4, 5, 8, 11], count)
    return np.array([(rows - y) ** 2 + (columns - x) ** 2 < r * r for (y, x), r in zip(centers, radii, strict=True)])


@pytest.mark.parametrize("profile", ["paper", "released"])
def test_matching_equals_the_literal_loop(profile: str) -> None:
    changed, settings = 0, config(profile, iou_threshold=0.3)
    for seed in range(30):
        masks, candidates = blobs(4, seed), blobs(9, 100 + seed)
        masks[1] = False
        found = match_masks(masks, candidates, settings)
        np.testing.assert_array_equal(found, literal_match(masks, candidates, settings))
        changed += int((found != masks).any())
    assert changed > 10


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.6, 0.7, 0.9])
def test_thresholds_are_compared_as_exact_fractions(threshold: float) -> None:
    exact = Fraction(str(threshold))
    for total in range(1, 160):
        common = int(exact * total)
        mask, candidate = np.zeros((2, 1, 1, total), np.bool_)
        mask[:], candidate[..., :common] = True, True  # IoU common / total, IoM 1
        settings = config("paper", iom_threshold=0.1, iou_threshold=threshold)
        replaced = not match_masks(mask, candidate, settings).all()
        assert replaced == (common > 0 and Fraction(common, total) > exact), (common, total)
        if common:
            [inside] = intersection_over_minimum(np.array([common]), total, np.array([common]), threshold)
            assert (inside == 1) == (Fraction(common, total) >= exact), (common, total)


def test_profiles_differ_where_a_small_mask_lies_inside() -> None:
    mask, large, small = np.zeros((3, 1, 20, 20), np.bool_)
    mask[0, :10], large[0, :9], small[0, 15, 15:17] = True, True, True
    small[0, 9, 9:11] = True  # half of its four pixels
    small[0, 8, 9:19] = True  # 12 of 14 inside, 6 % of the mask
    tiny = np.zeros_like(small)
    tiny[0, 9, :5] = True  # 5 of 200 pixels: 2.5 %
    candidates = np.concatenate([large, tiny])
    paper, released = (match_masks(mask, candidates, config(profile)) for profile in ("paper", "released"))
    assert paper[0, 9, :5].all()
    assert not released[0, 9].any()
    np.testing.assert_array_equal(match_masks(mask, np.concatenate([large, small]), config()), large | small)


def test_what_cannot_be_matched_stays() -> None:
    masks = blobs(3, 1)
    for candidates in (np.zeros((0, 24, 31), np.bool_), np.zeros((2, 24, 31), np.bool_), ~masks[:1]):
        np.testing.assert_array_equal(match_masks(masks, candidates, config()), masks)
    assert match_masks(masks[:0], masks, config()).shape == (0, 24, 31)
    best_alone = masks[:1].copy()  # IoM 2/3 alone does not match, but the best is tried
    candidate = np.roll(best_alone, 1, axis=2)
    settings = config(iom_threshold=1.0, iou_threshold=0.5)
    np.testing.assert_array_equal(match_masks(best_alone, candidate, settings), candidate)


def test_suppression_equals_the_literal_loop() -> None:
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 8, (60, 2))
    boxes = np.concatenate([corners, corners + generator.integers(0, 12, (60, 2))], axis=1).astype(float)
    scores = generator.choice([0.9, 0.93, 0.95, 0.99], 60)

    def area(box: Any) -> float:
        return float((box[2] - box[0]) * (box[3] - box[1]))

    kept: list[int] = []
    for i in sorted(range(60), key=lambda i: (-scores[i], i)):
        for j in kept:
            width = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
            height = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
            common = max(width, 0) * max(height, 0)
            union = area(boxes[i]) + area(boxes[j]) - common
            if union and common / union > 0.5:
                break
        else:
            kept.append(i)
    found = non_maximum_suppression(boxes, scores, 0.5)
    assert found.tolist() == kept
    assert 5 < len(kept) < 55
    assert non_maximum_suppression(boxes[:0], scores[:0], 0.5).tolist() == []


def test_boxes_are_first_and_last_pixels() -> None:
    masks = np.zeros((3, 6, 9), np.bool_)
    masks[0, 2:5, 3:8] = True
    masks[1, 0, 0] = True
    assert boxes_of_masks(masks).tolist() == [[3, 2, 7, 4], [0, 0, 0, 0], [0, 0, 0, 0]]


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def masks(self, image: npt.NDArray[np.uint8]) -> Masks:
        self.calls += 1
        return blobs(5, int(image.sum()) % 7)


def test_masks_are_kept_on_disk_by_image_and_settings(tmp_path: Path) -> None:
    source, images = Counting(), [photo(20, 30), photo(30, 20)]
    for _ in range(2):
        cache = CachedMasks(source, tmp_path, "a")
        for image in images:
            np.testing.assert_array_equal(cache.masks(image), blobs(5, int(image.sum()) % 7))
    assert source.calls == 2
    CachedMasks(source, tmp_path, "b").masks(images[0])
    assert source.calls == 3
    [file, other] = sorted((tmp_path / "a").iterdir())
    file.write_bytes(other.read_bytes()[:50])
    other.write_bytes(b"")
    for image in images:
        CachedMasks(source, tmp_path, "a").masks(image)
    assert source.calls == 5
    assert CachedMasks(source, Path("/proc/nowhere"), "a").masks(images[0]).any()


def test_sam_is_an_option_of_semantic_mode() -> None:
    assert CaRConfig().sam is None
    assert (config("paper").min_overlap, config("released").min_overlap) == (0.0, 0.05)
    assert config("released", min_overlap=0.2).min_overlap == 0.2
    again = CaRConfig(**CaRConfig(sam={"model": "x"}).model_dump())
    assert again.sam == config("released", model="x")
    with pytest.raises(ConfigError, match=r"sam: .*expected none in referring mode"):
        CaRConfig(mode="referring", sam={"model": "x"})
    with pytest.raises(ConfigError, match=r"sam.iom_threshold"):
        CaRConfig(sam={"model": "x", "iom_threshold": 2})
    with pytest.raises(ModelError, match="mask_source"):
        CaR(CaRConfig(sam={"model": "x"}), proposal_clip=tiny_clip(), classifier_clip=tiny_clip())


def test_car_paints_what_the_source_gives() -> None:
    image, queries = photo(52, 76), ["cat", "dog", "sky"]
    shared: dict[str, Any] = {"profile": "paper", "recurrence": "none", "background": ("grass",), "templates": ()}
    plain = CaR(CaRConfig(**shared), proposal_clip=tiny_clip(), classifier_clip=tiny_clip()).segment(image, queries)

    class Grown:
        def masks(self, image: npt.NDArray[np.uint8]) -> Masks:
            return np.stack([np.roll(mask, 1, axis=1) for mask in plain.masks if mask.any()])

    settings = CaRConfig(**shared, sam={"model": "grown", "iou_threshold": 0.1})
    car = CaR(settings, proposal_clip=tiny_clip(), classifier_clip=tiny_clip(), mask_source=Grown())
    found = car.segment(image, queries)
    assert settings.sam is not None
    expected = match_masks(plain.masks, Grown().masks(image), settings.sam)
    assert (expected != plain.masks).any()
    np.testing.assert_array_equal(found.masks, expected)
    np.testing.assert_array_equal(found.label_map, paint_labels(expected, plain.scores, plain.kept))
    assert found.seconds["sam"] > 0


# As small as SAM 2's four stages allow.
TINY_SAM2: dict[str, Any] = {
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [128, 128],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [8, 4, 4, 4],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 16,
    },
}


def tiny_config(library: Any, kind: str) -> Any:
    from car_core.refine import sam

    parts: dict[str, Any] = {"prompt_encoder_config": sam._TINY_PROMPT, "mask_decoder_config": sam._TINY_DECODER}
    if kind == "Sam2Model":
        return library.Sam2Config(**TINY_SAM2, **parts)
    if kind == "SamHQModel":
        parts["mask_decoder_config"] = {**sam._TINY_DECODER, "vit_dim": 32}
    return getattr(library, kind.replace("Model", "Config"))(vision_config=sam._TINY_VISION, **parts)


@pytest.fixture(scope="module", params=["SamModel", "SamHQModel", "Sam2Model"])
def tiny_sam(request: pytest.FixtureRequest) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs the extra sam")
    torch.manual_seed(3)
    model = getattr(transformers, request.param)(tiny_config(transformers, request.param)).eval()
    noise = 0.3 if request.param == "Sam2Model" else 0.15
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise * torch.randn_like(parameter))  # the initial weights give flat masks
        model.mask_decoder.iou_prediction_head.proj_out.bias += 1  # or none would be good
    return model


EASY: dict[str, Any] = {
    "points_per_side": 3,
    "pred_iou_threshold": 0.0,
    "stability_threshold": 0.0,
    "nms_threshold": 0.98,
}


@pytest.mark.parametrize("single", [False, True])
def test_automatic_masks_equal_one_point_after_the_other(tiny_sam: Any, single: bool) -> None:
    """The grid, filters and suppression restated: one forward pass a point, from the pixels on."""
    from car_core.refine.sam import SAMMasks, preprocessed

    image, settings = photo(48, 90, 4), RegionsConfig(model="-", **EASY) if single else config(**EASY)
    found = SAMMasks(tiny_sam, settings).masks(image)
    stretched = type(tiny_sam).__name__ == "Sam2Model"
    pixels, (height, width) = preprocessed(image, 128, stretched=stretched)
    assert (height, width) == ((128, 128) if stretched else (68, 128))
    candidates = []
    for row in range(3):
        for column in range(3):
            point = torch.tensor([(column + 0.5) * width / 3, (row + 0.5) * height / 3])
            with torch.no_grad():
                seen = {"pixel_values": pixels[None], "input_points": point[None, None, None]}
                output = tiny_sam(**seen, multimask_output=not single)
            assert output.pred_masks.shape[2] == (1 if single else 3)
            for logits, quality in zip(output.pred_masks[0, 0], output.iou_scores[0, 0], strict=True):
                inner = logits[None, None]
                if not stretched:
                    inner = torch.nn.functional.interpolate(inner, size=(128, 128), mode="bilinear")
                    inner = inner[:, :, :height, :width]
                full = torch.nn.functional.interpolate(inner, size=(48, 90), mode="bilinear")[0, 0]
                low = int((full > -1).sum())
                steady = int((full > 1).sum()) / low if low else 0.0
                if quality >= 0 and steady >= 0:
                    candidates.append((float(quality), (full > 0).numpy()))
    candidates.sort(key=lambda candidate: -candidate[0])
    kept: list[Masks] = []
    for _, mask in candidates:
        box = boxes_of_masks(mask[None])
        others = boxes_of_masks(np.array(kept)) if kept else np.zeros((0, 4))
        together = np.concatenate([others, box])
        if len(non_maximum_suppression(together, -np.arange(len(together), dtype=float), 0.98)) == len(together):
            kept.append(mask)
    assert len(found) == len(kept) >= (0 if single else 1)  # with transformers 4.57, HQ-SAM of random weights finds one
    assert (found == np.stack(kept)).mean() > 0.999


def test_preprocessing_is_sams() -> None:
    from car_core.refine.sam import preprocessed

    image = photo(60, 41, 2)
    pixels, inner = preprocessed(image, 128)
    assert inner == (128, math.floor(41 * 128 / 60 + 0.5))
    assert not pixels[:, :, inner[1] :].any()
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    small, _ = preprocessed(np.full((30, 30, 3), 77, np.uint8), 128)
    np.testing.assert_allclose(small[:, 64, 64], (77 - mean) / std, rtol=0, atol=1e-4)


def test_sam2_sees_the_image_resized_to_the_square() -> None:
    from car_core.refine.sam import preprocessed

    image = photo(60, 41, 2)
    pixels, inner = preprocessed(image, 128, stretched=True)
    small = Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    assert inner == (128, 128)
    np.testing.assert_allclose(pixels.permute(1, 2, 0), (np.asarray(small) - mean) / std, rtol=0, atol=1e-4)


def test_a_folder_is_loaded_cached_and_hashed(tiny_sam: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    tiny_sam.save_pretrained(tmp_path / "sam")
    settings = {"model": str(tmp_path / "sam"), **EASY}
    shared: dict[str, Any] = {"recurrence": "none", "background": ("grass",), "templates": (), "sam": settings}
    shared |= {"proposal_model": "miniature", "classifier_model": "miniature"}
    car = CaR.from_config(CaRConfig(**shared), weights="miniature")
    assert [record.role for record in car.weights] == ["proposal", "classifier", "sam"]
    record = car.weights[-1]
    assert (record.name, record.model, record.trained) == ("sam", type(tiny_sam).__name__, True)
    found = car.segment(photo(40, 50), ["cat", "dog"])
    [kept] = list((tmp_path / "cache" / "sam").rglob("*.npz"))
    kept.touch()
    again = CaR.from_config(CaRConfig(**shared), weights="miniature")
    assert again.weights[-1] == record
    np.testing.assert_array_equal(again.segment(photo(40, 50), ["cat", "dog"]).masks, found.masks)
    assert list((tmp_path / "cache" / "sam").rglob("*.npz")) == [kept]
    # Another version of transformers may give other masks.
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0" if name == "transformers" else version(name))
    CaR.from_config(CaRConfig(**shared), weights="miniature").segment(photo(40, 50), ["cat", "dog"])
    assert len(list((tmp_path / "cache" / "sam").rglob("*.npz"))) == 2


TOKEN = "mask_decoder.iou_token.weight"


def rewritten(folder: Path, change: Any) -> Path:
    """The folder of a SAM with its tensors changed."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if not k.startswith("mask_decoder")}, r"\d+ missing parameters of Sam"),
        (lambda s: {k: v for k, v in s.items() if k != TOKEN}, "1 missing parameters of Sam"),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, r"\d+ missing parameters of Sam"),
        (lambda s: {"x": torch.zeros(1)}, r"\d+ missing parameters of Sam"),
        (lambda s: {**s, "adapter.weight": torch.zeros(1)}, r"1 unexpected parameters of Sam.*adapter\.weight"),
        (lambda s: {**s, TOKEN: s[TOKEN].repeat(2, 1)}, "shape|size"),
        (lambda s: {**s, TOKEN: s[TOKEN] * float("nan")}, f"NaN or infinity in {TOKEN}"),
    ],
    ids=["no decoder", "one missing", "prefixed", "others", "unexpected", "shape", "NaN"],
)  # fmt: skip
def test_a_sam_whose_weights_are_not_all_in_its_file_is_refused(
    change: Any, said: str, tiny_sam: Any, tmp_path: Path
) -> None:
    from car_core.refine.sam import load_sam

    tiny_sam.save_pretrained(tmp_path / "sam")
    folder = rewritten(tmp_path / "sam", change)
    with pytest.raises(ModelError, match=said) as refusal:
        load_sam(config(model=str(folder)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"])
def test_a_sam_that_was_not_downloaded_is_named(content: bytes, tmp_path: Path) -> None:
    from car_core.refine.sam import load_sam

    random_sam().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"an empty file \(0 bytes\)|a git-lfs pointer"):
        load_sam(config(model=str(tmp_path)))


def test_sam_loading_is_silent_and_leaves_transformers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra sam")
    from car_core.refine.sam import load_sam

    random_sam().save_pretrained(tmp_path)
    capfd.readouterr()
    before = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    load_sam(config(model=str(tmp_path)))
    assert (transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("dtype", "said"), [(torch.float16, "float32, found torch.float16"), (None, "NaN or infinity")]
)
def test_a_sam_of_the_callers_is_checked(dtype: torch.dtype | None, said: str) -> None:
    from car_core.refine.sam import SAMMasks

    model = random_sam()
    if dtype:
        model.to(dtype)
    else:
        model.mask_decoder.iou_token.weight.data[0, 0] = float("inf")
    with pytest.raises(ModelError, match=said):
        SAMMasks(model, config())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("random:x", "whole number"),
        ("/nowhere/sam", "found: no such folder"),
        ("~/no-sam", "found: no such folder"),
        (__file__, "found: a file, where transformers"),
    ],
)
def test_a_sam_that_is_not_there_is_one_line(name: str, message: str) -> None:
    pytest.importorskip("transformers", reason="needs the extra sam")
    from car_core.refine.sam import load_sam

    with pytest.raises(ModelError, match=message) as refusal:
        load_sam(config(model=name))
    assert "\n" not in str(refusal.value)
