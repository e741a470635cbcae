"""Building CLIP models: architectures, weights files, tags, random weights, and every refusal."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hub import closed, use_hub
from helpers.loopback import serve
from helpers.tiny_clip import clip_config, photo, tiny_clip
from safetensors.torch import save_file

from car_core import CaR, CaRConfig, ModelError
from car_core.models.clip import normalization_of, open_clip
from car_core.models.weights import load_clip, read_architecture

CONFIG = clip_config(layers=2)


@pytest.fixture
def config_json(tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


def state() -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in tiny_clip(1, layers=2).state_dict().items()}


def equal(first: torch.nn.Module, second: dict[str, torch.Tensor]) -> bool:
    own = first.state_dict()
    return own.keys() == second.keys() and all(torch.equal(own[name], second[name]) for name in own)


def load(model: str | Path, weights: str | Path) -> Any:
    return load_clip(str(model), str(weights), role="proposal", device="cpu")


# Random weights.


def test_random_weights_are_reproducible(config_json: str) -> None:
    first, record = load(config_json, "random:7")
    assert equal(load(config_json, "random:7")[0], first.state_dict())
    assert not equal(load(config_json, "random:8")[0], first.state_dict())
    assert (record.name, record.sha256, record.trained) == ("random:7", None, False)


def test_random_weights_leave_the_global_generator(config_json: str) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, _ = load(config_json, "random:0")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert equal(load(config_json, "random:0")[0], first.state_dict())


@pytest.mark.parametrize("weights", ["random:", "random:x", "random:-1", "random:1.5", "random: 1"])
def test_random_without_a_whole_seed_is_refused(config_json: str, weights: str) -> None:
    with pytest.raises(ModelError, match="whole number") as refusal:
        load(config_json, weights)
    assert repr(weights) in str(refusal.value)


# Files.


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_file_round_trip(tmp_path: Path, config_json: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state(), path)
    else:
        torch.save(state(), path)
    model, record = load(config_json, path)
    assert equal(model, state())
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record.name, record.model, record.trained) == (path.name, "tiny.json", True)
    canonical = json.dumps(CONFIG, sort_keys=True, separators=(",", ":"))
    assert record.model_sha256 == hashlib.sha256(canonical.encode()).hexdigest()


def test_an_architecture_below_home(tmp_path: Path, config_json: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_architecture(f"~/{Path(config_json).name}") == read_architecture(config_json)


def test_half_precision_file_becomes_a_float32_model(tmp_path: Path, config_json: str) -> None:
    path = tmp_path / "half.safetensors"
    save_file({name: value.half() if value.is_floating_point() else value for name, value in state().items()}, path)
    model, _ = load(config_json, path)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_loaded_model_is_frozen_and_in_evaluation_mode(config_json: str) -> None:
    model, _ = load(config_json, "random:0")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_missing_file(tmp_path: Path, config_json: str) -> None:
    path = tmp_path / "absent.safetensors"
    with pytest.raises(ModelError, match="expected a file at") as refusal:
        load(config_json, path)
    assert str(path) in str(refusal.value)
    other = tmp_path / "other.json"  # of a model that cannot be built: the file is looked for first
    other.write_text(json.dumps({**CONFIG, "embed_dim": "large"}))
    with pytest.raises(ModelError, match="expected a file at"):
        load(other, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    "other",
    [{"width": 96}, {"layers": 3}, {"patch": 8}, {"embed_dim": 16}, {"image_size": 96}],
    ids=lambda other: next(iter(other)),
)
def test_weights_of_another_architecture(tmp_path: Path, config_json: str, suffix: str, other: dict[str, Any]) -> None:
    path = tmp_path / f"other{suffix}"
    weights = {name: value.clone() for name, value in tiny_clip(1, **{"layers": 2, **other}).state_dict().items()}
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    with pytest.raises(ModelError, match="expected weights of") as refusal:
        load(config_json, path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_truncated_file(tmp_path: Path, config_json: str, suffix: str, kept: int) -> None:
    path = tmp_path / f"cut{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else torch.save(state(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError) as refusal:
        load(config_json, path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_text_instead_of_weights(tmp_path: Path, config_json: str, suffix: str) -> None:
    path = tmp_path / f"page{suffix}"
    path.write_text("<html>404 Not Found</html>")
    with pytest.raises(ModelError, match="weights"):
        load(config_json, path)


@pytest.mark.parametrize("content", [[], {}, "a text", 3, {"logit_scale": "high"}], ids=str)
def test_pickle_of_something_else(tmp_path: Path, config_json: str, content: Any) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(ModelError, match="weights"):
        load(config_json, path)


class RunsCode:
    """Unpickled without care, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.target, "executed"))


@pytest.mark.parametrize("plain", [False, True], ids=["torch archive", "plain pickle"])
def test_pickle_with_code_is_refused_and_not_run(tmp_path: Path, config_json: str, plain: bool) -> None:
    path, target = tmp_path / "evil.pt", tmp_path / "executed.txt"
    content = {**state(), "extra": RunsCode(target)}
    if plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match="weights_only"):
        load(config_json, path)
    assert not target.exists()


