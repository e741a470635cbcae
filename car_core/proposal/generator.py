"""f, the mask proposal generator: one pass of the trunk per image, then proposals for any texts in any step."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from car_core.config import CaRConfig
from car_core.engine.batching import MicroBatcher
from car_core.engine.device import StageTimes, timed
from car_core.models.text_encoder import TextEncoder
from car_core.proposal.affinity import propagate, sinkhorn_normalize
from car_core.proposal.cam import grad_cams, text_patch_scores
from car_core.proposal.gradient import LastBlock, last_block
from car_core.proposal.trunk import ProposalTower, TrunkOutput
from support.arrays import RGBArray


@dataclass(frozen=True)
class EncodedImage:
    """f's encoding of one image, for all steps and passes."""

    grid: tuple[int, int]  # h, w patches
    last: LastBlock
    affinity_root: Tensor | None  # D [P, P] of the affinity A = D @ D; None for plain Grad-CAM

    @property
    def nbytes(self) -> int:
        """Size of its tensors in bytes."""
        return self.last.nbytes + (0 if self.affinity_root is None else self.affinity_root.nbytes)


class ProposalGenerator:
    """f on one CLIP model; ``encode_text`` returns its text features. dtype: of the trunk's matrix products."""

    def __init__(
        self,
        model: nn.Module,
        encode_text: TextEncoder,
        config: CaRConfig,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.tower = ProposalTower(model, dtype=dtype)
        self.batcher = MicroBatcher.for_device(device, cpu=1, gpu=2)
        self._encode_text = encode_text
        self._config = config
        self._device = device

    def with_config(self, config: CaRConfig) -> ProposalGenerator:
        """The same model under another configuration."""
        other = copy.copy(self)
        other._config = config
        return other

    def encode(self, images: Sequence[RGBArray], times: Sequence[StageTimes]) -> list[EncodedImage]:
        """The trunk and the last block on images uint8 [H, W, 3], those of equal patch grid together in the trunk.

        times: of each image, for the stages trunk, cam and affinity.
        """
        by_grid: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, image in enumerate(images):
            by_grid[self.tower.grid(image, self._config.max_patches)].append(i)
        trunks: dict[int, TrunkOutput] = {}
        for indices in by_grid.values():
            with timed("trunk", self._device, *(times[i] for i in indices)):
                pixels = [self.tower.preprocess(images[i], self._config.max_patches)[None] for i in indices]
                outputs = self.batcher.encode(partial(self.tower.trunk, config=self._config), pixels)
            trunks.update((i, trunk) for i, [trunk] in zip(indices, outputs, strict=True))
        encoded = []
        for i, own_times in enumerate(times):
            trunk, root = trunks.pop(i), None
            with timed("cam", self._device, own_times):
                last = last_block(self.tower.visual, self.tower.blocks[-1], trunk.tokens)
            if self._config.cam == "clip-es":
                with timed("affinity", self._device, own_times):
                    root = sinkhorn_normalize((trunk.attention + last.attention) / (trunk.counted_blocks + 1))
            encoded.append(EncodedImage(trunk.grid, last, root))
        return encoded

    def __call__(
        self, encoded: EncodedImage, texts: Sequence[str], background: Sequence[str], times: StageTimes
    ) -> Tensor:
        """Proposals of the queries' texts against the background's, float32 [n, h, w] in [0, 1].

        times: for the stages texts, cam and affinity.
        """
        with timed("texts", self._device, times):
            groups = [*([text] for text in texts), *([background] if background else [])]
            features = torch.cat(self._encode_text(groups))
        with timed("cam", self._device, times):
            scale = self.tower.logit_scale
            project_text = partial(text_patch_scores, encoded.last, logit_scale=scale)
            logits = scale * features @ encoded.last.image_feature
            # In referring mode, all sentences name the same object, so they do not compete in f.
            compete = self._config.mode == "semantic"
            maps = grad_cams(features, logits, len(texts), project_text, queries_compete=compete)
        if encoded.affinity_root is not None:
            with timed("affinity", self._device, times):
                maps = propagate(maps, encoded.affinity_root, encoded.grid, self._config.lambda_)
        return maps.reshape(-1, *encoded.grid)
