"""open_clip, imported after the torchvision guard, and what the vision towers of f and g share.

Shapes: B images, L = 1 + P tokens (class token first), D tower width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from car_core.engine.precision import exact_convolutions
from car_core.errors import ModelError
from car_core.models.torchvision_guard import declare_missing_ops

declare_missing_ops()

import open_clip as open_clip  # noqa: E402 (exported: others must import it after the guard)
from open_clip.constants import HF_SAFE_WEIGHTS_NAME as HF_SAFE_WEIGHTS_NAME  # noqa: E402
from open_clip.constants import HF_WEIGHTS_NAME as HF_WEIGHTS_NAME  # noqa: E402
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD  # noqa: E402
from open_clip.factory import load_state_dict as load_state_dict  # noqa: E402
from open_clip.tokenizer import SimpleTokenizer as SimpleTokenizer  # noqa: E402
from open_clip.transformer import ResidualAttentionBlock as ResidualAttentionBlock  # noqa: E402


def check_vision_tower(model: nn.Module, role: str) -> None:
    """Raise ModelError, naming ``role``, unless the vision tower is a float32 CLIP ViT whose blocks CaR can open.

    ResNets, timm towers, attention pooling and custom blocks are refused.
    """
    visual: Any = getattr(model, "visual", None)
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    plain = (
        blocks is not None
        and all(type(block) is ResidualAttentionBlock for block in blocks)
        and getattr(visual, "attn_pool", None) is None
        and getattr(visual, "pool_type", "tok") == "tok"
        and not getattr(visual, "final_ln_after_pool", False)
        and getattr(visual.transformer, "batch_first", False)
    )
    if not plain:
        raise ModelError(f"{role}: expected an open_clip model with a plain ViT tower, found {type(visual).__name__}")
    dtype = visual.conv1.weight.dtype
    if dtype != torch.float32:
        raise ModelError(f"{role}: expected a model in float32, found {dtype}")


def normalization_of(visual: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in [0, 1]: those stored with the model, else OpenAI CLIP's."""
    mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
    std = getattr(visual, "image_std", None) or OPENAI_DATASET_STD
    return tuple(mean), tuple(std)


def normalize(images: Tensor, normalization: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    """uint8 [..., 3, H, W] to float32, scaled to [0, 1], standardized per channel."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in normalization)
    return images.float().div_(255).sub_(mean).div_(std)


def embed(visual: Any, pixels: Tensor, positional: Tensor) -> Tensor:
    """Input of the first block, [B, L, D], from pixels [B, 3, height, width] and positional [L, D]."""
    with exact_convolutions(pixels.device):
        patches = visual.conv1(pixels.to(visual.conv1.weight.dtype)).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.expand(len(patches), 1, -1)
    tokens: Tensor = visual.ln_pre(torch.cat([class_token, patches.to(class_token.dtype)], dim=1) + positional)
    return tokens
