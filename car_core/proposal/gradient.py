"""The last block of f on one image, and the gradient that any text would send back through it.

Grad-CAM needs, for each text, the mean over patches of d (image feature . text) / d A, where A is the input of the last
block's attention. In autograd, with A requiring gradients:

    (gradient,) = torch.autograd.grad(image_feature(A) @ text, A)  # [L, D]
    weights = gradient[1:].mean(dim=0)                             # [D], patch tokens

That is one backward pass per text and image. But image_feature @ text is linear in the text, and so are ``weights``:
weights = text @ G with one matrix G [E, D] per image, the Jacobian of the image feature, averaged over patches. Any
number of texts then costs one product. `last_block` computes G in closed form, by the chain rule from the feature back
to A. Row by row that would be E backward passes; here, wherever a sum over patches commutes with the next linear map,
the sum is taken first, so that no tensor has both patches and rows. tests/car_core/test_cam.py checks G by autograd.

Shapes: P patches, L = 1 + P tokens (class token first), D width, M = MLP width, H heads of d = D / H channels, E
embedding size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from car_core.models.vit_blocks import query_key_value


@dataclass(frozen=True)
class LastBlock:
    """f's encoding of one image by the last block."""

    feature_map: Tensor  # [P, D]: A = ln_1(t), the input of the block's attention, patch tokens only
    attention: Tensor  # [P, P], head-averaged, among patches
    image_feature: Tensor  # [E], unit: mean over patch tokens, projected, normalized
    text_gradient: Tensor  # [E, D]: a unit text times this is the mean over patches of d (image feature . text) / d A

    @property
    def nbytes(self) -> int:
        """Size of its tensors in bytes."""
        return sum(part.nbytes for part in vars(self).values())


@dataclass(frozen=True)
class _ForwardState:
    """Activations of the forward pass that the backward pass needs."""

    block: Any
    query: Tensor  # [H, P, d], scaled by d ** -0.5
    key: Tensor  # [H, L, d]
    value: Tensor  # [H, L, d]
    attention: Tensor  # [H, P, L], softmaxed; rows are patch queries
    attended: Tensor  # [H, P, d]
    middle: tuple[Tensor, Tensor]  # normalized input of ln_2 [P, D] and its 1 / std [P, 1]
    activation_slope: Tensor  # [P, M]
    post: tuple[Tensor, Tensor]  # normalized input of ln_post [P, D] and its 1 / std [P, 1]


@torch.inference_mode()
def last_block(visual: Any, block: Any, tokens: Tensor) -> LastBlock:
    """Run ``block`` (the tower's last) and the head on ``tokens`` [L, D]. The image vector pools patch tokens only."""
    normed = block.ln_1(tokens)
    state, output = _forward(visual, block, tokens, normed)
    embedding = visual.ln_post(output).mean(dim=0) @ visual.proj
    feature = F.normalize(embedding, dim=0)
    # The Jacobian of normalization projects out the component along the feature, and divides by the norm.
    pooled = visual.proj.T - torch.outer(feature, visual.proj @ feature)
    gradient = pooled @ _jacobian(state, visual.ln_post.weight) / (embedding.norm() * len(output) ** 2)
    return LastBlock(normed[1:], state.attention.mean(dim=0)[:, 1:], feature, gradient)


def _forward(visual: Any, block: Any, tokens: Tensor, normed: Tensor) -> tuple[_ForwardState, Tensor]:
    """The activations and the block's output [P, D]."""
    query, key, value = query_key_value(block.attn, normed)
    query = query[:, 1:] * query.shape[-1] ** -0.5
    attention = (query @ key.transpose(1, 2)).softmax(dim=-1)
    attended = attention @ value
    middle = tokens[1:] + block.ls_1(block.attn.out_proj(attended.transpose(0, 1).flatten(1)))
    hidden = block.mlp.c_fc(block.ln_2(middle))
    output = middle + block.ls_2(block.mlp.c_proj(block.mlp.gelu(hidden)))
    mid, post = _standardize(middle, block.ln_2.eps), _standardize(output, visual.ln_post.eps)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = hidden.clone().requires_grad_()
        (slope,) = torch.autograd.grad(block.mlp.gelu(leaf).sum(), leaf)  # an elementwise activation
    return _ForwardState(block, query, key, value, attention, attended, mid, slope, post), output


def _standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    inverse_std = (variance + eps).rsqrt()
    return (x - mean) * inverse_std, inverse_std


