"""ProxyCLIP: patches attend to those that look alike to a DINO trunk, without residual and feed-forward network.

Lan et al., "ProxyCLIP: Proxy Attention Improves CLIP for Open-Vocabulary Segmentation", ECCV 2024.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.attention import above_mean, join_heads, split_heads
from car_core.baselines.dense import DenseConfig, DenseSegmenter
from car_core.baselines.dino import DinoTrunk, TrunkConfig
from car_core.config import Positive
from car_core.images import resize_maps
from car_core.models.clip import normalization_of

PADDED_TO = 56  # a window's sides are multiples of it, pixels: for trunks with patches of 8 and 14


class ProxyCLIPConfig(TrunkConfig, DenseConfig):
    """ProxyCLIP: windows as large as the image is short (336 pixels for CLIP's ViT-B/16), 112 apart."""

    CROP: ClassVar[float] = 1.5
    STRIDES: ClassVar[int] = 3
    PADS: ClassVar[bool] = True

    method: Literal["proxyclip"] = "proxyclip"
    beta: Positive = Field(default=1.2, description="similarities below this times their mean are left out")
    gamma: Positive = Field(default=3.0, description="factor of the others before the softmax")


class ProxyCLIPSegmenter(DenseSegmenter[ProxyCLIPConfig]):
    """The features of CLIP's last values, spread over the patches of ``dino`` by how alike these are."""

    def __init__(
        self, config: ProxyCLIPConfig, *, clip: Any, dino: DinoTrunk, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, clip=clip, device=device)
        self._dino = dino
        self.patch = (PADDED_TO, PADDED_TO)

    def patch_features(self, pixels: Tensor, windows: Tensor, words: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """`DenseSegmenter.patch_features`, on DINO's grid.

        Neither trunk sees the rest of a side that is not a multiple of its patch.
        """
        tokens, own_grid = self.tokens(pixels)
        grid = pixels.shape[2] // self._dino.patch[0], pixels.shape[3] // self._dino.patch[1]
        height, width = (count * side for count, side in zip(grid, self._dino.patch, strict=True))
        seen = self._dino.normalized(pixels[..., :height, :width], normalization_of(self.visual))
        unit = F.normalize(self._dino.features(seen), dim=-1)
        weights = above_mean(unit @ unit.mT, self.config.beta, self.config.gamma)
        output = spread_values(self.visual.transformer.resblocks[-1], tokens, own_grid, weights, grid)
        return self.embedded(output), grid


def spread_values(
    block: Any, tokens: Tensor, own_grid: tuple[int, int], weights: Tensor, grid: tuple[int, int]
) -> Tensor:
    """A block's output [n, P, D] without residual connection and feed-forward network, on another grid than its own.

    tokens: its input [n, 1 + p, D], class token first, whose patches' values are resized bilinearly from ``own_grid``
    to ``grid``. weights: of every patch's attention to every other there, [n, P, P].
    """
    value = split_heads(block, tokens)[2][:, :, 1:]
    if own_grid != grid:
        maps = value.mT.flatten(0, 1).unflatten(-1, own_grid)
        value = resize_maps(maps, grid).flatten(2).mT.unflatten(0, value.shape[:2])
    return join_heads(block, weights[:, None] @ value)
