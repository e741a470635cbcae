"""NACLIP: keys with keys and a Gaussian of the distance between patches, without residual and feed-forward network.

Hajimiri, Ben Ayed, Dolz, "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
WACV 2025.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.attention import join_heads, split_heads
from car_core.baselines.config import AttentionConfig
from car_core.config import Positive


class NACLIPConfig(AttentionConfig):
    """NACLIP."""

    method: Literal["naclip"] = "naclip"
    residual: bool = False
    gaussian_std: Positive = Field(default=5.0, description="standard deviation of the neighborhood, patches")


def attend(attn: Any, normed: Tensor, grid: tuple[int, int], config: NACLIPConfig) -> Tensor:
    """softmax(k k^T + neighborhood) v; see ``Attend``."""
    _, key, value = split_heads(attn, normed)
    near = neighborhood(grid, config.gaussian_std).to(key)
    return join_heads(attn, (key @ key.mT + near).softmax(dim=-1) @ value)


def neighborhood(grid: tuple[int, int], std: float) -> Tensor:
    """exp(-distance^2 / (2 std^2)) between patches, float32 [L, L]; 0 to and from the class token."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in grid))
    squared = (places[:, None] - places).square().sum(dim=-1)
    return F.pad(torch.exp(-squared / (2 * std**2)), (1, 0, 1, 0))
