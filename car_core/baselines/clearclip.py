"""ClearCLIP: queries with queries, without the last block's residual connection and feed-forward network.

Lan et al., "ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language Inference", ECCV 2024.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from car_core.baselines.attention import join_heads, split_heads
from car_core.baselines.config import AttentionConfig
from car_core.config import Positive


class ClearCLIPConfig(AttentionConfig):
    """ClearCLIP: images of 448 pixels on the shorter side with ViT-B/16, logits scaled by 50."""

    SHORT_SIDE: ClassVar[float] = 2.0

    method: Literal["clearclip"] = "clearclip"
    residual: bool = False
    logit_scale: Positive = 50.0


def attend(attn: Any, normed: Tensor, grid: tuple[int, int], config: ClearCLIPConfig) -> Tensor:
    """softmax(q q^T) v; see ``Attend``."""
    query, _, value = split_heads(attn, normed)
    return join_heads(attn, (query @ query.mT).softmax(dim=-1) @ value)
