"""CLIP-ES without recurrence: CaR's mask proposals of all queries and a dense CRF, no classifier.

Lin et al., "CLIP is Also an Efficient Segmenter", CVPR 2023; the row "CLIP-ES without recurrence" of the CaR paper's
Table 2 is CaR with ``recurrence: none``, whose masks these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from car_core.baselines.base import BaselineConfig, BaselineSegmenter
from car_core.config import COMMON_BACKGROUND, Background, CaRConfig, CRFConfig, Template, Unit, format_text
from car_core.engine.device import timed
from car_core.images import size_of, upsample_all
from car_core.proposal.generator import ProposalGenerator
from car_core.refine.crf import crf_masks, prepare_crf
from car_core.segmentation import Segmentation, join_passes, paint_labels
from support.arrays import RGBArray


class ClipESConfig(BaselineConfig):
    """CLIP-ES as in CaR's mask proposal generator, once and without a classifier."""

    method: Literal["clip-es"] = "clip-es"
    background: Background = COMMON_BACKGROUND
    lambda_: Unit = Field(default=0.4, description="boxes a CAM: threshold as a fraction of its maximum")
    cam_template: Template = Field(default="a clean origami {}.", description="text template")
    crf: CRFConfig | None = Field(default=CRFConfig(), description="None: no CRF, the likeliest label per pixel")
    max_patches: int = Field(default=4096, ge=1, description="largest patch grid; a larger image is shrunk")


class ClipESSegmenter(BaselineSegmenter[ClipESConfig]):
    """One proposal per query; all compete for the pixels."""

    def __init__(self, config: ClipESConfig, *, clip: Any, device: str | torch.device = "cpu") -> None:
        super().__init__(config, clip=clip, device=device)
        if config.crf:
            prepare_crf(config.crf.implementation)
        shared = {name: getattr(config, name) for name in ("lambda_", "cam_template", "max_patches")}
        self._generator = ProposalGenerator(clip, self.text, CaRConfig(profile="paper", **shared), self.device)

    def check_texts_of(self, queries: Sequence[str]) -> None:
        for text in (*queries, *self.config.background):
            self.text.check(text, self.config.cam_template)

    def segment_image(self, image: RGBArray, queries: tuple[str, ...]) -> Segmentation:
        return self._segment(image, queries, self.config.background)

    def segment_things_and_stuff(
        self, image: RGBArray, things: tuple[str, ...], stuff: tuple[str, ...]
    ) -> Segmentation:
        """Separately, each with the other's names as background, as in CaR."""
        return join_passes((*things, *stuff), self._segment(image, things, stuff), self._segment(image, stuff, things))

    def _segment(self, image: RGBArray, queries: tuple[str, ...], background: Sequence[str]) -> Segmentation:
        seconds = dict[str, float]()
        [encoded] = self._generator.encode([image], [seconds])
        texts, b = ([format_text(self.config.cam_template, name) for name in names] for names in (queries, background))
        proposals = upsample_all(self._generator(encoded, texts, b, seconds), size_of(image))
        with timed("refine", self.device, seconds):
            masks = crf_masks(image, proposals, self.config.crf, "rgb", str(self.device))
        # Every proposal's maximum is 1, so a query's score is its share of the pixels.
        scores = np.asarray(masks.mean(axis=(1, 2)), np.float32)
        kept = tuple(int(index) for index in np.flatnonzero(masks.any(axis=(1, 2))))
        labels = paint_labels(masks, scores, tuple(range(len(queries))))
        return Segmentation(queries, masks, scores, kept, labels, (), seconds=seconds, image=image)