@pytest.mark.filterwarnings("ignore")
def test_torchscript_archive_of_another_model_is_refused(tmp_path: Path, config_json: str) -> None:
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), str(path))
    with pytest.raises(ModelError, match=r"none of its \d+ parameters among 2 tensors \(weight, bias"):
        load(config_json, path)


# Architectures.


def test_known_architecture() -> None:
    assert read_architecture("ViT-B-16")["vision_cfg"]["patch_size"] == 16


@pytest.mark.parametrize(
    ("name", "near"), [("ViT-B16", "ViT-B-16"), ("vit-L-14", "ViT-L-14"), ("ViT-L/14", "ViT-L-14")]
)
def test_unknown_architecture_names_near_ones(name: str, near: str) -> None:
    with pytest.raises(ModelError, match="did you mean") as refusal:
        load(name, "random:0")
    assert repr(name) in str(refusal.value)
    assert near in str(refusal.value)


@pytest.mark.parametrize("name", ["qqqq", "", "hf-hub:someone/model", "local-dir:/nowhere"])
def test_unknown_architecture_without_near_ones(name: str) -> None:
    with pytest.raises(ModelError, match=r"expected an open_clip name, miniature or a config \.json"):
        read_architecture(name)


def test_config_of_the_hub_layout(tmp_path: Path) -> None:
    """open_clip_config.json keeps the model's part under model_cfg."""
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    assert read_architecture(str(path)) == {**CONFIG, "preprocess_cfg": {}}


def test_preprocessing_of_the_config_is_kept_and_counts(tmp_path: Path, config_json: str) -> None:
    """The same tensors normalized otherwise are another model."""
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}))
    model, record = load(path, "random:0")
    assert tuple(normalization_of(model.visual)[0]) == (0.5, 0.5, 0.5)
    assert record.model_sha256 != load(config_json, "random:0")[1].model_sha256


def test_preprocessing_that_is_not_clips_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"resize_mode": "squash"}}))
    with pytest.raises(ModelError, match="expected preprocessing with resize_mode shortest, found 'squash'"):
        load(path, "random:0")


def test_openai_weights_file_needs_quick_gelu_architecture(tmp_path: Path) -> None:
    path, weights = tmp_path / "openai.pt", tmp_path / "plain.json"
    torch.save({**state(), "input_resolution": torch.tensor(64)}, path)
    weights.write_text(json.dumps({**CONFIG, "quick_gelu": False}))
    with pytest.raises(ModelError, match="trained with QuickGELU"):
        load(weights, path)
    weights.write_text(json.dumps({**CONFIG, "quick_gelu": True}))
    load(weights, path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{}", "embed_dim"),
        ("[1, 2]", "embed_dim"),
        ('{"embed_dim": 32, "vision_cfg": {}}', "text_cfg"),
        ("{", "JSON"),
        ("", "JSON"),
        ("\udcff", "JSON"),
    ],
    ids=["empty", "a list", "a key missing", "cut", "empty file", "not UTF-8"],
)
def test_unusable_config_file(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelError, match=named) as refusal:
        read_architecture(str(path))
    assert str(path) in str(refusal.value)


def test_missing_config_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a config file at"):
        read_architecture(str(tmp_path / "absent.json"))


