"""SCLIP: correlative self-attention, queries with queries plus keys with keys.

Wang, Mei, Yuille, "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference", ECCV 2024.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from car_core.baselines.attention import join_heads, split_heads
from car_core.baselines.config import AttentionConfig


class SCLIPConfig(AttentionConfig):
    """SCLIP."""

    method: Literal["sclip"] = "sclip"
    residual: bool = True


def attend(attn: Any, normed: Tensor, grid: tuple[int, int], config: SCLIPConfig) -> Tensor:
    """(softmax(q q^T) + softmax(k k^T)) v; see ``Attend``."""
    query, key, value = split_heads(attn, normed)
    weights = (query @ query.mT).softmax(dim=-1) + (key @ key.mT).softmax(dim=-1)
    return join_heads(attn, weights @ value)
