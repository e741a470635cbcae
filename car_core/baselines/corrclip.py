"""CorrCLIP: patches attend within SAM's masks; all pixels of a mask take the most frequent label among them.

Zhang, Liu, Tang, "CorrCLIP: Reconstructing Patch Correlations in CLIP for Open-Vocabulary Semantic Segmentation", ICCV
2025, first version. Shapes: n windows, P = h w patches of DINO's grid, p of CLIP's, L = 1 + p tokens (class token
first), R regions, D width. In a window, or an image, pixels with the smallest region number count as in no region: 0 if
any pixel is in no mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from car_core.baselines.attention import split_heads
from car_core.baselines.dense import WindowConfig, WindowSegmenter, class_probabilities, label_pixels
from car_core.baselines.dino import DinoTrunk, TrunkConfig, load_trunk
from car_core.baselines.proxyclip import PADDED_TO, spread_values
from car_core.baselines.windows import mean_of_windows, padded_around
from car_core.config import Positive, SAMMasksConfig, Unit
from car_core.engine.device import timed
from car_core.errors import ModelError
from car_core.images import resize_maps, size_of
from car_core.models.clip import normalization_of
from car_core.models.vit_blocks import finish_block
from car_core.models.weights import WeightsRecord
from car_core.refine.sam import MaskSource, load_sam
from car_core.segmentation import Segmentation
from support.arrays import BoolArray, RGBArray

_PADDING = 10_000  # the region of the padding
_SPATIAL_BLOCKS = {12: 5, 24: 12, 32: 28}  # by the blocks of the tower


class RegionsConfig(SAMMasksConfig):
    """SAM's masks as in CorrCLIP: one for each of few points, and most are kept."""

    SINGLE: ClassVar[bool] = True

    points_per_side: int = Field(default=8, ge=1, le=256, description="points of the grid along each side")
    pred_iou_threshold: Unit = Field(default=0.4, description="least IoU that SAM predicts for a mask")
    stability_threshold: Unit = Field(default=0.4, description="least IoU of a mask cut a little higher and lower")


class CorrCLIPConfig(TrunkConfig, WindowConfig):
    """CorrCLIP: windows as large as the image is short (336 pixels for CLIP's ViT-B/16), 112 apart."""

    CROP: ClassVar[float] = 1.5
    STRIDES: ClassVar[int] = 3

    method: Literal["corrclip"] = "corrclip"
    sam: RegionsConfig | None = Field(default=None, description="SAM whose masks are the regions; must be given")
    logit_scale: Positive = Field(default=40.0, description="factor of the cosines before the softmax over all words")
    prob_threshold: Unit = Field(default=0.0, description="pixels whose best class is less probable are background")
    merge_distance: Unit = Field(default=0.2, description="regions are merged along steps of at most this (epsilon)")
    tau: Positive = Field(default=4.0, description="factor of the similarities before the softmax")
    spatial_share: float = Field(default=1.0, ge=0, le=10, description="factor of the spatial branch (alpha)")
    semantic_share: float = Field(default=0.5, ge=0, le=10, description="factor of the semantic branch (beta)")


