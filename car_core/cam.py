"""Grad-CAM of every query from one backward pass through the last block, batched over texts by hand.

For query c, CAM_c = relu(sum_d w_cd A_d) with w_c = mean over patches of d s_c / d A, where A = ln_1(t) is the input of
the last block's attention (patch tokens) and s = softmax(logits) over the queries and the background together.

Identity used: with a_j = (mean over patches of d logit_j / d A) . A, which is linear in text j and does not depend on
which other texts are alive, CAM_c = relu(s_c (a_c - sum_j s_j a_j)). So an image needs each a_j once, for all steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

EPSILON = 1e-15
# Upper bound of the largest temporary of the backward pass, in elements (256 MiB of float32).
_MAX_ELEMENTS = 2**26


@dataclass(frozen=True)
class LastBlock:
    """Forward pass of the last block and the head on one image, with what the backward pass needs.

    P patches, L = 1 + P tokens, D width, M = MLP width, H heads of d = D / H channels, E embedding size.
    """

    block: Any
    feature_map: Tensor  # [P, D]: A, patch tokens only
    attention: Tensor  # [H, P, L], softmaxed; rows are patch queries
    query: Tensor  # [H, P, d], scaled by d ** -0.5
    key: Tensor  # [H, L, d]
    value: Tensor  # [H, L, d]
    attended: Tensor  # [H, P, d]
    mid: tuple[Tensor, Tensor]  # normalized input of ln_2 [P, D] and its 1 / std [P, 1]
    activation_slope: Tensor  # [P, M]
    post: tuple[Tensor, Tensor]  # normalized input of ln_post [P, D] and its 1 / std [P, 1]
    ln_post: nn.LayerNorm
    projection: Tensor  # [D, E]
    pooled_norm: Tensor  # scalar: length of the pooled embedding
    image_feature: Tensor  # [E], unit: mean over patch tokens, projected, normalized


@torch.inference_mode()
def last_block(visual: Any, block: Any, tokens: Tensor) -> LastBlock:
    """Run ``block`` (the tower's last) and the head on ``tokens`` [L, D]. The image vector pools patch tokens only."""
    normed = block.ln_1(tokens)
    query, key, value = _heads(block.attn, normed)
    attention = (query[:, 1:] @ key.transpose(1, 2)).softmax(dim=-1)
    attended = attention @ value
    joined = attended.transpose(0, 1).flatten(1)
    middle = tokens[1:] + block.ls_1(block.attn.out_proj(joined))
    hidden = block.mlp.c_fc(block.ln_2(middle))
    output = middle + block.ls_2(block.mlp.c_proj(block.mlp.gelu(hidden)))
    embedding = visual.ln_post(output).mean(dim=0) @ visual.proj
    return LastBlock(
        block=block,
        feature_map=normed[1:],
        attention=attention,
        query=query[:, 1:],
        key=key,
        value=value,
        attended=attended,
        mid=_standardize(middle, block.ln_2.eps),
        activation_slope=_slope(block.mlp.gelu, hidden),
        post=_standardize(output, visual.ln_post.eps),
        ln_post=visual.ln_post,
        projection=visual.proj,
        pooled_norm=embedding.norm(),
        image_feature=F.normalize(embedding, dim=0),
    )


def _heads(attn: nn.MultiheadAttention, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query (scaled), key and value, each [H, L, d]."""
    joined = F.linear(normed, attn.in_proj_weight, attn.in_proj_bias)
    query, key, value = (part.view(len(normed), attn.num_heads, -1).transpose(0, 1) for part in joined.chunk(3, dim=-1))
    return query * query.shape[-1] ** -0.5, key, value


def _standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    inverse_std = (variance + eps).rsqrt()
    return (x - mean) * inverse_std, inverse_std


def _slope(activation: nn.Module, x: Tensor) -> Tensor:
    """Derivative of an elementwise activation at x."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(activation(leaf).sum(), leaf)
    return slope


def text_activations(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    """a_j of the module docstring, float32 [n, P], for unit text features [n, E]."""
    return patch_mean_gradients(state, texts, logit_scale) @ state.feature_map.T


@torch.inference_mode()
def patch_mean_gradients(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    """Mean over patches of d logit_j / d A, [n, D], where logit_j = logit_scale * (image feature . text j).

    texts: unit features [n, E]. Chunked over texts to bound memory.
    """
    chunk = max(1, _MAX_ELEMENTS // state.activation_slope.numel())
    return torch.cat([_gradients(state, part, logit_scale) for part in texts.split(chunk)])


def _gradients(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    cosine = texts @ state.image_feature
    unit_gradient = texts - cosine[:, None] * state.image_feature
    pooled = logit_scale / state.pooled_norm * unit_gradient @ state.projection.T / len(state.feature_map)
    middle = _through_mlp(state, pooled)
    attn = state.block.attn
    attended = (middle * _layer_scale(state.block.ls_1)) @ attn.out_proj.weight  # [n, P, D]
    return _through_attention(state, attended) / len(state.feature_map)


def _through_mlp(state: LastBlock, pooled: Tensor) -> Tensor:
    """Gradient at the attention branch's sum, [n, P, D], from the gradient of each ln_post output, [n, D].

    The latter is the same for every patch, so the product with c_proj is taken once a text and once a patch.
    """
    block = state.block
    normed, inverse_std = state.post
    weighted = pooled * state.ln_post.weight
    weighted = weighted - weighted.mean(dim=-1, keepdim=True)
    along = weighted @ normed.T / normed.shape[-1]  # [n, P]
    output = (weighted[:, None] - along[..., None] * normed) * inverse_std
    scale = _layer_scale(block.ls_2)
    weight = block.mlp.c_proj.weight
    hidden = ((weighted * scale) @ weight)[:, None] - along[..., None] * ((normed * scale) @ weight)
    hidden *= inverse_std * state.activation_slope
    return output + _layer_norm_backward(hidden @ block.mlp.c_fc.weight, state.mid, block.ln_2.weight)


def _layer_norm_backward(gradient: Tensor, standardized: tuple[Tensor, Tensor], weight: Tensor) -> Tensor:
    normed, inverse_std = standardized
    weighted = gradient * weight
    along = (weighted * normed).mean(dim=-1, keepdim=True)
    return (weighted - weighted.mean(dim=-1, keepdim=True) - along * normed) * inverse_std


def _through_attention(state: LastBlock, gradient: Tensor) -> Tensor:
    """Sum over patch tokens of the gradient at A, [n, D], from the gradient of the joined heads, [n, P, D].

    The sum over tokens is taken before the input projection, with which it commutes. Within a head, with
    g = gradient of the attended values and S = query key^T: dS = attention * (g value^T - g . attended), whose rows
    sum to zero, so that the keys' sum over patches is minus the class token's column.
    """
    heads, patches, width = state.query.shape
    g = gradient.view(len(gradient), patches, heads, width).transpose(1, 2)  # [n, H, P, d]
    on_attended = (g * state.attended).sum(dim=-1)  # [n, H, P]
    on_class = state.attention[..., 0]  # [H, P]
    value = (g * (1 - on_class)[..., None]).sum(dim=2)  # [n, H, d]
    class_slope = on_class * ((g @ state.value[:, 0, :, None]).squeeze(-1) - on_attended)
    key = -(class_slope[..., None] * state.query).sum(dim=2)
    # Texts as columns: a broadcast product would copy the attention once a text.
    columns = g.permute(1, 2, 0, 3).reshape(heads, patches, -1)
    per_key = (state.attention.transpose(1, 2) @ columns).view(heads, -1, len(g), width).permute(2, 0, 1, 3)
    mean_key = state.attention @ state.key  # [H, P, d]
    query = ((per_key * state.value).sum(dim=-1, keepdim=True) * state.key).sum(dim=2)
    query = query - (on_attended[..., None] * mean_key).sum(dim=2)
    joined = torch.cat([part.flatten(1) for part in (query * width**-0.5, key, value)], dim=-1)
    weight: Tensor = state.block.attn.in_proj_weight
    return joined @ weight


def _layer_scale(scale: nn.Module) -> Tensor | float:
    gamma = getattr(scale, "gamma", None)
    return gamma if isinstance(gamma, Tensor) else 1.0


def grad_cams(activations: Tensor, logits: Tensor, n_queries: int, *, rivals: bool = True) -> Tensor:
    """CAM of each query, min-max normalized to [0, 1], float32 [N, P].

    activations: a_j [N + b, P], queries first, then background; logits: [N + b], in the same order. Without
    ``rivals`` each query's softmax is over itself and the background alone. A CAM that is zero everywhere is computed
    again without the background; one that stays zero is returned as zeros.
    """
    if rivals:
        return _grad_cams(activations, logits, n_queries)
    background = range(n_queries, len(logits))
    alone = [[i, *background] for i in range(n_queries)]
    return torch.cat([_grad_cams(activations[rows], logits[rows], 1) for rows in alone])


@torch.inference_mode()
def _grad_cams(activations: Tensor, logits: Tensor, n_queries: int) -> Tensor:
    cams = _unnormalized_cams(activations, logits, n_queries)
    empty = cams.amax(dim=1) == 0
    if empty.any():
        without = _unnormalized_cams(activations[:n_queries], logits[:n_queries], n_queries)
        cams = torch.where(empty[:, None], without, cams)
    return min_max(cams)


def _unnormalized_cams(activations: Tensor, logits: Tensor, n_queries: int) -> Tensor:
    """relu(s_c (a_c - sum_j s_j a_j)), written as s_c sum_{j != c} s_j (a_c - a_j), which does not cancel when
    s_c is near 1."""
    probabilities = logits.softmax(dim=0)
    others = probabilities.expand(n_queries, -1).clone()
    others.fill_diagonal_(0)
    differences = others.sum(dim=1, keepdim=True) * activations[:n_queries] - others @ activations
    return F.relu(probabilities[:n_queries, None] * differences)


def min_max(maps: Tensor) -> Tensor:
    """Each row of [n, P] shifted and scaled to [0, 1]; a constant row becomes zeros."""
    low = maps.amin(dim=1, keepdim=True)
    shifted = maps - low
    return shifted / (shifted.amax(dim=1, keepdim=True) + EPSILON)
