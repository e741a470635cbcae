"""Two optimizers in one: orthogonalized momentum for the matrices of the blocks, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration that drives singular values towards one."""


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Matrices [B, rows, columns] with their singular values driven to about one; bfloat16 is precise enough inside."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.transpose(1, 2) if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalized, for two-dimensional weights (stacked query, key, value split)."""

    def __init__(
        self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.02
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every weight; weights of one shape are orthogonalized together."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = self._momentum_update(weight, group["momentum"])
                pieces = 3 if weight.shape[0] == 3 * weight.shape[1] else 1
                for part, change in zip(weight.chunk(pieces), update.chunk(pieces), strict=True):
                    by_shape[(part.shape[0], part.shape[1])].append((part, change))
            for (rows, columns), pairs in by_shape.items():
                changes = orthogonalize(torch.stack([change for _, change in pairs]))
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for (part, _), change in zip(pairs, changes, strict=True):
                    part.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-rate)

    def _momentum_update(self, weight: Tensor, momentum: float) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)


def build_optimizers(model: nn.Module, matrix_lr: float, other_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest, slow for the patch filters, which start whitened."""
    matrices = [p for name, p in model.named_parameters() if "resblocks" in name and p.ndim == 2]
    chosen = {id(p) for p in matrices}
    filters = [p for name, p in model.named_parameters() if name == "visual.conv1.weight"]
    chosen |= {id(p) for p in filters}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": others, "lr": other_lr}, {"params": filters, "lr": 0.1 * other_lr}]
    return [Muon(matrices, matrix_lr), torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)]
