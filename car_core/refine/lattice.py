"""Mean-field inference of the dense CRF in torch, on any device, with the filter that pydensecrf uses.

The Gaussian kernels are those of the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010), not exact ones:
results of pydensecrf contain the lattice's approximation, too. The exact kernel has the square of the number of pixels
as values, 3.5e10 per iteration for an image of VOC's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from car_core.config import CRFConfig
from support.arrays import Int64Array, RGBArray

Inference: TypeAlias = Callable[[npt.NDArray[np.float32]], Int64Array]
"""Mean-field inference over one image: the likeliest label per pixel, int64 [H * W], from `crf.unary_energies` [labels,
H * W], labels >= 2."""


@dataclass(frozen=True)
class Lattice:
    """n points of d dimensions on the lattice's M vertices that any of them touches; S = d + 1.

    Splatting adds in the order of the vertices, so that results are the same bits on every run.
    """

    vertices: Tensor  # int64 [n, S], the corners of each point's simplex
    weights: Tensor  # float32 [n, S], barycentric
    order: Tensor  # int64 [n * S], corners sorted by their vertex
    counts: Tensor  # int64 [M], corners at each vertex
    neighbors: Tensor  # int64 [S, 2, M], along each axis; M if there is none

    @classmethod
    def from_points(cls, points: Tensor) -> Lattice:
        """The lattice under points float32 [n, d], one standard deviation long in every dimension.

        Raises ValueError if the points spread over more vertices than can be numbered.
        """
        corners, weights = _simplices(points)
        flat, margin = corners.flatten(0, 1), corners.shape[1]  # a neighbor is at most d away
        low, spans = flat.amin(0) - margin, (flat.amax(0) - flat.amin(0) + 2 * margin + 1).tolist()
        if math.prod(spans) >= 2**63:
            raise ValueError(f"crf: expected kernels wide enough for the image, found a lattice of {spans} vertices")
        # How far apart the numbers are of corners one step apart along each of d coordinates.
        strides = torch.tensor([math.prod(spans[i + 1 :]) for i in range(len(spans))], device=corners.device)
        numbers = ((corners - low) * strides).sum(dim=2)
        known, vertices, counts = torch.unique(numbers, return_inverse=True, return_counts=True)
        axes = -strides.sum() + torch.cat([strides, strides.new_zeros(1)]) * weights.shape[1]
        sought = known + torch.stack([axes, -axes], dim=1)[..., None]
        found = torch.searchsorted(known, sought).clamp_(max=len(known) - 1)
        neighbors = torch.where(known[found] == sought, found, len(known))
        return cls(vertices, weights, vertices.flatten().argsort(stable=True), counts, neighbors)

    def filter(self, values: Tensor) -> Tensor:
        """Values float32 [n, L] blurred with a Gaussian of standard deviation 1, not normalized."""
        sides = self.weights.shape[1]
        splatted = self.weights.flatten()[self.order, None] * values[self.order // sides]
        blurred = torch.segment_reduce(splatted, "sum", lengths=self.counts, axis=0, unsafe=True)
        for before, after in self.neighbors:
            padded = torch.cat([blurred, blurred.new_zeros(1, blurred.shape[1])])
            blurred = blurred + 0.5 * (padded[before] + padded[after])
        gathered = (self.weights[..., None] * blurred[self.vertices]).sum(dim=1)
        return gathered / (1 + 2.0 ** (1 - sides))


def _simplices(points: Tensor) -> tuple[Tensor, Tensor]:
    """Corners int64 [n, S, d] (their last coordinate follows from the others) and barycentric weights [n, S]."""
    n, d = points.shape
    sides = d + 1
    # Elevated to the hyperplane of coordinates that sum to 0, [n, d + 1], scaled for a blur of deviation 1.
    axis = torch.arange(d, device=points.device, dtype=points.dtype)
    scaled = points * (math.sqrt(2 / 3) * sides / ((axis + 1) * (axis + 2)).sqrt())
    from_here = scaled.flip(1).cumsum(1).flip(1)  # sum of this coordinate and those after it
    after = torch.cat([from_here[:, 1:], from_here.new_zeros(n, 1)], dim=1)
    elevated = torch.cat([from_here[:, :1], after - (axis + 1) * scaled], dim=1)
    rounded = (elevated / sides).round()
    nearest, rest = rounded * sides, elevated - rounded * sides
    # Rank of each coordinate by its distance, largest first, ties by index.
    rank = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + rounded.sum(dim=1, keepdim=True).long()
    wrapped = (rank < 0).long() - (rank > d).long()
    rank, nearest = rank + wrapped * sides, nearest + wrapped * sides
    delta = (elevated - nearest) / sides
    weights = points.new_zeros(n, sides + 1)
    weights.scatter_add_(1, d - rank, delta)
    weights.scatter_add_(1, sides - rank, -delta)
    weights[:, 0] += 1 + weights[:, sides]
    remainder = torch.arange(sides, device=points.device)[None, :, None]
    step = remainder - sides * (rank[:, None, :d] > d - remainder)
    return nearest[:, None, :d].long() + step, weights[:, :sides].contiguous()


@torch.inference_mode()
def by_torch(image: RGBArray, n_labels: int, config: CRFConfig, device: str = "cpu") -> Inference:
    """Inference over an image uint8 [H, W, 3], the bilateral kernel's, on a device; for any number of labels."""
    colors = torch.from_numpy(image.reshape(-1, 3).astype(np.float32)).to(device) / config.bilateral_srgb
    rows, columns = torch.meshgrid(*map(torch.arange, image.shape[:2]), indexing="ij")
    xy = [axis.flatten().float().to(device) for axis in (columns, rows)]
    near = [axis / config.gaussian_sxy for axis in xy]
    alike = [*(axis / config.bilateral_sxy for axis in xy), *colors.unbind(1)]
    kernels = []  # between all pixels, symmetrically normalized as pydensecrf's NORMALIZE_SYMMETRIC
    for features, weight in ((near, config.gaussian_weight), (alike, config.bilateral_weight)):
        lattice = Lattice.from_points(torch.stack(features, dim=1))
        norm = lattice.filter(features[0].new_ones(len(features[0]), 1))
        kernels.append((lattice, (norm + 1e-20).rsqrt(), weight))

    @torch.inference_mode()
    def infer(energies: npt.NDArray[np.float32]) -> Int64Array:
        log_unary = torch.from_numpy(-energies).to(device).T.contiguous()
        marginals = log_unary.softmax(dim=1)
        for _ in range(config.iterations):
            # The kernels' terms in each label's log-probability under the Potts model, [n, L].
            terms = (weight * scale * lattice.filter(marginals * scale) for lattice, scale, weight in kernels)
            marginals = (log_unary + sum(terms)).softmax(dim=1)
        labels: Int64Array = marginals.argmax(dim=1).cpu().numpy()
        return labels

    return infer
