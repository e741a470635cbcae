"""MaskCLIP: every token attends to itself alone.

Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022; for ViTs its authors' code keeps the last
block's residual connection and feed-forward network.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from car_core.baselines.attention import join_heads, split_heads
from car_core.baselines.config import AttentionConfig


class MaskCLIPConfig(AttentionConfig):
    """MaskCLIP."""

    method: Literal["maskclip"] = "maskclip"
    residual: bool = True


def attend(attn: Any, normed: Tensor, grid: tuple[int, int], config: MaskCLIPConfig) -> Tensor:
    """v; see ``Attend``."""
    return join_heads(attn, split_heads(attn, normed)[2])
