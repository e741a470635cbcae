"""SC-CLIP: outliers filled from their neighbors, patches averaged with those that look alike, levels added.

Bai et al., "Self-Calibrated CLIP for Training-Free Open-Vocabulary Segmentation", 2024 (arXiv:2411.15869). Blocks are
counted from 1, in a tower of 12. Shapes: n windows, P = h w patches, D width.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.attention import above_mean, join_heads, split_heads
from car_core.baselines.dense import DenseConfig, DenseSegmenter
from car_core.config import Positive, Unit

_EPS = 1e-6


class SCCLIPConfig(DenseConfig):
    """SC-CLIP, for towers of 12 blocks; blocks of deeper and shallower ones are chosen in proportion."""

    method: Literal["sc-clip"] = "sc-clip"
    outliers: Unit = Field(default=0.05, description="share of a window's patches that are outliers")
    neighbors: int = Field(default=30, ge=1, le=1000, description="neighbors that define the density around a patch")
    similarity_threshold: Unit = Field(default=0.4, description="cosines below it do not count when averaging")
    similar_block: int = Field(default=9, ge=1, description="block whose patches define similarity (of 12)")
    low_block: int = Field(default=4, ge=1, description="block whose patches do so at the end (of 12)")
    levels: tuple[int, int] = Field(default=(4, 10), description="first and last block of the levels added (of 12)")
    gamma: Positive = Field(default=3.0, description="factor of the similarities above their mean, before the softmax")
    class_share: float = Field(default=0.3, ge=0, le=10, description="factor of the class token added to every patch")


class SCCLIPSegmenter(DenseSegmenter[SCCLIPConfig]):
    """Patches of the last block after self-calibration."""

    def patch_features(self, pixels: Tensor, windows: Tensor, words: Tensor) -> tuple[Tensor, tuple[int, int]]:
        config, (hidden, grid) = self.config, self.hidden(pixels)
        last = hidden[-1][:, 1:]
        similar, low = (hidden[self.block_in_proportion(k)][:, 1:] for k in (config.similar_block, config.low_block))
        first, end = (self.block_in_proportion(k) for k in config.levels)
        levels = torch.stack(hidden[first : end + 1]).sum(dim=0)
        is_outlier = find_outliers(last, config.neighbors, config.outliers)
        alike = _cosines(fill(similar, is_outlier, grid))
        calibrated = average(fill(last, is_outlier, grid), alike, config.similarity_threshold)
        features = self._attend(calibrated, hidden[-1][:, :1], alike)
        features = average(features, _cosines(low), config.similarity_threshold)
        levels = self._attend(levels[:, 1:], levels[:, :1], alike)
        features = features + average(levels, _cosines(low), config.similarity_threshold)
        return self.embedded(features), grid

    def _attend(self, patches: Tensor, class_token: Tensor, alike: Tensor) -> Tensor:
        """[n, P, D]: attention half by keys, half by similarity; plus a share of the class token [n, 1, D]."""
        block = self.visual.transformer.resblocks[-1]
        _, key, value = split_heads(block, patches)
        by_likeness = above_mean(alike, 1.0, self.config.gamma)[:, None]
        weights = (by_likeness + (key @ key.mT).softmax(dim=-1)) / 2
        return join_heads(block, weights @ value) + self.config.class_share * class_token


def find_outliers(patches: Tensor, neighbors: int, share: float) -> Tensor:
    """bool [n, P]: those of patches [n, P, D] with far less dense surroundings than their nearest neighbors.

    A patch's score is its squared distance to the farthest of its neighbors, times the mean of the inverse of theirs.
    """
    squared = torch.cdist(patches, patches, compute_mode="donot_use_mm_for_euclid_dist").square()
    nearest = squared.topk(min(neighbors + 1, squared.shape[-1]), largest=False)
    reach = nearest.values[..., -1]
    of_neighbors = reach[:, None].expand_as(squared).gather(2, nearest.indices[..., 1:])
    scores = reach * of_neighbors.reciprocal().mean(dim=-1)
    return scores > scores.quantile(1 - share, dim=-1, keepdim=True)


def fill(patches: Tensor, is_outlier: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patches [n, P, D], each outlier replaced by the mean of its adjacent patches that are not outliers, if any."""
    is_sound = (~is_outlier).to(patches)[:, None].unflatten(-1, grid)
    maps = patches.mT.unflatten(-1, grid)
    ones = patches.new_ones(1, 1, 3, 3)
    count = F.conv2d(is_sound, ones, padding=1)
    total = F.conv2d((maps * is_sound).flatten(0, 1)[:, None], ones, padding=1).view_as(maps)
    replaced = (is_sound == 0) & (count > 0)
    return torch.where(replaced, total / count.clamp(min=1), maps).flatten(2).mT


def average(patches: Tensor, alike: Tensor, threshold: float) -> Tensor:
    """[n, P, D]: for each patch the mean of all, weighted by its cosines [n, P, P]; 0 below the threshold."""
    weights = alike.masked_fill(alike < threshold, 0)
    return weights / (weights.sum(dim=-1, keepdim=True) + _EPS) @ patches


def _cosines(patches: Tensor) -> Tensor:
    unit = F.normalize(patches, dim=-1)
    return unit @ unit.mT
