"""The order of work of the released code, to measure ours against: `method.recurrence` with slow models.

The results are the same. The released code computes everything where it is needed: every template encodes every
prompted image and every text again, and every query has a forward and a backward pass through the last block of f.
Nothing is kept from one step to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from car_core import CaRConfig
from car_core.classifier.similarity import ENSEMBLES
from car_core.classifier.tower import ClassifierTower
from car_core.classifier.visual_prompts import PromptCanvas
from car_core.images import size_of, upsample_all
from car_core.method import Models, RecurrenceOutput, recurrence
from car_core.models.clip import embed, open_clip
from car_core.proposal.affinity import propagate, sinkhorn_normalize
from car_core.proposal.cam import min_max
from car_core.proposal.trunk import ProposalTower, TrunkOutput
from support.arrays import Float32Array, RGBArray


@dataclass(frozen=True)
class SlowResult:
    """kept: indices into the queries; scores float32 [n] and proposals float32 [n, H, W] of those kept."""

    kept: tuple[int, ...]
    scores: Float32Array
    proposals: Float32Array
    steps: int


class ReleasedOrder:
    """f and g run as the released code runs them, before refinement."""

    def __init__(self, config: CaRConfig, *, proposal_clip: nn.Module, classifier_clip: nn.Module) -> None:
        self._config = config
        self._f: Any = proposal_clip
        self._g: Any = classifier_clip
        self._trunk = ProposalTower(proposal_clip)
        self._classifier = ClassifierTower(classifier_clip)

    def segment(self, image: RGBArray, queries: Sequence[str]) -> SlowResult:
        """The recurrence on uint8 [H, W, 3]."""
        config = self._config
        canvas = PromptCanvas.from_image(image, config.prompts, config.gray_weights)
        loop = recurrence(canvas, tuple(queries), Models(partial(self._propose, image), self._match), config)
        masks = next(loop)
        try:
            while True:
                masks = loop.send(torch.stack([self._classifier.preprocess(canvas.draw(mask)) for mask in masks]))
        except StopIteration as end:
            output: RecurrenceOutput = end.value
        last, size = output.steps[-1], size_of(image)
        scores = last.scores[[last.queries.index(i) for i in output.kept]]
        full: Float32Array = np.zeros((0, *size), np.float32)
        if output.kept:
            full = upsample_all(torch.from_numpy(output.proposals), size)
        return SlowResult(output.kept, scores, full, len(output.steps))

    def _propose(self, image: RGBArray, texts: list[str], background: list[str]) -> Tensor:
        config = self._config
        background_features, features = _texts(self._f, background), _texts(self._f, texts)
        [trunk] = self._trunk.trunk(self._trunk.preprocess(image, config.max_patches)[None], config)
        cams = torch.stack([self._cam(trunk, features, background_features, index) for index in range(len(texts))])
        if config.cam == "clip-es":
            total = trunk.attention + self._last_attention(trunk)
            affinity_root = sinkhorn_normalize(total / (trunk.counted_blocks + 1))
            cams = propagate(cams, affinity_root, trunk.grid, config.lambda_)
        return cams.reshape(-1, *trunk.grid)

    def _cam(self, trunk: TrunkOutput, features: Tensor, background: Tensor, index: int) -> Tensor:
        """One query's CAM, float32 [P] in [0, 1]: a forward and a backward pass, two if the first gives nothing."""
        if self._config.mode == "referring":
            features, index = features[index : index + 1], 0
        cam = self._unnormalized_cam(trunk, torch.cat([features, background]), index)
        if not cam.any():
            cam = self._unnormalized_cam(trunk, features, index)
        return min_max(cam[None])[0]

    def _unnormalized_cam(self, trunk: TrunkOutput, texts: Tensor, index: int) -> Tensor:
        visual, block = self._trunk.visual, self._trunk.blocks[-1]
        with torch.enable_grad():
            tokens = trunk.tokens.clone()[None]
            feature_map = block.ln_1(tokens).detach().requires_grad_()
            middle = tokens + block.ls_1(block.attention(feature_map))
            output = middle + block.ls_2(block.mlp(block.ln_2(middle)))
            image = F.normalize(visual.ln_post(output)[0, 1:].mean(dim=0) @ visual.proj, dim=0)
            score = (self._trunk.logit_scale * texts.clone() @ image).softmax(dim=0)[index]
            (gradient,) = torch.autograd.grad(score, feature_map)
        patches = feature_map.detach()[0, 1:]
        return F.relu(patches @ gradient[0, 1:].mean(dim=0))

    @torch.no_grad()
    def _last_attention(self, trunk: TrunkOutput) -> Tensor:
        block = self._trunk.blocks[-1]
        normed = block.ln_1(trunk.tokens.clone()[None])
        _, weights = block.attn(normed, normed, normed, need_weights=True)
        attention: Tensor = weights[0, 1:, 1:]
        return attention

    def _match(self, images: Tensor, rows: list[list[str]], ensemble: str) -> Tensor:
        """P [n, n] of preprocessed images, uint8 [n, size, size, 3]; every template encodes them, and its texts."""
        logits = []
        for texts in rows:
            features = torch.cat([self._encode(part) for part in images.split(1)])
            logits.append(self._classifier.logit_scale * features @ _texts(self._g, texts).T)
        return ENSEMBLES[ensemble](torch.stack(logits, dim=1))

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        """Unit features [B, E]: every token goes through every block, as in CLIP's own forward pass."""
        tower = self._classifier
        tokens = embed(tower.visual, tower.pixels(images), tower.visual.positional_embedding)
        for block in tower.blocks(self._config.classifier_feature):
            tokens = block(tokens)
        return F.normalize(tower.visual.ln_post(tokens[:, 0]) @ tower.visual.proj, dim=-1)


@torch.no_grad()
def _texts(model: Any, texts: Sequence[str]) -> Tensor:
    tokens = open_clip.tokenize(list(texts)).to(model.logit_scale.device)
    features: Tensor = model.encode_text(tokens, normalize=True)
    return features
