"""f, the mask proposal generator: one pass of the trunk an image, then proposals for any texts at any step."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from car_core.config import CaRConfig
from car_core.engine.batching import Passes
from car_core.engine.timing import Seconds, timed, timed_all
from car_core.models.text_encoder import TextEncoder
from car_core.proposal.affinity import AFFINITY_BLOCKS, doubly_normalized, spread
from car_core.proposal.cam import grad_cams, text_activations
from car_core.proposal.gradient import LastBlock, last_block
from car_core.proposal.trunk import ProposalTower, TrunkOutput
from support.arrays import RGBArray


@dataclass(frozen=True)
class EncodedImage:
    """What f keeps of one image, for all steps and passes."""

    grid: tuple[int, int]  # h, w patches
    last: LastBlock
    affinity: Tensor | None  # D [P, P]; None for plain Grad-CAM

    @property
    def nbytes(self) -> int:
        """Size of its tensors in bytes."""
        return self.last.nbytes + (0 if self.affinity is None else self.affinity.nbytes)


class ProposalGenerator:
    """f on one CLIP model; ``encode_text`` gives its text features. dtype: of the trunk's products."""

    def __init__(
        self,
        model: nn.Module,
        encode_text: TextEncoder,
        config: CaRConfig,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.tower = ProposalTower(model, **_switches(config), dtype=dtype)
        self.passes = Passes.on(device, cpu=1, gpu=2)
        self._encode_text = encode_text
        self._config = config
        self._device = device

    def with_config(self, config: CaRConfig) -> ProposalGenerator:
        """The same model under another configuration."""
        other = copy.copy(self)
        other.tower, other._config = self.tower.with_switches(**_switches(config)), config
        return other

    def encode(self, images: Sequence[RGBArray], accounts: Sequence[Seconds]) -> list[EncodedImage]:
        """The trunk and the last block on images uint8 [H, W, 3], those of equal patch grid together in the trunk.

        accounts: of each image, for the stages trunk, cam and affinity.
        """
        trunks: dict[int, TrunkOutput] = {}
        for places in self._by_grid(images):
            with timed_all([accounts[i] for i in places], "trunk", self._device):
                pixels = [self.tower.preprocess(images[i], self._config.max_patches)[None] for i in places]
                found = self.passes.encode(self.tower.trunk, pixels)
            trunks.update((i, trunk) for i, [trunk] in zip(places, found, strict=True))
        return [self._encoded(trunks[i], account) for i, account in enumerate(accounts)]

    def _by_grid(self, images: Sequence[RGBArray]) -> Iterable[list[int]]:
        places: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, image in enumerate(images):
            places[self.tower.grid(image, self._config.max_patches)].append(i)
        return places.values()

    def _encoded(self, trunk: TrunkOutput, seconds: Seconds) -> EncodedImage:
        with timed(seconds, "cam", self._device):
            last = last_block(self.tower.visual, self.tower.blocks[-1], trunk.tokens)
        if self._config.cam == "gradcam":
            return EncodedImage(trunk.grid, last, None)
        with timed(seconds, "affinity", self._device):
            attention = (trunk.attention + last.attention) / (trunk.counted_blocks + 1)
            return EncodedImage(trunk.grid, last, doubly_normalized(attention))

    def __call__(
        self, encoded: EncodedImage, queries: Sequence[str], background: Sequence[str], seconds: Seconds
    ) -> Tensor:
        """Proposals of the queries' texts against the background's, float32 [n, h, w] in [0, 1].

        seconds: account of the stages texts, cam and affinity.
        """
        with timed(seconds, "texts", self._device):
            features = self._encode_text([*queries, *background])
        with timed(seconds, "cam", self._device):
            scale = self.tower.logit_scale
            activate = partial(text_activations, encoded.last, logit_scale=scale)
            logits = scale * features @ encoded.last.image_feature
            # Sentences of one reference name the same object: in referring mode they do not compete in f.
            rivals = self._config.mode == "semantic"
            maps = grad_cams(features, logits, len(queries), activate, rivals=rivals)
        if encoded.affinity is not None:
            with timed(seconds, "affinity", self._device):
                maps = spread(maps, encoded.affinity, encoded.grid, self._config.lambda_)
        return maps.reshape(-1, *encoded.grid)


def _switches(config: CaRConfig) -> dict[str, Any]:
    """Those of the tower."""
    blocks = AFFINITY_BLOCKS if config.cam == "clip-es" else 1
    return {"positional_half": config.positional_half, "affinity_blocks": blocks}