class CorrCLIPSegmenter(WindowSegmenter[CorrCLIPConfig]):
    """Patches of ``dino``'s grid that attend within the regions of ``masks``."""

    def __init__(
        self,
        config: CorrCLIPConfig,
        *,
        clip: Any,
        dino: DinoTrunk,
        masks: MaskSource,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(config, clip=clip, device=device)
        self._dino, self._masks = dino, masks
        self._regions = torch.zeros(0, 0)  # of the current image, [H, W]

    def segment_image(self, image: RGBArray, queries: tuple[str, ...]) -> Segmentation:
        seconds = dict[str, float]()
        with timed("sam", self.device, seconds):
            self._regions = region_map(self._masks.masks(image)).to(self.device)
        found = super().segment_image(image, queries)
        return replace(found, seconds={**seconds, **found.seconds})

    def class_maps(self, image: RGBArray, words: Tensor, sizes: Sequence[int]) -> Tensor:
        return class_probabilities(self.cosines(image, words, self._regions) * self.config.logit_scale, sizes)

    def labels(self, classes: Tensor) -> Tensor:
        return most_frequent(label_pixels(classes, self.config.prob_threshold, 0), self._regions, len(classes))

    def cosines(self, image: RGBArray, words: Tensor, regions: Tensor) -> Tensor:
        """Similarity of every pixel to every word, float32 [words, H, W], from unit features [words, E] and the regions
        of pixels, int64 [H, W]."""
        pixels, slices = self.windows(image)
        seen = nearest(regions[None], (pixels.shape[1], pixels.shape[2]))[0]
        maps = []
        for i in range(0, len(slices), self.chunk):
            part = slices[i : i + self.chunk]
            own, numbers, inner = self.padded(
                torch.stack([pixels[:, rows, columns] for rows, columns in part]),
                torch.stack([seen[rows, columns] for rows, columns in part]),
            )
            features, grid = self.features(own, numbers)
            found = (F.normalize(features, dim=-1) @ words.T).mT.unflatten(-1, grid)
            maps.append(resize_maps(found, (own.shape[2], own.shape[3]))[:, :, inner[0], inner[1]])
        mean = mean_of_windows(torch.cat(maps), slices, (pixels.shape[1], pixels.shape[2]))
        return resize_maps(mean, size_of(image))

    def padded(self, windows: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, tuple[slice, slice]]:
        """Windows [n, 3, h, w] and regions [n, h, w] padded on all sides; rows and columns inside the padding."""
        height, width = self._dino.patch
        side = math.lcm(PADDED_TO, height), math.lcm(PADDED_TO, width)
        whole, rows, columns = padded_around(windows, side)
        return whole, padded_around(regions - _PADDING, side)[0] + _PADDING, (rows, columns)

    def features(self, pixels: Tensor, regions: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Features [n, P, E] of images [n, 3, height, width] whose pixels are in regions [n, height, width], and the
        grid h x w = P."""
        alike, grid = self.alike(pixels)
        numbers = [
            merged(*pair, self.config.merge_distance) for pair in zip(nearest(regions, grid), alike, strict=True)
        ]
        branches = self.branches(pixels, alike, torch.stack(numbers).unflatten(1, grid))
        main, spatial, semantic = (self.visual.ln_post(branch) for branch in branches)
        mixed = main + self.config.spatial_share * spatial + self.config.semantic_share * semantic
        return mixed @ self.visual.proj, grid

    def alike(self, pixels: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """DINO's unit features [n, P, C], whose cosines measure how alike patches are, and the grid h x w = P."""
        query, key, _ = self._dino.qkv(self._dino.normalized(pixels, normalization_of(self.visual)))
        height, width = self._dino.patch
        return F.normalize(query + key, dim=-1), (pixels.shape[2] // height, pixels.shape[3] // width)

    def branches(self, pixels: Tensor, alike: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output of the last block, [n, P, D], in the main, the spatial and the semantic branch.

        alike: unit features [n, P, C]. regions: int64 [n, h, w].
        """
        hidden, own_grid = self.hidden(pixels)
        weights = scope(alike @ alike.mT, regions.flatten(1), self.config.tau)
        depth, block = len(hidden), self.visual.transformer.resblocks[-1]
        count = _SPATIAL_BLOCKS.get(depth, max(depth - 4, 1))
        below = torch.stack(hidden[-1 - count : -1] or hidden).mean(dim=0)
        grid = regions.shape[1], regions.shape[2]
        main, spatial = (spread_values(block, tokens, own_grid, weights, grid) for tokens in (hidden[-1], below))
        return main, spatial, self._semantic(hidden, regions, own_grid)

    def _semantic(self, hidden: list[Tensor], regions: Tensor, own_grid: tuple[int, int]) -> Tensor:
        """[n, P, D]: for each patch its region's token: a class token that attended only to patches of this region.

        As in the authors' code, CLIP's coarser grid also determines which patches of DINO's belong to a region.
        """
        index = torch.stack([own.unique(return_inverse=True)[1] for own in nearest(regions, own_grid)])
        inside = F.one_hot(index.flatten(1)).mT.bool()  # [n, R, p]; in windows with fewer regions, the last are empty
        seen = F.pad(inside, (1, 0), value=True)[:, None]
        copies = hidden[0][:, :1].expand(-1, inside.shape[1], -1)
        for tokens, block in zip(hidden, self.visual.transformer.resblocks, strict=True):
            query = split_heads(block, copies)[0]
            _, key, value = split_heads(block, tokens)
            weights = (query @ key.mT).masked_fill(~seen, -math.inf).softmax(dim=-1)
            copies = finish_block(block, copies, weights @ value)
        fine = nearest(index, (regions.shape[1], regions.shape[2])).flatten(1)
        return copies.gather(1, fine[..., None].expand(-1, -1, copies.shape[2]))


def region_map(masks: BoolArray) -> Tensor:
    """The region of each pixel, int64 [H, W], from masks [M, H, W], larger ones over smaller ones; 0: in none."""
    regions = np.zeros(masks.shape[1:], np.int64)
    for number, i in enumerate(masks.sum(axis=(1, 2)).argsort(kind="stable"), 1):
        regions[masks[i]] = number
    return torch.from_numpy(regions)


def nearest(numbers: Tensor, size: tuple[int, int]) -> Tensor:
    """Whole numbers [n, h, w] resized to the nearest ones."""
    return F.interpolate(numbers[:, None].float(), size=size, mode="nearest")[:, 0].to(numbers.dtype)


def merged(regions: Tensor, alike: Tensor, distance: float) -> Tensor:
    """Regions int64 [P] of the patches of a window [h, w], joined where their mean features are alike.

    alike: unit features [P, C]. Distances are differences from the largest cosine of two means, those with themselves
    included; steps of at most ``distance`` join. In a window of two regions none are joined; patches in none stay so.
    """
    values, index = regions.flatten().unique(return_inverse=True)
    if len(values) < 3:
        return regions.flatten()
    means = F.normalize(F.one_hot(index).to(alike).T @ alike, dim=1)[1:]
    cosines = means @ means.T
    _, clusters = connected_components((cosines.max() - cosines <= distance).cpu().numpy(), directed=False)
    joined = values[-1] + 1 + torch.from_numpy(clusters).to(values)
    return torch.cat([values[:1], joined])[index]


def scope(cosines: Tensor, regions: Tensor, tau: float) -> Tensor:
    """Weights [n, P, P] of patches that attend within regions int64 [n, P], from the cosines of their features.

    To and from patches in no region, attention is by similarity: where the cosine exceeds the mean of the window. A
    patch attends to itself in any case, because in a flat window there may be no other.
    """
    outside = regions == regions.amin(dim=1, keepdim=True)
    similar = cosines > cosines.mean(dim=(1, 2), keepdim=True)
    same = regions[:, :, None] == regions[:, None]
    seen = torch.where(outside[:, :, None] | outside[:, None], similar, same)
    seen |= torch.eye(seen.shape[1], dtype=torch.bool, device=seen.device)
    return (tau * cosines).masked_fill(~seen, -math.inf).softmax(dim=-1)


def most_frequent(labels: Tensor, regions: Tensor, classes: int) -> Tensor:
    """Labels int64 [H, W] below ``classes``, each region's replaced by their most frequent, the first of equals."""
    values, index = regions.unique(return_inverse=True)
    counts = (index * classes + labels).flatten().bincount(minlength=len(values) * classes)
    return torch.where(index == 0, labels, counts.view(-1, classes).argmax(dim=1)[index])


def load_trunk_and_sam(
    config: CorrCLIPConfig, *, device: str | torch.device = "cpu"
) -> tuple[dict[str, Any], tuple[WeightsRecord, ...]]:
    """The models other than CLIP that a configuration names, ``dino`` and ``masks``, and the records of their weights.

    Raises ModelError.
    """
    if config.sam is None:
        raise ModelError(
            "sam: expected a SAM, whose masks are corrclip's regions, found none; "
            "pass --sam facebook/sam2-hiera-large, another hub name, a folder, or random:SEED for trials"
        )
    models, records = load_trunk(config, device=device)
    models["masks"], record = load_sam(config.sam, device=device)
    return models, (*records, record)
