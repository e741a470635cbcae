"""Building CLIP models: an architecture (open_clip name or config JSON) and its weights (tag, file or random).

Four forms of weights: a tag open_clip knows for the architecture (``openai``, ``laion2b_s34b_b88k``), downloaded once
to open_clip's cache; a local file or folder (see `checkpoints`); ``miniature``, the small CLIP inside this package,
which has its own architecture; ``random:SEED`` for trials.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from car_core.engine.device import as_device
from car_core.engine.precision import fresh_torch
from car_core.errors import ModelError
from car_core.models.checkpoints import load_weights
from car_core.models.clip import open_clip  # imported there, after the torchvision guard
from car_core.models.downloads import fetch, source_of
from car_core.names import MINIATURE, MINIATURE_FOLDER, SUFFIXES, model_of, random_seed, weights_file
from support import strict_json
from support.files import expanded, read_regular, resolved, sha256_of
from support.text import did_you_mean, shortened

# Entries of OpenAI's state dicts that are not weights.
_NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}
Built = TypeVar("Built")


@dataclass(frozen=True)
class WeightsRecord:
    """Where a model's weights came from, kept with every result."""

    role: str  # "proposal" | "classifier"
    model: str  # open_clip name, or the config file's name
    model_sha256: str  # of the architecture, as canonical JSON
    name: str  # tag, file name or random:SEED
    sha256: str | None  # of the weights file; None for random weights
    trained: bool


