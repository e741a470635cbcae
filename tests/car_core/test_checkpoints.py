"""Weights files as users have them: read to the bit, or named for what they are. Nothing in a file is run."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.hub import closed, use_hub
from helpers.tiny_clip import clip_config, tiny_clip
from safetensors.torch import save_file

from car_core import ModelError
from car_core.models.clip import open_clip
from car_core.models.weights import load_clip

State = dict[str, torch.Tensor]


def state() -> State:
    return {name: value.clone() for name, value in tiny_clip(1, layers=2).state_dict().items()}


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(clip_config(layers=2)))
    return str(path)


def load(model: str, weights: Path) -> Any:
    return load_clip(model, str(weights), role="proposal", device="cpu")[0]


def refused(model: str, weights: Path) -> str:
    __tracebackhide__ = True
    with pytest.raises(ModelError) as refusal:
        load(model, weights)
    assert "\n" not in str(refusal.value)
    assert weights.name in str(refusal.value)
    return str(refusal.value)


def prefixed(prefix: str) -> State:
    return {prefix + name: value for name, value in state().items()}


def custom_text() -> State:
    return {name if name.startswith("visual.") or name == "logit_scale" else f"text.{name}": value
            for name, value in state().items()}  # fmt: skip


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1}]}
READ: dict[str, Any] = {
    "flat": state,
    "state_dict": lambda: {"epoch": 3, "state_dict": state(), "optimizer": OPTIMIZER},
    "model": lambda: {"model": state(), "epoch": 1, "step": torch.tensor(9)},
    "model_state_dict": lambda: {"model_state_dict": state(), "loss": 0.5},
    "nested": lambda: {"checkpoint": {"model": {"state_dict": state()}}},
    "network": lambda: {"network": state()},
    "DDP": lambda: {"state_dict": prefixed("module.")},
    "DDP flat": lambda: prefixed("module."),
    "Lightning": lambda: {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.0"},
    "compiled": lambda: prefixed("_orig_mod."),
    "DDP compiled": lambda: prefixed("module._orig_mod."),
    "Lightning compiled": lambda: {"state_dict": prefixed("model._orig_mod.module.")},
    "custom text": custom_text,
    "custom text DDP": lambda: {f"module.{name}": value for name, value in custom_text().items()},
    "causal mask": lambda: {**state(), "attn_mask": torch.zeros(77, 77)},
    "scale as vector": lambda: {**state(), "logit_scale": state()["logit_scale"].reshape(1)},
    "OpenAI": lambda: {**state(), "input_resolution": torch.tensor(64), "vocab_size": torch.tensor(49408)},
    "double": lambda: {name: value.double() for name, value in state().items()},
    "ordered": lambda: OrderedDict(state()),
    "parameters": lambda: {name: torch.nn.Parameter(value) for name, value in state().items()},
}


@pytest.mark.parametrize("layout", READ)
def test_layouts_are_read_to_the_bit(layout: str, model: str, tmp_path: Path) -> None:
    for name in ("weights.pt", "weights.ckpt", "weights.PTH"):
        torch.save(READ[layout](), tmp_path / name)
        found = load(model, tmp_path / name).state_dict()
        assert all(torch.equal(found[key], value) for key, value in state().items())


@pytest.mark.parametrize(("written", "named"), [("safetensors", "weights.pt"), ("torch", "weights.safetensors")])
def test_a_file_is_what_it_contains(written: str, named: str, model: str, tmp_path: Path) -> None:
    save_file(state(), tmp_path / named) if written == "safetensors" else torch.save(state(), tmp_path / named)
    assert torch.equal(load(model, tmp_path / named).state_dict()["visual.proj"], state()["visual.proj"])


def test_torchs_old_format_is_read(model: str, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(load(model, tmp_path / "old.pt").state_dict()["visual.proj"], state()["visual.proj"])


def without(left_out: Callable[[str], bool]) -> State:
    return {name: value for name, value in state().items() if not left_out(name)}


def changed(name: str, change: Any) -> State:
    found = state()
    found[name] = change(found[name])
    return found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "a dict without tensors"),
        ([1, 2], "a list without tensors"),
        ({"epoch": 3, "lr": 0.1}, "a dict without tensors (entries: epoch, lr)"),
        ({"weight": torch.ones(2)}, "none of its 62 parameters among 1 tensors (weight, ...)"),
        (without(lambda name: name == "logit_scale"), "1 of 62 parameters missing (logit_scale)"),
        ({**state(), "logit_bias": torch.ones(1)}, "1 unexpected (logit_bias)"),
        (without(lambda name: name.startswith("visual.")), "parameters missing (visual."),
        (changed("visual.proj", lambda value: value * float("nan")), "NaN or infinity in visual.proj"),
        (changed("visual.proj", lambda value: (value * 0).double() + 1e300), "NaN or infinity in visual.proj"),
        (changed("ln_final.bias", lambda value: value / 0), "NaN or infinity in ln_final.bias"),
        (changed("visual.proj", lambda value: value.to(torch.int8)), "visual.proj in torch.int8"),
        (changed("visual.proj", lambda value: value.to(torch.float8_e4m3fn)), "visual.proj in torch.float8_e4m3fn"),
        (changed("visual.proj", lambda value: value.to_sparse()), "visual.proj sparse or without its numbers"),
        (changed("visual.proj", lambda value: value.to("meta")), "visual.proj sparse or without its numbers"),
        (changed("positional_embedding", lambda value: value.repeat(4, 1)), "shape [308, 32] in place of [77, 32]"),
        ({"model": state(), "model_ema": state()}, "several sets of weights: model, model_ema"),
        ({**prefixed("student."), **prefixed("teacher.")}, "several sets of weights: student, teacher"),
        (tiny_clip(1, layers=2), "pickled objects of the type open_clip.model.CLIP"),
    ],
    ids=["empty", "list", "numbers", "others", "missing", "unexpected", "text only", "NaN", "overflow", "infinite",
         "int8", "float8", "sparse", "meta", "LongCLIP", "averages", "student", "module"],
)  # fmt: skip
def test_other_content_is_named(content: Any, said: str, model: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert said in refused(model, tmp_path / "weights.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.bin"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file (0 bytes)"),
        (b"\0" * 4096, "nothing but zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "a git-lfs pointer"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "an HTML or XML page"),
        (b'{"error": "Repository not found"}', "JSON text"),
        (b"\x1f\x8b\x08" + bytes(99), "a gzip archive"),
        (b"PK\x03\x04" + bytes(99), "a damaged ZIP archive"),
        (b"Access denied, please log in", "reads with weights_only; it begins with b'Access denied, please lo'"),
        (b"hello world", "reads with weights_only; it begins with b'hello world'"),
        (b"name.txt" + bytes(600), "reads with weights_only; it begins with b'name.txt"),
        (b"\x80\x02}q\x00", "reads with weights_only; it begins with b'\\x80\\x02}q\\x00'"),
    ],
    ids=["empty", "zeros", "LFS", "HTML", "JSON", "gzip", "cut ZIP", "text", "an opcode", "tar", "cut pickle"],
)
def test_what_downloads_leave_is_named(content: bytes, said: str, name: str, model: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refused(model, tmp_path / name)


def test_a_zip_of_other_files_is_named(model: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("weights/readme.txt", "hello")
    assert "a ZIP archive of other files" in refused(model, tmp_path / "w.pt")


# OpenAI's own files are TorchScript archives.


def scripted(path: Path) -> None:
    clip = tiny_clip(1, layers=2)

    class Released(torch.nn.Module):
        """CLIP's weights and the three numbers next to them."""

        def __init__(self) -> None:
            super().__init__()
            for name, child in clip.named_children():
                setattr(self, name, child)
            for name, value in clip.named_parameters(recurse=False):
                setattr(self, name, value)
            for name, value in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
                self.register_buffer(name, torch.tensor(value))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.visual(pixels)
            return features

    torch.jit.save(torch.jit.trace(Released().eval(), torch.zeros(1, 3, 64, 64)), str(path))


