"""A DINO trunk of timm, which ProxyCLIP uses in addition to CLIP.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from car_core.engine.device import as_device
from car_core.errors import ModelError
from car_core.models.clip import open_clip  # noqa: F401  its guard lets timm import torchvision
from car_core.models.weights import WeightsRecord, state_hash
from support.console import quiet_log
from support.text import did_you_mean

PUBLISHED = "timm"
"""The weights that timm publishes under the model's name."""


class DinoTrunk:
    """Patch features of a ViT of timm, built by the caller, in float32.

    patch: height and width of a patch, pixels. mean, std: of the channels of its images.
    """

    def __init__(self, model: Any, *, device: str | torch.device = "cpu") -> None:
        self._model = model.float().requires_grad_(False).to(as_device(device)).eval()
        self.patch: tuple[int, int] = tuple(model.patch_embed.patch_size)
        self.mean, self.std = (tuple(model.pretrained_cfg[name]) for name in ("mean", "std"))

    def features(self, pixels: Tensor) -> Tensor:
        """Normalized tokens [n, h * w, C] of the patches of images [n, 3, height, width], multiples of the patch."""
        tokens: Tensor = self._model.forward_features(pixels)
        return tokens[:, self._model.num_prefix_tokens :]


def load_dino(name: str, weights: str, *, device: str | torch.device = "cpu") -> tuple[DinoTrunk, WeightsRecord]:
    """The trunk of a ViT of timm (``vit_base_patch8_224.dino``) and the record of its weights.

    weights: `PUBLISHED`, fetched once to the hub's cache; a file; or random:SEED. Raises ModelError for an unknown
    model or one that is no ViT of one patch size, and for weights that are unavailable or do not fit.
    """
    model: Any = _random(name, weights) if weights.startswith("random:") else _trained(name, weights)
    settings = {key: model.pretrained_cfg[key] for key in ("architecture", "mean", "std")}
    architecture = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    trained = not weights.startswith("random:")
    shown = name if weights == PUBLISHED else Path(weights).name
    record = WeightsRecord("dino", name, architecture, shown, state_hash(model), trained=trained)
    return DinoTrunk(model, device=device), record


def _random(name: str, weights: str) -> nn.Module:
    seed = weights.removeprefix("random:")
    if not seed.isdecimal():
        raise ModelError(f"dino_weights: expected random:SEED with a whole number, found {weights!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return _build(name)


def _trained(name: str, weights: str) -> nn.Module:
    if weights == PUBLISHED:
        return _build(name, pretrained=True)
    file = Path(os.path.expanduser(weights))
    if not file.is_file():
        raise ModelError(f"dino_weights: expected {PUBLISHED}, random:SEED or a file, found none at {weights}")
    import timm

    model = _build(name)
    try:
        timm.models.load_checkpoint(model, str(file), strict=True)
    except Exception as error:  # readers of damaged files raise many types; each means the same to the caller
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"dino_weights: {weights}: expected weights of {name}, found: {reason}") from None
    return model


def _build(name: str, **options: Any) -> nn.Module:
    import timm

    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models(pretrained=True))
        raise ModelError(f"dino_model: expected a model of timm, found {name!r}{hint}")
    try:
        with quiet_log("huggingface_hub"):  # without a network it would print a page of retries
            model: nn.Module = timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)
    except Exception as error:  # other architectures and the hub fail in many ways
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"dino_model: {name}: expected a ViT that timm can build or fetch, found: {reason}") from None
    return model
