"""The vision tower of f: CLIP's ViT on a whole image of any size, all blocks but the last.

Shapes: B images, L = 1 + P tokens (class token first), D tower width, h x w = P patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from car_core.config import CaRConfig
from car_core.engine.pillow_resize import resize
from car_core.engine.precision import in_precision
from car_core.images import size_of
from car_core.models.clip import embed, normalization_of, normalize
from car_core.models.vit_blocks import block_with_attention, residual_block
from car_core.proposal.affinity import AFFINITY_BLOCKS
from support.arrays import RGBArray


@dataclass(frozen=True)
class TrunkOutput:
    """The trunk's output for one image."""

    grid: tuple[int, int]  # h, w
    tokens: Tensor  # [L, D], input of the last block
    attention: Tensor  # [P, P], head-averaged attention among patches summed over the counted blocks but the last
    counted_blocks: int  # how many blocks `attention` sums


def proposal_size(height: int, width: int, patch: tuple[int, int], max_patches: int) -> tuple[int, int]:
    """Patch grid (h, w) of f: each side the smallest multiple of the patch size >= the original side.

    A grid of more than ``max_patches`` patches is shrunk, its aspect ratio kept to within a patch.
    """
    grid = math.ceil(height / patch[0]), math.ceil(width / patch[1])
    if grid[0] * grid[1] <= max_patches:
        return grid
    shrink = math.sqrt(max_patches / (grid[0] * grid[1]))
    rows = max(1, min(int(grid[0] * shrink), max_patches))
    return rows, max(1, min(int(grid[1] * shrink), max_patches // rows))


class ProposalTower:
    """The vision tower of f: CLIP's ViT on a whole image of any size, no crop. dtype: of the matrix products."""

    def __init__(self, model: Any, *, dtype: torch.dtype = torch.float32) -> None:
        self.visual = model.visual
        self._trunk = in_precision(model.visual, dtype)
        self.blocks = list(self.visual.transformer.resblocks)
        self.logit_scale: float = float(model.logit_scale.detach().exp())
        self._normalization = normalization_of(self.visual)

    def grid(self, image: RGBArray, max_patches: int) -> tuple[int, int]:
        """Patches (h, w) of an image uint8 [H, W, 3]."""
        return proposal_size(*size_of(image), self.visual.patch_size, max_patches)

    def preprocess(self, image: RGBArray, max_patches: int) -> Tensor:
        """uint8 [H, W, 3] to float32 [3, h * patch, w * patch] on the model's device, bicubic (antialiased),
        normalized."""
        rows, columns = self.grid(image, max_patches)
        patch = self.visual.patch_size
        resized = resize(image, (rows * patch[0], columns * patch[1]), self.visual.conv1.weight.device)
        return normalize(resized, self._normalization)

    @torch.inference_mode()
    def trunk(self, pixels: Tensor, config: CaRConfig) -> list[TrunkOutput]:
        """All blocks but the last on images of one size, float32 [B, 3, height, width], multiples of the patch size.

        Switches: ``positional_half``, ``cam``.
        """
        patch = self.visual.patch_size
        grid = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
        tokens = embed(self._trunk, pixels, self.positional_embedding(grid, half=config.positional_half))
        counted = min(AFFINITY_BLOCKS, len(self.blocks)) - 1 if config.cam == "clip-es" else 0
        attention = tokens.new_zeros(len(pixels), grid[0] * grid[1], grid[0] * grid[1])
        blocks = list(self._trunk.transformer.resblocks)[:-1]
        for block in blocks[: len(blocks) - counted]:
            tokens = residual_block(block, tokens)
        for block in blocks[len(blocks) - counted :]:
            tokens, weights = block_with_attention(block, tokens)
            attention += weights[:, 1:, 1:]
        return [TrunkOutput(grid, *each, counted) for each in zip(tokens, attention, strict=True)]

    def positional_embedding(self, grid: tuple[int, int], *, half: bool) -> Tensor:
        """[1 + h * w, D]: the class position kept, the grid resized bilinearly (align_corners off).

        half: whether the values are rounded to half precision.
        """
        embedding = self.visual.positional_embedding.detach()
        rows, columns = self.visual.grid_size
        square = embedding[1:].T.reshape(1, -1, rows, columns)
        resized = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)
        result = torch.cat([embedding[:1], resized.flatten(2)[0].T])
        return result.half().to(embedding) if half else result
