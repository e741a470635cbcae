"""Small CLIPs with seeded random weights, sharp enough that no softmax is flat."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from car_core.models.clip import open_clip

Image = npt.NDArray[np.uint8]


def clip_config(
    *,
    patch: int = 16,
    image_size: int = 64,
    layers: int = 4,
    width: int = 64,
    embed_dim: int = 32,
    quick_gelu: bool = True,
    ls_init_value: float | None = None,
) -> dict[str, Any]:
    """An open_clip model configuration with CLIP's own vocabulary and context length."""
    return {
        "embed_dim": embed_dim,
        "quick_gelu": quick_gelu,
        "vision_cfg": {
            "image_size": image_size,
            "layers": layers,
            "width": width,
            "head_width": 32,
            "patch_size": patch,
            "ls_init_value": ls_init_value,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }


@functools.cache
def tiny_clip(seed: int = 0, *, logit_scale: float = 40.0, **config: Any) -> Any:
    """A float32 CLIP in evaluation mode; every bias, LayerNorm and layer scale is random too. Do not modify it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**clip_config(**config))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "ln_" in name or name.endswith("bias") or "gamma" in name:
                    parameter += 0.3 * torch.randn_like(parameter)
                elif "in_proj_weight" in name:
                    parameter *= 1.5
                elif name == "token_embedding.weight":
                    parameter *= 60
            model.logit_scale.fill_(math.log(logit_scale))
    return model.eval().requires_grad_(False)


def photo(height: int, width: int, seed: int = 0) -> Image:
    """A smooth random RGB image with some noise, so that proposals have shape and the CRF has edges."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 16.0
    channels = []
    for _ in range(3):
        a, b, c, d = rng.uniform(0.3, 1.5, 4)
        channels.append(np.sin(a * rows + 3 * c) * np.cos(b * columns + 3 * d) * 90 + 128)
    image = np.stack(channels, axis=-1) + rng.normal(0, 12, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)
