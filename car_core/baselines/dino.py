"""A DINO trunk of timm, which ProxyCLIP, LPOSS and CorrCLIP use in addition to CLIP.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from car_core.baselines.windows import resized_positions
from car_core.config import Config, NameOrPath
from car_core.engine.device import as_device
from car_core.engine.precision import fresh_torch
from car_core.errors import ModelError
from car_core.models.checkpoints import load_weights, require_finite
from car_core.models.clip import open_clip  # noqa: F401  its guard lets timm import torchvision
from car_core.models.downloads import fetch_file
from car_core.models.weights import WeightsRecord, build_seeded, state_hash
from car_core.names import random_seed
from support.files import expanded
from support.text import did_you_mean

PUBLISHED = "timm"
"""The weights that timm publishes under the model's name."""
DinoModel = Annotated[str, Field(min_length=1, description="ViT of timm")]


class TrunkConfig(Config):
    """The settings of methods that use a DINO trunk."""

    dino_model: DinoModel = "vit_base_patch8_224.dino"
    dino_weights: NameOrPath = Field(
        default=PUBLISHED, min_length=1, description="timm: those it has for the model; a file; random:SEED for trials"
    )
    dino_positions: Literal["scale_factor", "timm"] = Field(
        default="scale_factor",
        description="how the trunk's positional embeddings are resized; scale_factor: by (n + 0.1) / n_old, as DINO's "
        "own code; timm: to the size, smoothed, as timm does",
    )


class DinoTrunk:
    """Patch features of a ViT of timm, built by the caller, in float32.

    positions: see `TrunkConfig.dino_positions`. patch: height and width of a patch, pixels. mean, std: of the channels
    of its images.
    """

    def __init__(self, model: Any, *, positions: str = "scale_factor", device: str | torch.device = "cpu") -> None:
        require_finite(model, "dino")
        self._model = model.float().requires_grad_(False).to(as_device(device)).eval()
        self._positions = positions
        self.patch: tuple[int, int] = tuple(model.patch_embed.patch_size)
        self.mean, self.std = (tuple(model.pretrained_cfg[name]) for name in ("mean", "std"))

    def normalized(self, pixels: Tensor, other: Any) -> Tensor:
        """Images [n, 3, height, width] as input of this trunk. other: the mean and std they are normalized with."""
        (mean, std), (own_mean, own_std) = (
            [pixels.new_tensor(values)[:, None, None] for values in pair] for pair in (other, (self.mean, self.std))
        )
        return (pixels * std + mean - own_mean) / own_std

    def features(self, pixels: Tensor) -> Tensor:
        """Normalized tokens [n, h * w, C] of the patches of images [n, 3, height, width], multiples of the patch."""
        with self._with_grid_of(pixels):
            tokens: Tensor = self._model.forward_features(pixels)
        return tokens[:, self._model.num_prefix_tokens :]

    def qkv(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [n, h * w, C] of the last block's attention, all heads side by side, otherwise as
        `features`."""
        model, found = self._model, list[Tensor]()
        handle = model.blocks[-1].attn.qkv.register_forward_hook(lambda module, inputs, output: found.append(output))
        try:
            with self._with_grid_of(pixels):
                model.forward_features(pixels)
        finally:
            handle.remove()
        query, key, value = found[0][:, model.num_prefix_tokens :].chunk(3, dim=-1)
        return query, key, value

    @contextmanager
    def _with_grid_of(self, pixels: Tensor) -> Iterator[None]:
        """Within, the model has positions for these images' grid, so that timm does not resize them in its own way."""
        model, patch = self._model, self.patch
        grid = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
        own, old = model.pos_embed, tuple(model.patch_embed.grid_size)
        if self._positions == "scale_factor" and own is not None and old != grid:
            resized = resized_positions(own[0], old, grid, by="scale_factor")[None]
            model.pos_embed = nn.Parameter(resized, requires_grad=False)
            model.patch_embed.grid_size = grid
        try:
            yield
        finally:
            model.pos_embed, model.patch_embed.grid_size = own, old


@fresh_torch(inference=False)
def load_trunk(
    config: TrunkConfig, *, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any], tuple[WeightsRecord, ...]]:
    """The trunk that a configuration names, as ``dino``, and the record of its weights, of the role dino.

    Raises ModelError for an unknown model or one that is not a ViT of one patch size, and for weights that are
    unavailable or do not fit.
    """
    name, weights = config.dino_model, config.dino_weights
    seed, file = random_seed(weights, "dino_weights"), expanded(weights)
    if seed is None and weights != PUBLISHED and not file.is_file():
        raise ModelError(f"dino_weights: expected {PUBLISHED}, random:SEED or a file, found none at {weights}")
    model: Any = _build(name) if seed is None else build_seeded(seed, lambda: _build(name))
    published = model.pretrained_cfg
    if seed is None:
        ignored = list[str]()
        if weights == PUBLISHED:
            file = _published_file(name, published)
            head = published.get("classifier")  # of the training, in the file but not in the model
            ignored = [f"{head}.weight", f"{head}.bias"]
        try:
            load_weights(model, file, ignored=ignored)
        except (OSError, ValueError) as error:
            raise ModelError(f"dino_weights: {weights}: expected weights of {name}, found: {error}") from None
    settings = {key: published[key] for key in ("architecture", "mean", "std")}
    architecture = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    shown = name if weights == PUBLISHED else Path(weights).name
    record = WeightsRecord("dino", name, architecture, shown, state_hash(model), trained=seed is None)
    return {"dino": DinoTrunk(model, positions=config.dino_positions, device=device)}, (record,)


def _build(name: str) -> nn.Module:
    import timm

    if not timm.is_model(name):
        hint = did_you_mean(name, timm.list_models(pretrained=True))
        raise ModelError(f"dino_model: expected a model of timm, found {name!r}{hint}")
    try:
        model: nn.Module = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except Exception as error:  # other architectures fail in many ways
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"dino_model: {name}: expected a ViT that timm can build, found: {reason}") from None
    return model


def _published_file(name: str, published: Any) -> Path:
    """The file that timm publishes on the hub. Raises ModelError if it is not available."""
    repository, names = published.get("hf_hub_id"), ("model.safetensors", "pytorch_model.bin")
    if not repository:
        raise ModelError(f"dino_weights: expected a model that timm publishes on the hub, found {name}; pass a file")
    try:
        return fetch_file(repository, (published.get("hf_hub_filename") or names[0], *names), f"weights of {name}")
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"dino_weights: {name} is neither in the hub's cache nor can it be downloaded from {repository} "
            f"({type(error).__name__}); fetch it on a connected machine and pass the file as dino_weights"
        ) from None
