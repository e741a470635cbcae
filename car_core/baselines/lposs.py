"""LPOSS: class scores spread over a graph of all patches of an image; LPOSS+: also over one of its pixels.

Stojnić et al., "LPOSS: Label Propagation Over Patches and Pixels for Open-Vocabulary Semantic Segmentation", CVPR 2025.
Shapes: n windows, P patches each, N = n P nodes, K words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from car_core.baselines.attention import split_heads
from car_core.baselines.dense import WindowConfig, WindowSegmenter
from car_core.baselines.dino import DinoModel, DinoTrunk, TrunkConfig
from car_core.baselines.windows import mean_of_windows, padded
from car_core.config import Positive, Unit
from car_core.errors import ModelError
from car_core.images import resize_maps, size_of
from car_core.models.clip import normalize
from car_core.models.vit_blocks import finish_block
from support.arrays import Float64Array, RGBArray

_ITERATIONS, _TOLERANCE = 10, 1e-6  # of conjugate gradients
_ROWS = 4096  # of the cosines between nodes that are in memory at once
_LAB_SCALE = (100.0, 128.0, 128.0)
# Linear RGB to XYZ of white D65, both by IEC 61966-2-1, and D65.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


class LPOSSConfig(TrunkConfig, WindowConfig):
    """LPOSS: one setting for all benchmarks; no softmax and no threshold."""

    SHORT_SIDE: ClassVar[float] = 2.0
    ROUNDED: ClassVar[bool] = False

    method: Literal["lposs"] = "lposs"
    pixels: bool = Field(default=False, description="LPOSS+: refine on a graph of the resized image's pixels")
    dino_model: DinoModel = "vit_base_patch16_224.dino"
    positions: Literal["scale_factor", "size"] = Field(
        default="size", description="as for the others; its authors' way"
    )
    nearest: int = Field(default=400, ge=2, le=100_000, description="most similar patches that a patch is joined with")
    gamma: Positive = Field(default=3.0, description="exponent of the similarities")
    distance_scale: float = Field(
        default=0.01, ge=0, le=10, description="edges fall by exp(-this * distance in pixels)"
    )
    alpha: Unit = Field(default=0.95, description="share of a score that comes from neighbors")
    radius: int = Field(default=6, ge=1, le=50, description="neighborhood of a pixel in LPOSS+, pixels")
    tau: Positive = Field(default=0.01, description="temperature of color differences in LPOSS+")


class LPOSSSegmenter(WindowSegmenter[LPOSSConfig]):
    """Scores of MaskCLIP's patches, spread by how alike patches are to ``dino``."""

    absent: ClassVar[float] = -math.inf

    def __init__(self, config: LPOSSConfig, *, clip: Any, dino: DinoTrunk, device: str | torch.device = "cpu") -> None:
        super().__init__(config, clip=clip, device=device)
        if dino.patch != self.patch:
            raise ModelError(f"dino_model: expected CLIP's patches of {self.patch[0]} pixels, found {dino.patch[0]}")
        self._dino = dino

    def class_maps(self, image: RGBArray, words: Tensor, sizes: Sequence[int]) -> Tensor:
        pixels, slices = self.windows(image)
        windows = torch.stack([pixels[:, rows, columns] for rows, columns in slices])
        whole, black = padded(windows, self.patch), normalize(windows.new_zeros(3, 1, 1), self.normalization)
        whole[:, :, windows.shape[2] :] = black  # its authors pad images before they normalize them
        whole[:, :, :, windows.shape[3] :] = black
        cosines, values, grid = self.nodes(whole, words)
        matrix = patch_graph(values.cpu(), patch_centers(slices, grid, self.patch), self.config)
        scores = spread(matrix, cosines.double().cpu().numpy(), self.config.alpha)
        maps = torch.from_numpy(scores).float().to(self.device).unflatten(0, (len(slices), -1)).mT.unflatten(-1, grid)
        full = resize_maps(maps, (windows.shape[2], windows.shape[3]))
        stitched = mean_of_windows(full, slices, (pixels.shape[1], pixels.shape[2]))
        if self.config.pixels:
            graph = pixel_graph(self.resized(image), self.config.radius, self.config.tau)
            flat = spread(graph, stitched.flatten(1).T.double().cpu().numpy(), self.config.alpha)
            stitched = torch.from_numpy(flat.T).float().view_as(stitched).to(stitched)
        classes = torch.stack([part.amax(dim=0) for part in stitched.split(list(sizes))])
        return resize_maps(classes, size_of(image))

    def labels(self, classes: Tensor) -> Tensor:
        return classes.argmax(dim=0)

    def nodes(self, windows: Tensor, words: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Cosines [N, K] with the words, DINO's unit values [N, C], and the grid of a window [n, 3, h, w]."""
        block, cosines, values, grid = self.visual.transformer.resblocks[-1], list[Tensor](), list[Tensor](), (0, 0)
        for part in windows.split(self.chunk):
            tokens, grid = self.tokens(part)
            tokens = finish_block(block, tokens, split_heads(block, tokens)[2])  # MaskCLIP's attention
            cosines.append((self.embedded(tokens[:, 1:]) @ words.T).flatten(0, 1))
            *_, value = self._dino.qkv(self._dino.normalized(part, self.normalization))
            values.append(F.normalize(value, dim=-1).flatten(0, 1))
        return torch.cat(cosines), torch.cat(values), grid


def patch_centers(slices: Sequence[tuple[slice, slice]], grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """Where the patches of all windows are in the resized image: float32 [N, 2], pixels."""
    rows, columns = ((torch.arange(n) + 0.5) * side for n, side in zip(grid, patch, strict=True))
    inside = torch.cartesian_prod(rows, columns)
    return torch.cat([inside + inside.new_tensor([top.start, left.start]) for top, left in slices])


def patch_graph(values: Tensor, centers: Tensor, config: LPOSSConfig) -> scipy.sparse.csr_matrix:
    """W [N, N] from unit values [N, C] and centers [N, 2]: normalized weights of each node's most similar ones."""
    columns, weights = list[Tensor](), list[Tensor]()
    for part, here in zip(values.split(_ROWS), centers.split(_ROWS), strict=True):
        cosines, nearest = (part @ values.T).topk(min(config.nearest, len(values)), dim=1)
        distances = (here[:, None] - centers[nearest]).square().sum(dim=-1).sqrt()
        columns.append(nearest)
        weights.append(cosines.clamp(min=0) ** config.gamma * torch.exp(-config.distance_scale * distances))
    indices, data = torch.cat(columns).numpy(), torch.cat(weights).numpy()
    starts = np.arange(0, indices.size + 1, indices.shape[1])
    one_way = scipy.sparse.csr_matrix((data.ravel(), indices.ravel(), starts), shape=(len(values),) * 2)
    return _normalized(one_way)


def spread(matrix: scipy.sparse.csr_matrix, scores: Float64Array, alpha: float) -> Float64Array:
    """z [N, K] of (I - alpha W) z = scores after ten steps of conjugate gradients, each column independently.

    As in the authors' code, it ends after the tenth step, converged or not.
    """
    z = np.zeros_like(scores)
    residual = scores.copy()
    direction = residual.copy()
    squared = (residual**2).sum(axis=0)
    enough = (_TOLERANCE**2) * squared
    for _ in range(_ITERATIONS):
        active = squared > enough
        if not active.any():
            break
        product = direction - alpha * (matrix @ direction)
        step = np.divide(squared, (direction * product).sum(axis=0), out=np.zeros_like(squared), where=active)
        z += step * direction
        residual -= step * product
        new = (residual**2).sum(axis=0)
        direction = residual + np.divide(new, squared, out=np.zeros_like(new), where=active) * direction
        squared = np.where(active, new, squared)
    return z


def pixel_graph(image: RGBArray, radius: int, tau: float) -> scipy.sparse.csr_matrix:
    """W [H W, H W] of an image, uint8 [H, W, 3]: normalized weights of each pixel's square of neighbors, by color."""
    height, width = image.shape[:2]
    lab = (to_lab(image) / np.array(_LAB_SCALE)).astype(np.float32)
    indices = np.arange(height * width, dtype=np.int32).reshape(height, width)
    rows, columns, weights = [], [], []
    for dy in range(radius + 1):
        for dx in range(-radius if dy else 1, radius + 1):
            here = slice(0, max(height - dy, 0)), slice(max(0, -dx), max(width - max(0, dx), 0))
            there = slice(dy, height), slice(max(0, dx), max(width + min(0, dx), 0))
            difference = np.sqrt(((lab[here] - lab[there]) ** 2).sum(axis=-1))
            rows.append(indices[here].ravel())
            columns.append(indices[there].ravel())
            weights.append(np.exp(-difference / tau).ravel())
    edges = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    return _normalized(scipy.sparse.csr_matrix(edges, shape=(indices.size,) * 2))


def _normalized(one_way: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """D^-1/2 (W + W^T) D^-1/2 without loops; a node without neighbors keeps none."""
    both = (one_way + one_way.T).astype(np.float64)
    both.setdiag(0)
    both.eliminate_zeros()
    sums = np.asarray(both.sum(axis=1)).ravel()
    scale = scipy.sparse.diags(np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0))
    return scipy.sparse.csr_matrix(scale @ both @ scale)


def to_lab(image: RGBArray) -> Float64Array:
    """CIE L*a*b* under D65 of sRGB, float64 [H, W, 3]."""
    rgb = image / 255.0
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ np.array(_XYZ).T / np.array(_WHITE)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
