"""Grad-CAM of every query from one linear map per image.

For query c, CAM_c = relu(sum_d w_cd A_d) with w_c = mean over patches of d s_c / d A, where A = ln_1(t) is the input of
the last block's attention (patch tokens) and s = softmax(logits) over the queries and the background together.

Identity: with a_j = (mean over patches of d logit_j / d A) . A, which is linear in text j and does not depend on
which other texts are alive, CAM_c = relu(s_c (a_c - sum_j s_j a_j)). So the linear map text -> a_j, computed once per
image (gradient.py), serves all texts and steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.proposal.gradient import LastBlock

EPSILON = 1e-15

TextToPatchMap: TypeAlias = Callable[[Tensor], Tensor]
"""a_j [n, P] from text features [n, E]; linear."""


def text_patch_scores(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    """a_j of the module docstring, float32 [n, P], for unit text features [n, E]."""
    return patch_mean_gradients(state, texts, logit_scale) @ state.feature_map.T


@torch.inference_mode()
def patch_mean_gradients(state: LastBlock, texts: Tensor, logit_scale: float) -> Tensor:
    """Mean over patches of d logit_j / d A, [n, D], where logit_j = logit_scale * (image feature . text j).

    texts: unit features [n, E].
    """
    return logit_scale * texts @ state.text_gradient


@torch.inference_mode()
def grad_cams(
    texts: Tensor, logits: Tensor, n_queries: int, project_text: TextToPatchMap, *, queries_compete: bool = True
) -> Tensor:
    """CAM of each query, min-max normalized to [0, 1], float32 [N, P].

    texts: [N + b, E], queries first, then background; logits: [N + b], in the same order. queries_compete: one softmax
    over all of them; otherwise one per query, over itself and the background only. A CAM that is zero everywhere is
    computed again without the background; one that stays zero is returned as zeros.
    """
    if not queries_compete:
        background = range(n_queries, len(logits))
        groups = [[i, *background] for i in range(n_queries)]
        return torch.cat([grad_cams(texts[rows], logits[rows], 1, project_text) for rows in groups])
    cams = unnormalized_cams(texts, logits, n_queries, project_text)
    empty = cams.amax(dim=1) == 0
    if empty.any():
        without = unnormalized_cams(texts[:n_queries], logits[:n_queries], n_queries, project_text)
        cams = torch.where(empty[:, None], without, cams)
    return min_max(cams)


def unnormalized_cams(texts: Tensor, logits: Tensor, n_queries: int, project_text: TextToPatchMap) -> Tensor:
    """relu(s_c (a_c - sum_j s_j a_j)) [N, P], arguments as in `grad_cams`.

    Written as s_c sum_{j != c} s_j (t_c - t_j), which does not cancel when s_c is near 1, and taken of the texts less
    their mean before they are projected: texts can be very similar, and rounding is then relative to their differences.
    """
    centered = texts - texts.mean(dim=0)
    probabilities = logits.softmax(dim=0)
    others = probabilities.expand(n_queries, -1).clone()
    others.fill_diagonal_(0)
    differences = others.sum(dim=1, keepdim=True) * centered[:n_queries] - others @ centered
    return F.relu(project_text(probabilities[:n_queries, None] * differences))


def min_max(maps: Tensor) -> Tensor:
    """Each row of [n, P] shifted and scaled to [0, 1]; a constant row becomes zeros."""
    low = maps.amin(dim=1, keepdim=True)
    shifted = maps - low
    return shifted / (shifted.amax(dim=1, keepdim=True) + EPSILON)