@fresh_torch(inference=False)
def load_clip(model: str, weights: str, *, role: str, device: str | torch.device) -> tuple[nn.Module, WeightsRecord]:
    """A frozen float32 CLIP in evaluation mode on ``device``, and the record of its weights.

    Raises ModelError, saying what was looked for and how to supply it, for an unknown architecture or tag, a file
    that is missing, damaged or of another architecture, and a download that fails.
    """
    device = as_device(device)
    model = model_of(model, weights)
    architecture = read_architecture(model)
    # Before gigabytes of weights, or a tokenizer, are downloaded for a model that no segmenter accepts.
    for part, key in (("vision_cfg", "timm_model_name"), ("text_cfg", "hf_model_name")):
        if found := isinstance(architecture[part], dict) and architecture[part].get(key):
            raise ModelError(f"{role}: model {model}: expected CLIP's own towers, found {part}.{key} {found!r}")
    seed = random_seed(weights)
    path, tag = _locate(model, weights, role) if seed is None else (None, {})
    if tag:
        # open_clip only warns if a tag was trained with the other GELU; the results would be silently wrong.
        settings = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if tag.get(key)}
        architecture = {**architecture, "quick_gelu": tag.get("quick_gelu", False), "preprocess_cfg": settings}
    clip, sha256 = _build(model, architecture, seed or 0), None
    if path:
        try:
            openai = load_weights(clip, path, ignored=_NO_WEIGHTS)
            if openai and not architecture.get("quick_gelu"):
                raise ValueError(
                    "OpenAI's weights, trained with QuickGELU: use an architecture that has it (-quickgelu)"
                )
            if not tag:
                _check_config(path.with_name("config.json"), clip, quick_gelu=bool(architecture.get("quick_gelu")))
        except (OSError, ValueError) as error:
            raise ModelError(f"weights: {path}: expected weights of {model}, found: {error}") from None
        sha256 = sha256_of(path)
    canonical = json.dumps({"quick_gelu": False, **architecture}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    name = _shown_name(weights) if path else weights
    record = WeightsRecord(role, _shown_name(model), digest, name, sha256, trained=path is not None)
    return clip.float().eval().requires_grad_(False).to(device), record


def read_architecture(model: str) -> dict[str, Any]:
    """The model configuration of an open_clip name, ``miniature``, or a JSON file in open_clip's format."""
    if model == MINIATURE:
        return _read_json(MINIATURE_FOLDER / f"{MINIATURE}.json")
    if model.endswith(".json"):
        return _read_json(expanded(model))
    config = open_clip.get_model_config(model) if ":" not in model else None
    if config is None:
        hint = did_you_mean(model, open_clip.list_models())
        raise ModelError(f"model: expected an open_clip name, {MINIATURE} or a config .json, found {model!r}{hint}")
    return dict(config)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        config = strict_json.loads(read_regular(path, most=2**24))
        config = {**config.pop("model_cfg", {}), **config} if isinstance(config, dict) else {}
    except FileNotFoundError:
        raise ModelError(f"model: expected a config file at {path}, found none") from None
    except (OSError, ValueError, TypeError) as error:
        reason = shortened(" ".join(str(error).split()), 200)
        raise ModelError(f"model: {path}: expected open_clip model-config JSON, found: {reason}") from None
    missing = {"embed_dim", "vision_cfg", "text_cfg"} - set(config)
    if missing:
        raise ModelError(f"model: {path}: expected embed_dim, vision_cfg and text_cfg, missing {sorted(missing)}")
    return dict(config)


def _build(model: str, architecture: Mapping[str, Any], seed: int) -> nn.Module:
    config = {key: value for key, value in architecture.items() if key not in ("custom_text", "preprocess_cfg")}
    kind = open_clip.CustomTextCLIP if architecture.get("custom_text") else open_clip.CLIP
    unknown = set(config) - set(inspect.signature(kind.__init__).parameters)
    if unknown:
        raise ModelError(f"model: {model}: expected an open_clip CLIP configuration, found also {sorted(unknown)}")
    try:
        clip: nn.Module = build_seeded(seed, lambda: kind(**config))
    except Exception as error:  # a wrong value fails wherever open_clip first uses it
        raise ModelError(f"model: {model}: open_clip cannot build it: {error}") from None
    settings = architecture.get("preprocess_cfg") or {}
    for key, expected in (("interpolation", "bicubic"), ("resize_mode", "shortest")):  # CaR resizes as CLIP does
        if settings.get(key, expected) != expected:
            raise ModelError(f"model: {model}: expected preprocessing with {key} {expected}, found {settings[key]!r}")
    visual: Any = clip.visual
    visual.image_mean, visual.image_std = settings.get("mean"), settings.get("std")  # belong to the weights
    return clip


def build_seeded(seed: int, build: Callable[[], Built]) -> Built:
    """What ``build`` returns with torch's random numbers starting from the seed; their state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


def _locate(model: str, weights: str, role: str) -> tuple[Path, dict[str, Any]]:
    """The weights file and, for an open_clip tag, the tag's settings (else empty)."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    # Tags first: a folder may have the name of one. open_clip ignores case, but run folders and tables do not.
    tag = open_clip.get_pretrained_cfg(model, weights) if weights in tags or weights == weights.lower() else {}
    if not tag and (path := weights_file(weights)):
        return path, {}
    if not tag:
        few = ", ".join(tags[:3]) + (f" and {len(tags) - 3} more" if len(tags) > 3 else "") or "none"
        raise ModelError(
            f"weights: expected a file ({', '.join(SUFFIXES)}), {MINIATURE}, random:SEED or a tag of {model} ({few}), "
            f"found {weights!r}{did_you_mean(weights, [MINIATURE, *tags])}"
        )
    try:
        return fetch(tag, f"{weights} weights of {model}"), tag
    except (OSError, RuntimeError) as error:
        # A file does not say which GELU it was trained with; the architecture's name must.
        named = f", with {role}_model={model}-quickgelu" if tag.get("quick_gelu") and "quickgelu" not in model else ""
        raise ModelError(
            f"weights: {model} {weights!r} is neither in open_clip's cache nor can it be downloaded from "
            f"{source_of(tag)} ({type(error).__name__}); fetch it on a connected machine and pass the "
            f"file as {role}_weights{named}"
        ) from None


def _check_config(path: Path, clip: Any, *, quick_gelu: bool) -> None:
    """Raise ValueError if transformers' configuration next to the weights is of a CLIP with other activations or heads.

    Both determine what the weights mean, and neither shows in their shapes.
    """
    if not path.is_file():
        return
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"no JSON in {path.name} next to it ({error})") from None
    if not isinstance(config, dict) or config.get("model_type") != "clip":
        return
    for part, tower in (("vision_config", clip.visual), ("text_config", getattr(clip, "text", clip))):
        own, first = config.get(part), tower.transformer.resblocks[0]
        for field, built in (
            ("hidden_act", "quick_gelu" if quick_gelu else "gelu"),
            ("num_attention_heads", first.attn.num_heads),
            ("layer_norm_eps", first.ln_1.eps),
        ):
            if isinstance(own, dict) and own.get(field, built) != built:
                raise ValueError(f"{part}.{field} {own[field]!r} in {path.name} where the model has {built!r}")


def _shown_name(name: str) -> str:
    """Only the name of a file or folder: records must not depend on where a user keeps things."""
    is_path = Path(name).suffix.lower() in {*SUFFIXES, ".json"} or weights_file(name)
    return resolved(Path(name)).name if is_path and name != MINIATURE else name


def state_hash(model: nn.Module) -> str:
    """sha256 over names and values of a model's state: the same for a hub's cache, a folder and several files."""
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode() + b"\0" + values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
