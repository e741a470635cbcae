"""Grad-CAM of every query from one linear map an image.

For query c, CAM_c = relu(sum_d w_cd A_d) with w_c = mean over patches of d s_c / d A, where A = ln_1(t) is the input of
the last block's attention (patch tokens) and s = softmax(logits) over the queries and the background together.

Identity used: with a_j = (mean over patches of d logit_j / d A) . A, which is linear in text j and does not depend on
which other texts are alive, CAM_c = relu(s_c (a_c - sum_j s_j a_j)). So an image needs no more than the linear map, for
all texts and steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.proposal.gradient import LastBlock

EPSILON = 1e-15

Activate: TypeAlias = Callable[[Tensor], Tensor]


def text_activations(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    """a_j of the module docstring, float32 [n, P], for unit text features [n, E]."""
    return patch_mean_gradients(state, texts, logit_scale) @ state.feature_map.T


@torch.inference_mode()
def patch_mean_gradients(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    """Mean over patches of d logit_j / d A, [n, D], where logit_j = logit_scale * (image feature . text j).

    texts: unit features [n, E].
    """
    return logit_scale * texts @ state.text_gradient


def grad_cams(texts: Tensor, logits: Tensor, n_queries: int, activate: Activate, *, rivals: bool = True) -> Tensor:
    """CAM of each query, min-max normalized to [0, 1], float32 [N, P].

    texts: [N + b, E], queries first, then background; logits: [N + b], in the same order; activate: a_j [n, P] of texts
    [n, E], linear. Without ``rivals`` each query's softmax is over itself and the background alone. A CAM that is zero
    everywhere is computed again without the background; one that stays zero is returned as zeros.
    """
    if rivals:
        return _grad_cams(texts, logits, n_queries, activate)
    background = range(n_queries, len(logits))
    alone = [[i, *background] for i in range(n_queries)]
    return torch.cat([_grad_cams(texts[rows], logits[rows], 1, activate) for rows in alone])


@torch.inference_mode()
def _grad_cams(texts: Tensor, logits: Tensor, n_queries: int, activate: Activate) -> Tensor:
    cams = unnormalized_cams(texts, logits, n_queries, activate)
    empty = cams.amax(dim=1) == 0
    if empty.any():
        without = unnormalized_cams(texts[:n_queries], logits[:n_queries], n_queries, activate)
        cams = torch.where(empty[:, None], without, cams)
    return min_max(cams)


def unnormalized_cams(texts: Tensor, logits: Tensor, n_queries: int, activate: Activate) -> Tensor:
    """relu(s_c (a_c - sum_j s_j a_j)) [N, P], arguments as in `grad_cams`.

    Written as s_c sum_{j != c} s_j (t_c - t_j), which does not cancel when s_c is near 1, and taken of the texts less
    their mean before they are activated: texts can be much alike, and rounding is then that of their differences.
    """
    centered = texts - texts.mean(dim=0)
    probabilities = logits.softmax(dim=0)
    others = probabilities.expand(n_queries, -1).clone()
    others.fill_diagonal_(0)
    differences = others.sum(dim=1, keepdim=True) * centered[:n_queries] - others @ centered
    return F.relu(activate(probabilities[:n_queries, None] * differences))


def min_max(maps: Tensor) -> Tensor:
    """Each row of [n, P] shifted and scaled to [0, 1]; a constant row becomes zeros."""
    low = maps.amin(dim=1, keepdim=True)
    shifted = maps - low
    return shifted / (shifted.amax(dim=1, keepdim=True) + EPSILON)
