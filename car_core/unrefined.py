"""What the recurrence leaves of an image, and what refinement reads of it: small enough to be sent to a process."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from car_core.config import CaRConfig, CRFConfig
from car_core.images import size_of, upsample_all
from car_core.refine.crf import Inferences, refine
from car_core.refine.matching import match_masks
from car_core.segmentation import Segmentation, Step, join_passes, merge_masks, paint_labels
from support.arrays import BoolArray, Float32Array, RGBArray


@dataclass(frozen=True)
class RefineTask:
    """What refinement reads: image uint8 [H, W, 3] and the survivors' proposals float32 [k, h, w] in [0, 1].

    groups: positions of the proposals that compete for the pixels. crf, crf_image: as in CaRConfig. device: where a CRF
    that can use one runs.
    """

    image: RGBArray
    proposals: Float32Array
    groups: tuple[tuple[int, ...], ...]
    crf: CRFConfig | None
    crf_image: str
    device: str

    @property
    def inputs(self) -> tuple[object, ...]:
        """All of it: what `StageMemory` finds masks by."""
        return self.image, self.proposals, self.groups, self.crf, self.crf_image, self.device

    def masks(self, inferences: Inferences) -> BoolArray:
        """Refined masks of the survivors, bool [k, H, W]."""
        size = size_of(self.image)
        masks = np.zeros((len(self.proposals), *size), np.bool_)
        for group in self.groups:
            proposals = upsample_all(torch.from_numpy(self.proposals[list(group)]), size)
            masks[list(group)] = refine(self.image, proposals, self.crf, self.crf_image, self.device, inferences)
        return masks


@dataclass(frozen=True)
class Refined:
    """Refined masks of a pass, and the seconds they took. Masks at the image's size are large: eight pixels a byte."""

    bits: RGBArray  # uint8
    shape: tuple[int, ...]
    seconds: float

    @property
    def masks(self) -> BoolArray:
        """Bool [k, H, W]."""
        return np.unpackbits(self.bits, count=math.prod(self.shape)).reshape(self.shape).view(np.bool_)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.bits.nbytes


def refined(task: RefineTask, inferences: Inferences | None = None) -> Refined:
    """Do a task and time it. Its masks are a function of the task alone, in whatever process it runs.

    inferences: of earlier tasks, for those that are of one image.
    """
    start = time.perf_counter()
    inferences = inferences or Inferences()
    masks = task.masks(inferences)
    inferences.trim()
    return Refined(np.packbits(masks), masks.shape, time.perf_counter() - start)


@dataclass(frozen=True)
class Pass:
    """One run of the recurrence on an image. N = number of queries, k = survivors."""

    queries: tuple[str, ...]
    kept: tuple[int, ...]  # indices into queries
    proposals: Float32Array  # [k, h, w] of the survivors, on the patch grid
    steps: tuple[Step, ...]
    seconds: dict[str, float]  # time by stage
    image: RGBArray
    config: CaRConfig
    device: str  # of the models
    candidates: BoolArray | None = None  # SAM's masks [M, H, W], with config.sam

    @property
    def task(self) -> RefineTask:
        """What refinement reads of it: in semantic mode all survivors compete, in referring mode none do."""
        together = self.config.mode == "semantic"
        each = tuple((place,) for place in range(len(self.kept)))
        groups = (sum(each, ()),) if together and each else each
        config = self.config
        return RefineTask(self.image, self.proposals, groups, config.crf, config.crf_image, self.device)

    def segmentation(self, survivors: BoolArray, seconds: float) -> Segmentation:
        """The segmentation with refined masks bool [k, H, W] that took so many seconds."""
        total, kept, last = len(self.queries), list(self.kept), self.steps[-1]
        masks, scores = np.zeros((total, *size_of(self.image)), np.bool_), np.zeros(total, np.float32)
        score_of = dict(zip(last.queries, last.scores, strict=True))
        if self.config.sam and self.candidates is not None:
            survivors = match_masks(survivors, self.candidates, self.config.sam)
        masks[kept] = survivors
        scores[kept] = [score_of[index] for index in kept]
        merged = None
        if self.config.mode == "referring":
            merged = merge_masks(masks, scores, union_of_small=self.config.union_of_small_merge)
        return Segmentation(
            queries=self.queries,
            masks=masks,
            scores=scores,
            kept=self.kept,
            label_map=paint_labels(masks, scores, self.kept),
            steps=self.steps,
            merged_mask=merged,
            seconds={**self.seconds, "refine": seconds},
            image=self.image,
            config=self.config,
        )


@dataclass(frozen=True)
class Unrefined:
    """One image after the recurrence: one pass, or one over things and one over stuff (``queries`` are both's)."""

    queries: tuple[str, ...]
    passes: tuple[Pass, ...]

    @property
    def tasks(self) -> tuple[RefineTask, ...]:
        """What is to be refined, a task a pass."""
        return tuple(each.task for each in self.passes)

    def segmentation(self, found: Sequence[Refined]) -> Segmentation:
        """The segmentation with the answers to `tasks`, in their order."""
        parts = [each.segmentation(own.masks, own.seconds) for each, own in zip(self.passes, found, strict=True)]
        return parts[0] if len(parts) == 1 else join_passes(self.queries, *parts)