@pytest.mark.filterwarnings("ignore")
def test_openais_archive_is_read_without_its_code(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ViT-tiny.pt"
    scripted(path)
    own = {
        key: value
        for key, value in torch.jit.load(str(path)).state_dict().items()
        if value.ndim or key == "logit_scale"
    }
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("TorchScript was loaded"))
    found = load(model, path).state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[key], value) for key, value in own.items())
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(clip_config(layers=2, quick_gelu=False)))
    assert "trained with QuickGELU" in refused(str(plain), path)


class Runs:
    """Unpickled without care, it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.target,))


@pytest.mark.parametrize("place", ["data.pkl", "constants.pkl"])
def test_a_doctored_archive_runs_nothing(place: str, model: str, tmp_path: Path) -> None:
    target = tmp_path / "made"
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"evil/{name}", pickle.dumps(Runs(target) if name == place else {}, protocol=2))
    refused(model, tmp_path / "evil.pt")
    assert not target.exists()


def raises_type_error() -> bytes:
    """A pickle that the restricted reader ends with TypeError, after which some loaders read it without restriction."""
    return b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01K\x01K\x02\x86b."


@pytest.mark.parametrize("plain", [False, True], ids=["archive", "pickle"])
@pytest.mark.parametrize("variable", ["", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_no_environment_and_no_error_lifts_the_restriction(
    variable: str, plain: bool, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    target, path = tmp_path / "made", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Runs(target), protocol=2)) if plain else torch.save({"x": Runs(target)}, path)
    assert "weights_only" in refused(model, path)
    path.write_bytes(raises_type_error()[:-1] + pickle.dumps(Runs(target), protocol=2)[2:])
    refused(model, path)
    assert not target.exists()


def test_torch_load_has_one_place() -> None:
    root = Path(__file__).parents[2]
    rooms = ("support", "car_core", "dataset_adapters", "results", "evaluation")
    calls = [
        (file.name, line.strip())
        for room in rooms
        for file in (root / room).rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "torch.load(" in line or "jit.load(" in line or "load_checkpoint(" in line
    ]
    assert calls == [("checkpoints.py", 'return torch.load(stream, map_location="cpu", weights_only=True)')]


# Hugging Face's CLIPModel.

VISION = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


def hugging_face(activation: str) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs the extra sam")
    config = transformers.CLIPConfig(
        text_config={**TEXT, "projection_dim": 32, "hidden_act": activation, "eos_token_id": 49407},
        vision_config={**VISION, "image_size": 64, "patch_size": 16, "projection_dim": 32, "hidden_act": activation},
        projection_dim=32,
    )
    torch.manual_seed(4)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


def features_of(output: Any) -> torch.Tensor:
    """Of transformers 5, which returns the pooled features in a record, or 4."""
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("form", ["folder", "safetensors", "bin", "prefixed"])
def test_a_clip_of_hugging_face_gives_its_own_features(activation: str, form: str, tmp_path: Path) -> None:
    theirs, model, folder = hugging_face(activation), tmp_path / "tiny.json", tmp_path / "hf"
    model.write_text(json.dumps(clip_config(layers=2, quick_gelu=activation == "quick_gelu")))
    theirs.save_pretrained(folder)
    weights = {"folder": folder, "safetensors": folder / "model.safetensors"}.get(form, tmp_path / "pytorch_model.bin")
    if form in ("bin", "prefixed"):
        prefix = "model." if form == "prefixed" else ""
        named = {prefix + name: value for name, value in theirs.state_dict().items()}
        torch.save({**named, prefix + "text_model.embeddings.position_ids": torch.arange(77)[None]}, weights)
    ours, record = load_clip(str(model), str(weights), role="proposal", device="cpu")
    assert record.name == weights.name
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    tokens = open_clip.SimpleTokenizer()(["a cat", "two brown dogs"])
    with torch.no_grad():
        images, texts = theirs.get_image_features(pixels), theirs.get_text_features(tokens)
        torch.testing.assert_close(ours.encode_image(pixels), features_of(images), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.encode_text(tokens), features_of(texts), rtol=1e-4, atol=1e-4)


def test_checkpoint_of_other_activation_or_heads_is_refused(tmp_path: Path) -> None:
    """Neither shows in the shapes of the weights."""
    theirs, model, folder = hugging_face("gelu"), tmp_path / "tiny.json", tmp_path / "hf"
    theirs.save_pretrained(folder)
    model.write_text(json.dumps(clip_config(layers=2, quick_gelu=True)))
    assert "vision_config.hidden_act 'gelu' in config.json where the model has 'quick_gelu'" in refused(
        str(model), folder / "model.safetensors"
    )
    config = clip_config(layers=2, quick_gelu=False)
    config["vision_cfg"]["head_width"] = 16
    model.write_text(json.dumps(config))
    assert "vision_config.num_attention_heads 2 in config.json where the model has 4" in refused(
        str(model), folder / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [("no", "no JSON in config.json next to it"), ('{"model_type": "clip", "vision_config": [1]}', "")],
)
def test_an_odd_configuration_next_to_weights(content: str, said: str, model: str, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(content)
    if said:
        assert said in refused(model, tmp_path / "weights.pt")
    else:
        load(model, tmp_path / "weights.pt")


def test_a_byte_that_changed_is_noticed(model: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save(state(), file)
    content = bytearray(file.read_bytes())
    content[content.index(state()["visual.proj"].numpy().tobytes())] ^= 1
    file.write_bytes(content)
    assert "a damaged ZIP archive" in refused(model, file)


def test_a_tag_is_no_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "model.safetensors").touch()
    use_hub(closed(), tmp_path / "hub", monkeypatch)
    with pytest.raises(ModelError, match="weights: ViT-B-32 'openai' is neither in open_clip's cache nor can it be"):
        load_clip("ViT-B-32", "openai", role="proposal", device="cpu")


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32"])
def test_other_towers_are_refused_before_anything_is_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(closed(), tmp_path, monkeypatch)
    tag = open_clip.list_pretrained_tags_by_model(name)[0]
    with pytest.raises(
        ModelError, match=f"proposal: model {name}: expected CLIP's own towers, found (vision|text)_cfg"
    ):
        load_clip(name, tag, role="proposal", device="cpu")


def test_a_folder_without_weights_names_what_is_read(model: str, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert "expected one of model.safetensors, open_clip_model.safetensors" in refused(model, tmp_path / "nothing")
    (tmp_path / "nothing" / "model.safetensors.index.json").write_text("{}")
    assert "found parts of a model (model.safetensors.index.json)" in refused(model, tmp_path / "nothing")