def _jacobian(state: _ForwardState, post_weight: Tensor) -> Tensor:
    """[D, D]: row i is the sum over patches of the gradient at A if unit vector i arrives at each output of ln_post.

    With w the arriving gradient times ln_post's weight, less its mean, and a hat for normalized inputs, patch p has

        output:   (w - (w . x^) x^ / D) / std(x)                 at the block's output x
        hidden:   slope * (output c_proj)                        before the MLP's activation
        middle:   output + ln_2 backwards of (hidden c_fc)       at the attention branch's sum
        attended: middle out_proj                                at the joined heads' values

    So ``attended`` is a sum of four terms. Two are a coefficient of the patch times a vector that all patches share
    (rows of c_fc out_proj, and of out_proj), two a coefficient of w times a vector that differs per patch.
    """
    block, (output, output_scale), (middle, middle_scale) = state.block, state.post, state.middle
    width = output.shape[-1]
    shifted = torch.diag(post_weight) - post_weight[:, None] / width  # w of each unit vector
    into_hidden = block.mlp.c_proj.weight * _row_scale(block.ls_2)  # [D, M]
    out_proj = block.attn.out_proj.weight * _row_scale(block.ls_1)
    into_middle = block.mlp.c_fc.weight * block.ln_2.weight  # [M, D]
    into_attended = (into_middle - into_middle.mean(dim=-1, keepdim=True)) @ out_proj
    slope = state.activation_slope * output_scale
    hidden = (output @ into_hidden) * slope
    along_middle = middle @ into_middle.T / width  # [P, M]
    along_output = output_scale * (output @ out_proj) + middle_scale * (hidden @ into_attended)
    at_patch, tilted = _at_each_patch(state, torch.stack([along_output, middle_scale * (middle @ out_proj)]))
    at_patch = at_patch - (hidden * along_middle).sum(dim=-1, keepdim=True) * tilted
    through_mlp = _summed(state, (slope * middle_scale).T, into_attended) - (slope * along_middle).T @ tilted
    past_mlp = _summed(state, output_scale.T, out_proj) - output.T @ at_patch / width
    jacobian: Tensor = shifted @ (into_hidden @ through_mlp + past_mlp) @ block.attn.in_proj_weight
    return jacobian


def _summed(state: _ForwardState, coefficients: Tensor, vectors: Tensor) -> Tensor:
    """Sum over patches p of the gradients of the input projections if coefficients[r, p] vectors[r] arrives at p.

    coefficients: [R, P], or [1, P] for the same in all rows; vectors: [R, D], joined heads. Returns [R, 3 D]: query,
    key, value, each summed over patch tokens. Within a head, with g = gradient of the attended values and S = query
    key^T: dS = attention * (g value^T - g . attended), whose rows sum to zero, so that the keys' sum over patches is
    minus the class token's column.
    """
    parts = []
    for head, vector in enumerate(vectors.chunk(len(state.attention), dim=-1)):
        attention, query, key = state.attention[head], state.query[head], state.key[head]
        on_class, value = attention[:, 0], state.value[head]
        on_attended = coefficients * (vector @ state.attended[head].T)  # [R, P]
        on_key = (coefficients @ attention) * (vector @ value.T)  # [R, L]
        class_slope = on_class * (coefficients * (vector @ value[0])[:, None] - on_attended)
        to_query = on_key @ key - on_attended @ (attention @ key)
        to_value = (coefficients @ (1 - on_class))[:, None] * vector
        parts.append(torch.stack([to_query * query.shape[-1] ** -0.5, -class_slope @ query, to_value], dim=1))
    return torch.stack(parts, dim=2).flatten(1)


def _at_each_patch(state: _ForwardState, vectors: Tensor) -> Tensor:
    """The summands of `_summed`, if vectors[:, p] arrives at patch p: [K, P, 3 D] from [K, P, D]."""
    parts = []
    for head, vector in enumerate(vectors.chunk(len(state.attention), dim=-1)):
        attention, query, key = state.attention[head], state.query[head], state.key[head]
        on_class, value = attention[:, :1], state.value[head]
        on_attended = (vector * state.attended[head]).sum(dim=-1, keepdim=True)
        on_key = attention * (vector @ value.T)
        class_slope = on_class * ((vector @ value[0])[..., None] - on_attended)
        to_query = on_key @ key - on_attended * (attention @ key)
        to_value = (1 - on_class) * vector
        parts.append(torch.stack([to_query * query.shape[-1] ** -0.5, -class_slope * query, to_value], dim=2))
    return torch.stack(parts, dim=3).flatten(2)


def _row_scale(scale: nn.Module) -> Tensor | float:
    """A layer scale as a factor [D, 1] of the weight [D, ...] that the gradient meets next."""
    gamma = getattr(scale, "gamma", None)
    return gamma[:, None] if isinstance(gamma, Tensor) else 1.0
