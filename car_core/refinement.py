"""Segmentations before their refinement, which needs no model and can run in another process.

An image's coarse segmentation has `RefineRequest`s; `refine_masks` answers each with a `RefineResult`; these complete
the segmentation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from car_core.config import CaRConfig, CRFConfig
from car_core.engine.precision import fresh_torch
from car_core.method import RecurrenceOutput, refine, to_segmentation
from car_core.refine.crf import KernelCache
from car_core.segmentation import Segmentation, join_passes
from support.arrays import BoolArray, Float32Array, PackedBits, RGBArray, unpacked


@dataclass(frozen=True)
class RefineRequest:
    """The arguments of `method.refine`: image uint8 [H, W, 3], survivors' proposals float32 [k, h, w] in [0, 1].

    device: where a CRF that can use one runs.
    """

    image: RGBArray = field(repr=False)
    proposals: Float32Array = field(repr=False)
    compete: bool
    crf: CRFConfig | None
    crf_image: str
    device: str

    @property
    def inputs(self) -> tuple[object, ...]:
        """All fields: the key of its masks in a `StageCache`."""
        return tuple(vars(self).values())


@dataclass(frozen=True)
class RefineResult:
    """Refined masks, and the seconds they took. Masks at the image's size are large, so they are packed."""

    bits: PackedBits
    shape: tuple[int, ...]
    seconds: float

    @property
    def masks(self) -> BoolArray:
        """Bool [k, H, W]."""
        return unpacked(self.bits, self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.bits.nbytes


@fresh_torch()
def refine_masks(request: RefineRequest, kernels: KernelCache | None = None) -> RefineResult:
    """Run `method.refine` and time it. The masks depend only on the request, whatever process runs it.

    kernels: of earlier requests, reused for those of the same image.
    """
    start = time.perf_counter()
    kernels = kernels or KernelCache()
    masks = refine(**vars(request), kernels=kernels)
    kernels.trim()
    return RefineResult(np.packbits(masks), masks.shape, time.perf_counter() - start)


@dataclass(frozen=True)
class CoarsePass:
    """One recurrence on an image, and how to refine it. candidates: SAM's masks [M, H, W], with ``config.sam``."""

    output: RecurrenceOutput
    request: RefineRequest
    config: CaRConfig
    seconds: dict[str, float]  # by stage
    candidates: BoolArray | None = None

    def segmentation(self, result: RefineResult) -> Segmentation:
        """The pass's segmentation with refined masks."""
        done = to_segmentation(self.request.image, self.output, result.masks, self.config, self.candidates)
        return replace(done, seconds={**self.seconds, "refine": result.seconds})


@dataclass(frozen=True)
class CoarseSegmentation:
    """One image after the recurrence: one pass, or one over things and one over stuff (``queries``: of both)."""

    queries: tuple[str, ...]
    passes: tuple[CoarsePass, ...]

    @property
    def requests(self) -> tuple[RefineRequest, ...]:
        """What to refine, one request per pass."""
        return tuple(each.request for each in self.passes)

    def segmentation(self, results: Sequence[RefineResult]) -> Segmentation:
        """The segmentation with the results of `requests`, in their order."""
        parts = [each.segmentation(result) for each, result in zip(self.passes, results, strict=True)]
        return parts[0] if len(parts) == 1 else join_passes(self.queries, *parts)
