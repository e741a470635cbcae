"""What most dense baselines change: the attention of the tower's last block.

Shapes: B windows, H heads, L = 1 + P tokens (class token first), d head width, D = H d.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.baselines.config import AttentionConfig
from car_core.baselines.dense import DenseSegmenter


class Attend(Protocol):
    """The last block's attention branch of a method."""

    def __call__(self, attn: Any, normed: Tensor, grid: tuple[int, int], config: Any) -> Tensor:
        """Output [B, L, D] of attention layer ``attn`` on ln_1's output [B, L, D]; grid: h x w = P patches."""
        ...


def split_heads(attn: Any, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query (scaled by d ** -0.25), key (likewise) and value, each [B, H, L, d]: any product of the first two with
    each other or themselves has attention's scale d ** -0.5."""
    joined = F.linear(normed, attn.in_proj_weight, attn.in_proj_bias)
    query, key, value = (part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for part in joined.chunk(3, dim=-1))
    scale = query.shape[-1] ** -0.25
    return query * scale, key * scale, value


def join_heads(attn: Any, heads: Tensor) -> Tensor:
    """The output projection of joined heads, [B, L, D] from [B, H, L, d]."""
    output: Tensor = attn.out_proj(heads.transpose(1, 2).flatten(2))
    return output


def last_block(block: Any, tokens: Tensor, grid: tuple[int, int], attend: Attend, config: AttentionConfig) -> Tensor:
    """Output [B, L, D] of a residual block with another attention; without ``config.residual`` the attention alone."""
    attended: Tensor = block.ls_1(attend(block.attn, block.ln_1(tokens), grid, config))
    if not config.residual:
        return attended
    tokens = tokens + attended
    output: Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return output


class AttentionSegmenter(DenseSegmenter[AttentionConfig]):
    """``attend`` in place of the last block's attention."""

    def __init__(
        self, config: AttentionConfig, *, attend: Attend, clip: Any, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, clip=clip, device=device)
        self._attend = attend

    def patch_features(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Unit features [n, P, E] of the patches of images [n, 3, height, width] (multiples of the patch size), and
        the grid h x w = P."""
        tokens, grid = self.tokens(pixels)
        tokens = last_block(self.visual.transformer.resblocks[-1], tokens, grid, self._attend, self.config)
        return self.embedded(tokens[:, 1:]), grid
