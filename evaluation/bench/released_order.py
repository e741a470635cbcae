"""The order of work of the released code, as a baseline for ours: the same results, computed the slow way.

The released code recomputes everything wherever it is needed: every template encodes every prompted image and every
text again, and every query has a forward and a backward pass through the last block of f. Nothing is kept from one step
to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from car_core import CaRConfig
from car_core.classifier.similarity import ENSEMBLES
from car_core.classifier.visual_prompts import draw_prompts
from car_core.config import format_text
from car_core.images import size_of, upsample, upsample_all
from car_core.models.clip import ClassifierTower, ProposalTower, TrunkOutput, embed, open_clip
from car_core.proposal.affinity import AFFINITY_BLOCKS, doubly_normalized, spread
from car_core.proposal.cam import min_max
from car_core.recurrence import Recurrence, classifier_texts, ensemble_name, proposal_texts
from support.arrays import Float32Array, RGBArray


@dataclass(frozen=True)
class SlowResult:
    """kept: indices into the queries; scores float32 [n] and proposals float32 [n, H, W] of those kept."""

    kept: tuple[int, ...]
    scores: Float32Array
    proposals: Float32Array
    steps: int


class ReleasedOrder:
    """Proposals (model f) and classification (model g) in the released code's order, before refinement."""

    def __init__(self, config: CaRConfig, *, proposal_clip: nn.Module, classifier_clip: nn.Module) -> None:
        self._config = config
        self._f: Any = proposal_clip
        self._g: Any = classifier_clip
        blocks = AFFINITY_BLOCKS if config.cam == "clip-es" else 1
        self._trunk = ProposalTower(proposal_clip, positional_half=config.positional_half, affinity_blocks=blocks)
        self._classifier = ClassifierTower(classifier_clip, feature=config.classifier_feature)

    def segment(self, image: RGBArray, queries: Sequence[str]) -> SlowResult:
        """Run the recurrence on an image, uint8 [H, W, 3]."""
        recurrence = Recurrence(self._config, tuple(queries))
        while not recurrence.finished:
            alive, proposals = recurrence.alive, self._proposals(image, recurrence)
            kept = recurrence.take(self._scores(image, proposals, recurrence))
        rows = [alive.index(i) for i in kept]
        last = recurrence.steps[-1]
        full = upsample_all(proposals[rows], size_of(image)) if rows else upsample_all(proposals, size_of(image))[:0]
        return SlowResult(kept, last.scores[rows], full, len(recurrence.steps))

    def _proposals(self, image: RGBArray, recurrence: Recurrence) -> Tensor:
        config, step = self._config, recurrence.step
        texts = proposal_texts(config, [recurrence.queries[i] for i in recurrence.alive], step)
        background = _texts(self._f, [format_text(config.cam_template, text) for text in config.background])
        features = _texts(self._f, texts)
        [trunk] = self._trunk.trunk(self._trunk.preprocess(image, config.max_patches)[None])
        cams = torch.stack([self._cam(trunk, features, background, number) for number in range(len(texts))])
        if config.cam == "clip-es":
            total = trunk.attention + self._last_attention(trunk)
            cams = spread(cams, doubly_normalized(total / (trunk.counted_blocks + 1)), trunk.grid, config.lambda_)
        return cams.reshape(-1, *trunk.grid)

    def _cam(self, trunk: TrunkOutput, features: Tensor, background: Tensor, number: int) -> Tensor:
        """One query's CAM, float32 [P] in [0, 1]: a forward and a backward pass, repeated if the CAM is zero."""
        if self._config.mode == "referring":
            features, number = features[number : number + 1], 0
        cam = self._unnormalized_cam(trunk, torch.cat([features, background]), number)
        if not cam.any():
            cam = self._unnormalized_cam(trunk, features, number)
        return min_max(cam[None])[0]

    def _unnormalized_cam(self, trunk: TrunkOutput, texts: Tensor, number: int) -> Tensor:
        visual, block = self._trunk.visual, self._trunk.blocks[-1]
        with torch.enable_grad():
            tokens = trunk.tokens.clone()[None]
            feature_map = block.ln_1(tokens).detach().requires_grad_()
            middle = tokens + block.ls_1(block.attention(feature_map))
            output = middle + block.ls_2(block.mlp(block.ln_2(middle)))
            image = F.normalize(visual.ln_post(output)[0, 1:].mean(dim=0) @ visual.proj, dim=0)
            score = (self._trunk.logit_scale * texts.clone() @ image).softmax(dim=0)[number]
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

    def _scores(self, image: RGBArray, proposals: Tensor, recurrence: Recurrence) -> Float32Array:
        config = self._config
        masks = [upsample(proposal, size_of(image)) > config.eta for proposal in proposals]
        prompted = [draw_prompts(image, mask, config.prompts, config.gray_weights) for mask in masks]
        rows = classifier_texts(config, recurrence.queries, recurrence.alive, recurrence.step)
        logits = [self._logits(prompted, row) for row in rows]
        matrix = ENSEMBLES[ensemble_name(config, recurrence.step)](torch.stack(logits, dim=1))
        scores: Float32Array = matrix.diagonal().float().cpu().numpy()
        return scores

    def _logits(self, prompted: Sequence[RGBArray], texts: Sequence[str]) -> Tensor:
        """Logits of every prompted image and text of one template, all encoded for it, float32 [n, n]."""
        images = torch.stack([self._classifier.preprocess(image) for image in prompted])
        features = torch.cat([self._encode(part) for part in images.split(1)])
        return self._classifier.logit_scale * features @ _texts(self._g, texts).T

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        """Unit features [B, E]: every token goes through every block, as in CLIP's forward pass."""
        tower = self._classifier
        tokens = embed(tower.visual, tower.pixels(images), tower.visual.positional_embedding)
        for block in tower.blocks:
            tokens = block(tokens)
        return F.normalize(tower.visual.ln_post(tokens[:, 0]) @ tower.visual.proj, dim=-1)


@torch.no_grad()
def _texts(model: Any, texts: Sequence[str]) -> Tensor:
    tokens = open_clip.tokenize(list(texts)).to(model.logit_scale.device)
    features: Tensor = model.encode_text(tokens, normalize=True)
    return features
