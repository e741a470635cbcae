"""Plain CLIP: its own attention, patch tokens in place of the class token.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from car_core.baselines.attention import join_heads, split_heads
from car_core.baselines.config import AttentionConfig


class PlainConfig(AttentionConfig):
    """Plain CLIP."""

    method: Literal["clip"] = "clip"
    residual: bool = True


def attend(attn: Any, normed: Tensor, grid: tuple[int, int], config: PlainConfig) -> Tensor:
    """softmax(q k^T) v; see ``Attend``."""
    query, key, value = split_heads(attn, normed)
    return join_heads(attn, (query @ key.mT).softmax(dim=-1) @ value)
