"""ResCLIP: the last block's attention mixed with that of earlier blocks, then with where a first pass found one class.

Yang et al., "ResCLIP: Residual Attention for Training-free Dense Vision-language Inference", CVPR 2025. Blocks are
counted from 1, in a tower of 12. Shapes: n windows, P = h w patches, L = 1 + P tokens (class token first), H heads.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.attention import join_heads, neighborhood, split_heads
from car_core.baselines.dense import DenseConfig, DenseSegmenter
from car_core.baselines.pamr import refine_maps
from car_core.config import Positive, Unit
from car_core.images import resize_maps

_FIRST_PASS_PAMR = 10  # steps


class ResCLIPConfig(DenseConfig):
    """ResCLIP over NACLIP's last block. Factors and shares differ from benchmark to benchmark."""

    method: Literal["resclip"] = "resclip"
    gaussian_std: Positive = Field(default=5.0, description="standard deviation of the neighborhood, patches")
    cross_blocks: tuple[int, int] = Field(
        default=(6, 9), description="first and last block whose attention is mixed in (of 12)"
    )
    cross_factor: Positive = Field(default=2.0, description="factor of the attention after mixing (tau)")
    cross_share: Unit = Field(default=0.4, description="share of the earlier blocks' attention (lambda)")
    feedback_factor: Positive = Field(default=1.8, description="factor of the logits after mixing (tau)")
    feedback_share: Unit = Field(default=0.7, description="share of the first pass in the logits (lambda)")
    first_threshold: Unit = Field(
        default=0.25, description="in the first pass, pixels whose best word is less probable take the first word"
    )


class ResCLIPSegmenter(DenseSegmenter[ResCLIPConfig]):
    """Two passes through the last block: the second knows what the first found."""

    def patch_features(self, pixels: Tensor, windows: Tensor, words: Tensor) -> tuple[Tensor, tuple[int, int]]:
        hidden, grid = self.hidden(pixels)
        first = self._features(hidden, grid, None)
        is_whole = all(side <= own for side, own in zip(pixels.shape[2:], windows.shape[2:], strict=True))
        seen = windows if is_whole else pixels
        maps = resize_maps((first @ words.T).mT.unflatten(-1, grid), (seen.shape[2], seen.shape[3]))
        labels = torch.stack([self._labels(*pair, grid) for pair in zip(maps, seen, strict=True)])
        feedback = torch.stack([same_class(own, self.config.gaussian_std) for own in labels])
        return self._features(hidden, grid, feedback), grid

    def _labels(self, maps: Tensor, window: Tensor, grid: tuple[int, int]) -> Tensor:
        """The most frequent word of each patch, int64 [h, w], from cosines [words, H, W] of a window [3, H, W]."""
        refined = refine_maps(maps, window, _FIRST_PASS_PAMR)
        best, words = (refined * self.config.logit_scale).softmax(dim=0).max(dim=0)
        words = torch.where(best < self.config.first_threshold, 0, words)
        height, width = self.visual.patch_size
        cut = words[: grid[0] * height, : grid[1] * width]
        patches = cut.unflatten(0, (-1, height)).unflatten(2, (-1, width)).transpose(1, 2).flatten(2)
        counts = torch.zeros(*grid, len(maps), dtype=torch.int64, device=maps.device)
        counts.scatter_add_(2, patches, torch.ones_like(patches))
        return counts.argmax(dim=-1)  # the first of equals

    def _features(self, hidden: list[Tensor], grid: tuple[int, int], feedback: Tensor | None) -> Tensor:
        """Unit features [n, P, E] of the last block; feedback: of the first pass, [n, P, P]."""
        config, block = self.config, self.visual.transformer.resblocks[-1]
        _, key, value = split_heads(block, hidden[-1])
        logits, near = key @ key.mT, neighborhood(grid, config.gaussian_std).to(key)
        if feedback is not None:
            padded = F.pad(feedback, (1, 0, 1, 0))[:, None]
            share = config.feedback_share
            logits = config.feedback_factor * ((1 - share) * logits + share * padded)
        weights = (logits + near).softmax(dim=-1)
        cross = list[Tensor]()  # the attention of earlier blocks
        first, last = (self.block_in_proportion(block, least=2) for block in config.cross_blocks)
        blocks = self.visual.transformer.resblocks[first - 1 : last]
        for earlier, tokens in zip(blocks, hidden[first - 1 : last], strict=True):
            query, key, _ = split_heads(earlier, tokens)
            cross.append((query @ key.mT).softmax(dim=-1))
        share = config.cross_share
        weights = config.cross_factor * ((1 - share) * weights + share * torch.stack(cross).mean(dim=0))
        return self.embedded(join_heads(block, weights @ value)[:, 1:])


def same_class(labels: Tensor, std: float) -> Tensor:
    """[P, P]: how much patch j belongs to what patch i is of, at most 1, from the labels of patches, int64 [h, w].

    1 for patches of one label, less with their distance where the line from i to j leaves it near i; smoothed along
    rows by a Gaussian of this standard deviation, rows normalized.
    """
    height, width = labels.shape
    flat, most = labels.flatten(), max(height, width) - 1
    ys, xs = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, (height, width)), indexing="ij"))
    ys, xs = ys.to(labels.device), xs.to(labels.device)
    steps = torch.maximum((ys[:, None] - ys).abs(), (xs[:, None] - xs).abs())
    leaves = torch.zeros(len(flat), len(flat), dtype=torch.bool, device=labels.device)
    # As in the release, lines are cut in as many parts for near pairs as for far ones, and near ones end early. Points
    # halfway between two patches go to the one that float32 says, so the order of these operations matters, and the
    # shares are the CPU's on any device.
    for part, share in enumerate(torch.linspace(0, 1, most + 1).to(labels.device)):
        row, column = ((own[:, None] * (1 - share) + own * share).round().long() for own in (ys, xs))
        leaves |= (labels[row, column] != flat[:, None]) & (steps >= part)
    same = (flat[:, None] == flat).float()
    same = torch.where(leaves, same * torch.exp(-steps / max(most, 1)), same)
    size = min(len(flat), int(6 * std) + 1)
    size += size % 2 == 0
    offsets = torch.arange(size, device=labels.device) - size // 2
    kernel = torch.exp(-offsets.square() / (2 * std**2))
    smoothed = F.conv1d(same[:, None], (kernel / kernel.sum())[None, None], padding=size // 2)[:, 0]
    smoothed = smoothed / (smoothed.sum(dim=-1, keepdim=True) + 1e-8)
    return smoothed / smoothed.max()