@pytest.mark.parametrize(
    "change",
    [
        {"vision_tower": {}},
        {"vision_cfg": {**CONFIG["vision_cfg"], "depth": 3}},
        {"text_cfg": {**CONFIG["text_cfg"], "depth": 3}},
        {"embed_dim": "wide"},
        {"vision_cfg": {**CONFIG["vision_cfg"], "width": 16}},  # narrower than one head
        {"vision_cfg": {**CONFIG["vision_cfg"], "patch_size": 0}},
        {"vision_cfg": {**CONFIG["vision_cfg"], "width": -64}},
        {"vision_cfg": "ViT-B-16"},
        {"text_cfg": None},
    ],
    ids=[
        "unknown key", "unknown vision key", "unknown text key", "embed_dim", "width", "patch_size", "negative width",
        "vision_cfg a text", "text_cfg null",
    ],
)  # fmt: skip
def test_config_that_open_clip_cannot_build(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(ModelError, match="model: ") as refusal:
        load(str(path), "random:0")
    assert str(path) in str(refusal.value)


# Tags.


def test_an_unknown_tag_is_told_with_near_ones() -> None:
    with pytest.raises(ModelError, match="random:SEED") as refusal:
        load("ViT-B-16", "openia")
    message = str(refusal.value)
    assert message.endswith("more), found 'openia'; did you mean openai?")
    with pytest.raises(ModelError, match="found 'OpenAI'; did you mean openai"):  # before anything is fetched
        load("ViT-B-16", "OpenAI")


def test_tag_of_a_config_file_is_refused(config_json: str) -> None:
    with pytest.raises(ModelError, match=r"\(none\)"):
        load(config_json, "openai")


def test_tag_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(closed(), tmp_path, monkeypatch)
    with pytest.raises(ModelError) as refusal:
        load("ViT-B-16", "openai")
    message = str(refusal.value)
    for said in (
        "ViT-B-16",
        "'openai'",
        "open_clip's cache",
        "(ConnectionError)",
        "pass the file as proposal_weights, with proposal_model=",
    ):
        assert said in message


def test_a_download_that_came_out_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip compares the file with the digest in its name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve() as server:
        server.files["mlfoundations/vit-00000000.pt"] = b"weights"
        tags = {"mine": {"url": server.url("mlfoundations/vit-00000000.pt")}}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-B-32", tags)
        with pytest.raises(ModelError, match=r"^weights: ViT-B-32 'mine' is neither .* downloaded .* \(RuntimeError\)"):
            load("ViT-B-32", "mine")


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize("in_config", [True, False])
def test_activation_is_that_of_the_tag(
    quick_gelu: bool, in_config: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights trained with the other GELU load without a complaint and give other figures: the tag decides."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".cache" / "clip" / "downloaded.safetensors"
    path.parent.mkdir(parents=True)
    save_file(state(), path)
    tag = {"quick_gelu": quick_gelu, "url": "https://example.org/downloaded.safetensors", "mean": (0.1, 0.2, 0.3)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-Tiny", {"trained": tag})
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-Tiny", {**CONFIG, "quick_gelu": in_config})
    model, record = load("ViT-Tiny", "trained")
    activations = {type(block.mlp.gelu).__name__ for block in model.visual.transformer.resblocks}
    assert activations == {"QuickGELU" if quick_gelu else "GELU"}
    assert (record.model, record.name, record.trained) == ("ViT-Tiny", "trained", True)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert tuple(model.visual.image_mean) == (0.1, 0.2, 0.3), "the tag's preprocessing is kept with the model"


# CaR.from_config.


def test_one_model_for_both_roles(config_json: str) -> None:
    config = CaRConfig(proposal_model=config_json, classifier_model=config_json)
    car = CaR.from_config(config, weights="random:0")
    assert car.proposal_tower.visual is car.classifier_tower.visual
    assert [record.role for record in car.weights] == ["proposal", "classifier"]
    assert car.weights[0].model_sha256 == car.weights[1].model_sha256


def test_a_model_for_each_role(config_json: str, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(clip_config(layers=2, patch=14, image_size=56)))
    config = CaRConfig(proposal_model=config_json, classifier_model=str(other), background=("sky",))
    car = CaR.from_config(config, weights="random:0")
    assert car.proposal_tower.visual is not car.classifier_tower.visual
    assert [record.model for record in car.weights] == ["tiny.json", "other.json"]
    assert car.segment(photo(30, 40), ["cat"]).masks.shape == (1, 30, 40)


def test_weights_for_each_role(config_json: str, tmp_path: Path) -> None:
    save_file(state(), tmp_path / "g.safetensors")
    config = CaRConfig(proposal_model=config_json, classifier_model=config_json)
    weights = {"proposal": "random:1", "classifier": str(tmp_path / "g.safetensors")}
    car = CaR.from_config(config, weights=weights)
    assert [(record.name, record.trained) for record in car.weights] == [("random:1", False), ("g.safetensors", True)]


@pytest.mark.parametrize("keys", [("proposal",), ("classifier",), (), ("f", "g"), ("proposal", "classifier", "sam")])
def test_weights_of_other_roles_are_refused(config_json: str, keys: tuple[str, ...]) -> None:
    config = CaRConfig(proposal_model=config_json, classifier_model=config_json)
    with pytest.raises(ModelError, match="expected the keys"):
        CaR.from_config(config, weights=dict.fromkeys(keys, "random:0"))


# Towers that CaR cannot open.


def resnet() -> Any:
    return open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        text_cfg=CONFIG["text_cfg"],
    )


def vit(**vision: Any) -> Any:
    return open_clip.CLIP(**{**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], **vision}})


@pytest.mark.parametrize(
    "build",
    [
        resnet,
        lambda: vit(attentional_pool=True),
        lambda: vit(pool_type="avg"),
        lambda: vit(final_ln_after_pool=True),
        lambda: vit(qk_norm=True),
        lambda: torch.nn.Linear(2, 2),
    ],
    ids=["ResNet", "attention pooling", "average pooling", "norm after pooling", "custom blocks", "not a CLIP"],
)
@pytest.mark.parametrize("role", ["proposal_clip", "classifier_clip"])
def test_tower_that_is_not_a_plain_vit(build: Any, role: str) -> None:
    models = {"proposal_clip": tiny_clip(1, layers=2), "classifier_clip": tiny_clip(1, layers=2), role: build()}
    with pytest.raises(ModelError, match=f"{role}: expected an open_clip model with a plain ViT tower"):
        CaR(CaRConfig(), **models)


@pytest.mark.parametrize("vocab_size", [32000, 49407, 250002])
def test_text_tower_of_another_vocabulary(vocab_size: int) -> None:
    """CLIP's own tokens mean nothing to it, whether they fit or not."""
    other = open_clip.CLIP(**{**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": vocab_size}})
    with pytest.raises(ModelError, match="classifier_clip: expected CLIP's vocabulary of 49408 tokens"):
        CaR(CaRConfig(), proposal_clip=tiny_clip(1, layers=2), classifier_clip=other)
