"""PAMR, pixel-adaptive mask refinement: maps averaged over neighbors of similar color.

Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020; with dilations 8 and 16, as in
SCLIP and NACLIP.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

DILATIONS = (8, 16)
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_NEIGHBORS = [offset for offset in _AROUND if offset != (0, 0)]


def refine_maps(maps: Tensor, image: Tensor, steps: int) -> Tensor:
    """Maps float32 [C, H, W] after ``steps`` steps; image: float32 [3, H, W], normalized as for CLIP."""
    if not steps:
        return maps
    weights = affinity(image)
    offsets = [(offset, dilation) for dilation in DILATIONS for offset in _NEIGHBORS]
    for _ in range(steps):
        result = torch.zeros_like(maps)
        # One neighbor at a time: all of them at once would take 16 times the memory of the maps.
        for weight, (offset, dilation) in zip(weights, offsets, strict=True):
            result += weight * _shifted(maps, offset, dilation)
        maps = result
    return maps


def affinity(image: Tensor) -> Tensor:
    """Weights of each pixel's neighbors, float32 [8 * dilations, H, W], which sum to 1.

    softmax over neighbors of the mean over channels of -|difference| / (0.1 std), std over all of these pixels.
    """
    around = torch.stack([_shifted(image, offset, dilation) for dilation in DILATIONS for offset in _AROUND])
    near = torch.stack([_shifted(image, offset, dilation) for dilation in DILATIONS for offset in _NEIGHBORS])
    distance = (near - image).abs() / (0.1 * around.std(dim=0) + 1e-8)
    return (-distance.mean(dim=1)).softmax(dim=0)


def _shifted(maps: Tensor, offset: tuple[int, int], dilation: int) -> Tensor:
    """[C, H, W] whose pixel (y, x) is the one at (y + dy * dilation, x + dx * dilation); the border is repeated."""
    height, width = maps.shape[-2:]
    padded = F.pad(maps[None], (dilation,) * 4, mode="replicate")[0]
    top, left = (dilation * (1 + step) for step in offset)
    return padded[:, top : top + height, left : left + width]
