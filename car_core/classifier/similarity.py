"""P = g(x', h), the mask classifier's similarity matrix: how well each prompted image matches every query."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def mean_logits(logits: Tensor) -> Tensor:
    """Paper: logits [n, K, m] averaged over the K templates, one softmax over the m queries. Returns [n, m]."""
    return logits.mean(dim=1).softmax(dim=-1)


def sum_probabilities(logits: Tensor) -> Tensor:
    """Released code: one softmax per template, the K rows summed, a second softmax over the sums. Returns [n, m]."""
    return logits.softmax(dim=-1).sum(dim=1).softmax(dim=-1)


ENSEMBLES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean_logits": mean_logits,
    "sum_probabilities": sum_probabilities,
}


@torch.inference_mode()
def similarity_matrix(images: Tensor, texts: Tensor, logit_scale: float, ensemble: str) -> Tensor:
    """P, float32 [n, m]: row i says how image i matches every query, each row sums to 1.

    images: unit features [n, E]; texts: unit features [K, m, E], K templates; ensemble: a key of ENSEMBLES.
    """
    logits = logit_scale * torch.einsum("ne,kme->nkm", images, texts)
    return ENSEMBLES[ensemble](logits)
