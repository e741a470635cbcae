"""Methods that only change the attention of CLIP's last block: plain CLIP, MaskCLIP, SCLIP, ClearCLIP, NACLIP.

Each is a configuration, which says how tokens attend. Shapes: B windows, H heads, L = 1 + P tokens (class token first),
d head width, D = H d.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.dense import DenseConfig, DenseSegmenter
from car_core.config import Positive
from car_core.models.vit_blocks import finish_block, query_key_value


def split_heads(block: Any, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query and key, both scaled by d ** -0.25, and value, each [B, H, L, d], from a block's input [B, L, D].

    So any product of query and key, with each other or themselves, has attention's scale d ** -0.5.
    """
    query, key, value = query_key_value(block.attn, block.ln_1(tokens))
    scale = query.shape[-1] ** -0.25
    return query * scale, key * scale, value


def join_heads(block: Any, heads: Tensor) -> Tensor:
    """A block's output [B, L, D] without residual connection and feed-forward network, from its heads' [B, H, L, d]."""
    output: Tensor = block.ls_1(block.attn.out_proj(heads.transpose(1, 2).flatten(2)))
    return output


def above_mean(cosines: Tensor, beta: float, gamma: float) -> Tensor:
    """Weights [n, P, P] of every patch's attention to every other, from the cosines of their features [n, P, P].

    softmax over gamma * (cosine - beta * mean cosine of the window), where that is not negative. A patch of a flat
    window for which it is negative everywhere attends to those most alike: a softmax over nothing is undefined.
    """
    above = gamma * (cosines - beta * cosines.mean(dim=(1, 2), keepdim=True))
    kept = (above >= 0) | (above == above.amax(dim=-1, keepdim=True))
    return above.masked_fill(~kept, -math.inf).softmax(dim=-1)


class AttentionConfig(DenseConfig):
    """What these methods share."""

    residual: bool = Field(
        default=True, description="keep the last block's residual connection and feed-forward network"
    )

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """What the last block's heads attend to, [B, H, L, d], from their query, key and value as of `split_heads`;
        grid: h x w = P."""


class AttentionSegmenter(DenseSegmenter[AttentionConfig]):
    """The configuration's ``attend`` replaces the last block's attention."""

    def patch_features(self, pixels: Tensor, windows: Tensor, words: Tensor) -> tuple[Tensor, tuple[int, int]]:
        tokens, grid = self.tokens(pixels)
        block = self.visual.transformer.resblocks[-1]
        attended = self.config.attend(*split_heads(block, tokens), grid)
        output = finish_block(block, tokens, attended) if self.config.residual else join_heads(block, attended)
        return self.embedded(output[:, 1:]), grid


class PlainConfig(AttentionConfig):
    """Plain CLIP: patch tokens instead of the class token.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """

    method: Literal["clip"] = "clip"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """softmax(q k^T) v."""
        return (query @ key.mT).softmax(dim=-1) @ value


class MaskCLIPConfig(AttentionConfig):
    """MaskCLIP: every token attends only to itself.

    Zhou, Loy, Dai, "Extract Free Dense Labels from CLIP", ECCV 2022; for ViTs its authors' code keeps the last block's
    residual connection and feed-forward network.
    """

    method: Literal["maskclip"] = "maskclip"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """v."""
        return value


class SCLIPConfig(AttentionConfig):
    """SCLIP: correlative self-attention, queries with queries plus keys with keys.

    Wang, Mei, Yuille, "SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference", ECCV 2024.
    """

    method: Literal["sclip"] = "sclip"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """(softmax(q q^T) + softmax(k k^T)) v."""
        return ((query @ query.mT).softmax(dim=-1) + (key @ key.mT).softmax(dim=-1)) @ value


class ClearCLIPConfig(AttentionConfig):
    """ClearCLIP: queries with queries, without the last block's residual connection and feed-forward network.

    Windows of 448 pixels with ViT-B/16, 224 apart, on images as large; logits scaled by 50. Lan et al., "ClearCLIP:
    Decomposing CLIP Representations for Dense Vision-Language Inference", ECCV 2024.
    """

    SHORT_SIDE: ClassVar[float] = 2.0
    CROP: ClassVar[float] = 2.0
    PADS: ClassVar[bool] = True

    method: Literal["clearclip"] = "clearclip"
    residual: bool = False
    logit_scale: Positive = 50.0

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """softmax(q q^T) v."""
        return (query @ query.mT).softmax(dim=-1) @ value


class NACLIPConfig(AttentionConfig):
    """NACLIP: keys with keys and a Gaussian of the distance between patches, without residual and feed-forward network.

    Hajimiri, Ben Ayed, Dolz, "Pay Attention to Your Neighbours: Training-Free Open-Vocabulary Semantic Segmentation",
    WACV 2025.
    """

    method: Literal["naclip"] = "naclip"
    residual: bool = False
    gaussian_std: Positive = Field(default=5.0, description="standard deviation of the neighborhood, patches")

    def attend(self, query: Tensor, key: Tensor, value: Tensor, grid: tuple[int, int]) -> Tensor:
        """softmax(k k^T + exp(-distance^2 / (2 std^2))) v; the Gaussian is 0 to and from the class token."""
        near = neighborhood(grid, self.gaussian_std).to(key)
        return (key @ key.mT + near).softmax(dim=-1) @ value


def neighborhood(grid: tuple[int, int], std: float) -> Tensor:
    """exp(-distance^2 / (2 std^2)) of patches, float32 [L, L]; 0 to and from the class token."""
    rows_columns = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in grid))
    squared = (rows_columns[:, None] - rows_columns).square().sum(dim=-1)
    return F.pad(torch.exp(-squared / (2 * std**2)), (1, 0, 1, 0))
