"""PAMR, pixel-adaptive mask refinement: maps averaged over neighbors of like color.

Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020; with dilations 8 and
16, as SCLIP and NACLIP use it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

DILATIONS = (8, 16)
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_NEIGHBOURS = [place for place in _AROUND if place != (0, 0)]


def refine_maps(maps: Tensor, image: Tensor, steps: int) -> Tensor:
    """Maps float32 [C, H, W] after ``steps`` steps; image: float32 [3, H, W], normalized as for CLIP."""
    if not steps:
        return maps
    weights = affinity(image)
    for _ in range(steps):
        maps = _step(maps, weights)
    return maps


def affinity(image: Tensor) -> Tensor:
    """Weights of each pixel's neighbors, float32 [8 * dilations, H, W], which sum to 1.

    softmax over neighbors of the mean over channels of -|difference| / (0.1 std), std over all pixels looked at.
    """
    around = torch.stack([_shifted(image, place, dilation) for dilation in DILATIONS for place in _AROUND])
    near = torch.stack([_shifted(image, place, dilation) for dilation in DILATIONS for place in _NEIGHBOURS])
    distance = (near - image).abs() / (0.1 * around.std(dim=0) + 1e-8)
    return (-distance.mean(dim=1)).softmax(dim=0)


def _step(maps: Tensor, weights: Tensor) -> Tensor:
    # One neighbor at a time: all of them at once would take 16 times the memory of the maps.
    places = [(place, dilation) for dilation in DILATIONS for place in _NEIGHBOURS]
    result = torch.zeros_like(maps)
    for weight, (place, dilation) in zip(weights, places, strict=True):
        result += weight * _shifted(maps, place, dilation)
    return result


def _shifted(maps: Tensor, place: tuple[int, int], dilation: int) -> Tensor:
    """[C, H, W] whose pixel (y, x) is that at (y + dy * dilation, x + dx * dilation), the border repeated outside."""
    height, width = maps.shape[-2:]
    spread = F.pad(maps[None], (dilation,) * 4, mode="replicate")[0]
    top, left = (dilation * (1 + step) for step in place)
    return spread[:, top : top + height, left : left + width]
