"""Residual blocks of open_clip's towers, run with only what inference needs.

The results are those of the blocks' own forward pass up to rounding. Weights may have a smaller type than the tokens:
then products are computed in theirs, and the sums and softmaxes written out here in the tokens'. Shapes: B sequences, L
tokens, D width, H heads of d = D / H channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from car_core.engine.device import is_gpu


def residual_block(block: Any, tokens: Tensor, *, causal: bool = False) -> Tensor:
    """A block's output [B, L, D]. causal: a token attends only to itself and to those before it."""
    query, key, value = query_key_value(block.attn, _normed(block, tokens))
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return finish_block(block, tokens, attended)


def first_token_block(block: Any, tokens: Tensor) -> Tensor:
    """The first token of a block's output, [B, 1, D]: the other tokens serve only as keys and values."""
    attn = block.attn
    normed, width = _normed(block, tokens), tokens.shape[-1]
    (query,) = _heads(attn, F.linear(normed[:, :1], attn.in_proj_weight[:width], attn.in_proj_bias[:width]), 1)
    key, value = _heads(attn, F.linear(normed, attn.in_proj_weight[width:], attn.in_proj_bias[width:]), 2)
    return finish_block(block, tokens[:, :1], F.scaled_dot_product_attention(query, key, value))


def block_with_attention(block: Any, tokens: Tensor, *, most_bytes: int = 10_000_000) -> tuple[Tensor, Tensor]:
    """A block's output [B, L, D] and its head-averaged attention [B, L, L] (queries x keys).

    most_bytes: of attention that a CPU materializes at once, so that it stays in the cache (measured).
    """
    query, key, value = query_key_value(block.attn, _normed(block, tokens))
    attention, attended = tokens.new_zeros(len(tokens), *2 * tokens.shape[1:2]), []
    at_once = max(1, most_bytes // attention.nbytes)  # heads
    some = block.attn.num_heads if is_gpu(attention.device) else at_once
    for q, k, v in zip(*(part.split(some, dim=1) for part in (query, key, value)), strict=True):
        weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).to(tokens.dtype).softmax(dim=-1)
        attended.append(weights.to(v.dtype) @ v)
        attention += weights.sum(dim=1)
    return finish_block(block, tokens, torch.cat(attended, dim=1)), attention / block.attn.num_heads


def query_key_value(attn: nn.MultiheadAttention, normed: Tensor) -> tuple[Tensor, ...]:
    """Project to per-head query, key and value: [..., L, D] -> 3 x [..., H, L, d]."""
    return _heads(attn, F.linear(normed, attn.in_proj_weight, attn.in_proj_bias), 3)


def _normed(block: Any, tokens: Tensor) -> Tensor:
    """Input of the block's attention, in the type of its weights."""
    normed: Tensor = block.ln_1(tokens)
    return normed.to(block.attn.in_proj_weight.dtype)


def _heads(attn: nn.MultiheadAttention, joined: Tensor, parts: int) -> tuple[Tensor, ...]:
    """Projections side by side, [..., L, parts * D], as ``parts`` tensors [..., H, L, d]."""
    split: Tensor = joined.unflatten(-1, (parts, attn.num_heads, -1))
    return split.transpose(-4, -2).unbind(-3)


def finish_block(block: Any, tokens: Tensor, attended: Tensor) -> Tensor:
    """The block's output [B, L, D] from its input and the heads' attended values [B, H, L, d]."""
    tokens = tokens + block.ls_1(block.attn.out_proj(attended.transpose(1, 2).flatten(2)))
    output: Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens).to(block.mlp.c_fc.weight.dtype)))
    return output
