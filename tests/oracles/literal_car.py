"""CaR restated in slow, plain code: autograd for every CAM, explicit matrices, one template at a time.

Numbers are computed in float64 on copies of the models, so this is also the more exact of the two.
"""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from oracles.literal_prompts import drawn
from PIL import Image as PILImage
from scipy import ndimage
from torch import Tensor

from car_core import CaRConfig
from car_core.models.clip import open_clip

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@functools.cache
def in_double(model: Any) -> Any:
    return copy.deepcopy(model).double()


def normalized(image: PILImage.Image) -> Tensor:
    pixels = torch.tensor(np.asarray(image) / 255.0).permute(2, 0, 1)
    return (pixels - torch.tensor(CLIP_MEAN).double()[:, None, None]) / torch.tensor(CLIP_STD).double()[:, None, None]


def heads(attn: Any, normed: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention's output [L, D] and each head's weights [H, L, L], one head at a time."""
    query, key, value = (normed @ attn.in_proj_weight.T + attn.in_proj_bias).chunk(3, dim=-1)
    width = normed.shape[1] // attn.num_heads
    outputs, weights = [], []
    for head in range(attn.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        weights.append(scores.softmax(dim=-1))
        outputs.append(weights[-1] @ value[:, part])
    joined = torch.cat(outputs, dim=-1)
    return joined @ attn.out_proj.weight.T + attn.out_proj.bias, torch.stack(weights)


def run_block(block: Any, tokens: Tensor, normed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A residual block's output [L, D] and its attention [H, L, L]; ``normed`` stands for ln_1(tokens)."""
    attended, weights = heads(block.attn, block.ln_1(tokens) if normed is None else normed)
    middle = tokens + block.ls_1(attended)
    return middle + block.ls_2(block.mlp(block.ln_2(middle))), weights


def first_tokens(visual: Any, pixels: Tensor, positional: Tensor) -> Tensor:
    """Input of the first block [L, D]: one matrix product a patch."""
    height, width = visual.patch_size
    kernel = visual.conv1.weight.flatten(1)
    rows = range(0, pixels.shape[1], height)
    patches = [pixels[:, y : y + height, x : x + width] for y in rows for x in range(0, pixels.shape[2], width)]
    tokens = torch.stack([visual.class_embedding, *(kernel @ patch.flatten() for patch in patches)])
    return visual.ln_pre(tokens + positional)  # type: ignore[no-any-return]


def text_features(model: Any, texts: list[str]) -> Tensor:
    """Unit features [n, E]."""
    features = model.encode_text(open_clip.tokenize(texts, context_length=model.context_length))
    return features / features.norm(dim=-1, keepdim=True)


@dataclass
class Trunk:
    """f on one image, up to the last block."""

    grid: tuple[int, int]
    tokens: Tensor  # [L, D], input of the last block
    attention: Tensor  # [P, P], mean over the last 8 blocks and their heads


def trunk_of(model: Any, image: Image, *, positional_half: bool) -> Trunk:
    visual = model.visual
    height, width = visual.patch_size
    grid = -(-image.shape[0] // height), -(-image.shape[1] // width)
    resized = PILImage.fromarray(image).resize((grid[1] * width, grid[0] * height), PILImage.Resampling.BICUBIC)
    old = visual.positional_embedding.float()
    square = old[1:].T.reshape(1, -1, *visual.grid_size)
    new = F.interpolate(square, size=grid, mode="bilinear", align_corners=False)[0].flatten(1).T
    positional = torch.cat([old[:1], new])
    if positional_half:
        positional = positional.half()
    tokens = first_tokens(visual, normalized(resized).to(visual.proj.dtype), positional.to(visual.proj.dtype))
    attentions = []
    for number, block in enumerate(visual.transformer.resblocks):
        if number == len(visual.transformer.resblocks) - 1:
            before_last = tokens
        tokens, weights = run_block(block, tokens)
        attentions.append(weights[:, 1:, 1:])
    return Trunk(grid, before_last, torch.stack([w.mean(dim=0) for w in attentions[-8:]]).mean(dim=0))


def scores_of(model: Any, tokens: Tensor, normed: Tensor, texts: Tensor) -> Tensor:
    """Softmax over the texts [m] as a function of the last attention's input [L, D]."""
    visual = model.visual
    output, _ = run_block(visual.transformer.resblocks[-1], tokens, normed)
    vector = visual.ln_post(output)[1:].mean(dim=0) @ visual.proj
    return (model.logit_scale.exp() * texts @ (vector / vector.norm())).softmax(dim=0)


def gradient_weights(model: Any, tokens: Tensor, texts: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Mean over patches of d s_index / d A [D], and A itself [P, D]."""
    leaf = model.visual.transformer.resblocks[-1].ln_1(tokens).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(scores_of(model, tokens, leaf, texts)[index], leaf)
    return gradient[1:].mean(dim=0), leaf.detach()[1:]


def min_max(values: Array) -> Array:
    return (values - values.min()) / ((values - values.min()).max() + 1e-15)


def unnormalized_cam(model: Any, tokens: Tensor, texts: Tensor, index: int) -> Array:
    weights, feature_map = gradient_weights(model, tokens, texts, index)
    return np.maximum((feature_map @ weights).numpy(), 0)


def cam_of(model: Any, tokens: Tensor, queries: Tensor, background: Tensor, index: int) -> Array:
    """CAM [P] in [0, 1] of one query, its rivals being the other queries and the background."""
    cam = unnormalized_cam(model, tokens, torch.cat([queries, background]), index)
    if not cam.any():
        cam = unnormalized_cam(model, tokens, queries, index)
    return min_max(cam)


def affinity_of(attention: Array) -> Array:
    """A = D @ D, formed."""
    matrix, size = attention.copy(), len(attention)
    for _ in range(3):
        for column in range(size):
            matrix[:, column] = matrix[:, column] / sum(matrix[:, column])
        for row in range(size):
            matrix[row] = matrix[row] / sum(matrix[row])
    symmetric = np.array([[(matrix[i, j] + matrix[j, i]) / 2 for j in range(size)] for i in range(size)])
    return symmetric @ symmetric


def box_of(cam: Array, lambda_: float) -> Mask:
    """Union of the rectangles around the 8-connected parts of a CAM [h, w]; the last row and column stay out."""
    height, width = cam.shape
    levels = np.array([[int(np.float32(value) * np.float32(255)) for value in row] for row in cam])
    inside = np.zeros(cam.shape, bool)
    if levels.max() == 0:
        return inside
    while not (levels > int(lambda_ * levels.max())).any():
        lambda_ -= 0.1
    parts, _ = ndimage.label(levels > int(lambda_ * levels.max()), structure=np.ones((3, 3)))
    for rows, columns in ndimage.find_objects(parts):
        inside[rows.start : min(rows.stop, height - 1), columns.start : min(columns.stop, width - 1)] = True
    return inside


def spread_cam(cam: Array, affinity: Array, grid: tuple[int, int], lambda_: float) -> Array:
    """A[:, B] @ CAM[B], min-max normalized, [P]."""
    inside = box_of(cam.reshape(grid), lambda_).ravel()
    return min_max(affinity[:, inside] @ cam[inside])


def enlarged(proposal: Array, size: tuple[int, int]) -> Array:
    """Bilinear with pixel centers aligned, [h, w] to [H, W]."""
    rows, columns = (interpolation_matrix(new, old) for new, old in zip(size, proposal.shape, strict=True))
    return rows @ proposal @ columns.T  # type: ignore[no-any-return]


def interpolation_matrix(new: int, old: int) -> Array:
    matrix = np.zeros((new, old))
    for i in range(new):
        position = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(position), old - 1)
        high = min(low + 1, old - 1)
        matrix[i, low] += 1 - (position - low)
        matrix[i, high] += position - low
    return matrix


def classifier_pixels(model: Any, image: Image) -> Tensor:
    """CLIP's preprocessing: shorter side to the model's size (bicubic), center crop, mean and std."""
    size = model.visual.image_size[0]
    height, width = image.shape[:2]
    new = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    resized = PILImage.fromarray(image).resize(new, PILImage.Resampling.BICUBIC)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return normalized(resized.crop((left, top, left + size, top + size)))


def class_feature(model: Any, image: Image, *, skip_last: bool) -> Tensor:
    visual = model.visual
    tokens = first_tokens(visual, classifier_pixels(model, image).to(visual.proj.dtype), visual.positional_embedding)
    blocks = visual.transformer.resblocks
    for block in blocks[: len(blocks) - 1] if skip_last else blocks:
        tokens, _ = run_block(block, tokens)
    feature = visual.ln_post(tokens[0]) @ visual.proj
    return feature / feature.norm()  # type: ignore[no-any-return]


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def query_score(rows_of_logits: list[list[float]], index: int, ensemble: str | None) -> float:
    """P_ii of one image from its logits, one row of queries a template."""
    if ensemble is None:
        return softmax(rows_of_logits[0])[index]
    if ensemble == "mean_logits":
        columns = zip(*rows_of_logits, strict=True)
        return softmax([sum(column) / len(rows_of_logits) for column in columns])[index]
    summed = [sum(column) for column in zip(*(softmax(row) for row in rows_of_logits), strict=True)]
    return softmax(summed)[index]


def crf_labels(image: Image, proposals: Array, config: CaRConfig) -> npt.NDArray[np.int64]:
    """The dense CRF with the constants of the method, by hand."""
    height, width = image.shape[:2]
    probabilities = np.concatenate([1 - proposals.max(axis=0, keepdims=True), proposals])
    if config.crf is None:
        return probabilities.argmax(axis=0)  # type: ignore[no-any-return]
    seen = image
    if config.crf_image == "bgr_minus_mean":
        mean = np.array([104.008, 116.669, 122.675])
        seen = (np.trunc(image[..., ::-1] - mean).astype(int) % 256).astype(np.uint8)
    dcrf = pytest.importorskip("pydensecrf.densecrf")
    crf = dcrf.DenseCRF2D(width, height, len(probabilities))
    crf.setUnaryEnergy((-np.log(np.clip(probabilities, 1e-5, 1))).reshape(len(probabilities), -1).astype(np.float32))
    crf.addPairwiseGaussian(sxy=1, compat=3)
    crf.addPairwiseBilateral(sxy=67, srgb=3, rgbim=np.ascontiguousarray(seen), compat=4)
    return np.argmax(crf.inference(10), axis=0).reshape(height, width)  # type: ignore[no-any-return]


@dataclass
class LiteralStep:
    queries: tuple[int, ...]
    proposals: Array  # [n, H, W]
    scores: list[float]
    kept: tuple[int, ...]


@dataclass
class LiteralResult:
    steps: list[LiteralStep]
    masks: Mask  # [N, H, W]
    scores: list[float]
    label_map: npt.NDArray[np.int64]
    merged: Mask

    def margin(self, config: CaRConfig) -> float:
        """Smallest distance of any proposal from eta and any score from theta: what float noise must not cross."""
        pixels = min(float(np.abs(step.proposals - config.eta).min()) for step in self.steps)
        return min(pixels, min(abs(score - config.theta) for step in self.steps for score in step.scores))


class LiteralCaR:
    """The whole loop for one image at a time."""

    def __init__(self, config: CaRConfig, proposal_clip: Any, classifier_clip: Any) -> None:
        self.config = config
        self.f, self.g = in_double(proposal_clip), in_double(classifier_clip)

    def segment(self, image: Image, queries: list[str]) -> LiteralResult:
        config = self.config
        alive, steps, before = list(range(len(queries))), [], 0
        while True:
            proposals = self.proposals(image, [queries[i] for i in alive], first=not steps)
            scores = self.scores(image, proposals, queries, alive, number=len(steps))
            kept = self.survivors(alive, scores)
            steps.append(LiteralStep(tuple(alive), proposals, scores, tuple(kept)))
            if config.recurrence != "full" or not kept:
                break
            if kept == alive if config.stop_rule == "same_queries" else len(kept) == before:
                break
            before, alive = len(kept), kept
        return self.finish(image, queries, steps)

    def proposals(self, image: Image, queries: list[str], *, first: bool) -> Array:
        config = self.config
        trunk = trunk_of(self.f, image, positional_half=config.positional_half)
        affinity = affinity_of(trunk.attention.numpy())
        texts = queries
        if not (first and config.first_step_text == "query"):
            texts = [config.cam_template.replace("{}", query) for query in queries]
        features = text_features(self.f, texts)
        background = text_features(self.f, [config.cam_template.replace("{}", text) for text in config.background])
        result = []
        for c in range(len(queries)):
            if config.mode == "semantic":
                cam = cam_of(self.f, trunk.tokens, features, background, c)
            else:
                cam = cam_of(self.f, trunk.tokens, features[c : c + 1], background, 0)
            if config.cam == "clip-es":
                cam = spread_cam(cam, affinity, trunk.grid, config.lambda_)
            result.append(enlarged(cam.reshape(trunk.grid), image.shape[:2]))
        return np.stack(result)

    def scores(
        self, image: Image, proposals: Array, queries: list[str], alive: list[int], *, number: int
    ) -> list[float]:
        config = self.config
        rows, ensemble = self.classifier_texts(queries, alive, number)
        texts = [text_features(self.g, row) for row in rows]
        scores = []
        for position, proposal in enumerate(proposals):
            prompted = drawn(image, proposal > config.eta, config.prompts, config.gray_weights)
            feature = class_feature(self.g, prompted, skip_last=config.classifier_feature == "before_last_block")
            logits = [(self.g.logit_scale.exp() * row @ feature).tolist() for row in texts]
            scores.append(query_score(logits, position, ensemble))
        return scores

    def classifier_texts(self, queries: list[str], alive: list[int], number: int) -> tuple[list[list[str]], str | None]:
        config = self.config
        if config.templates:
            rows = [[template.replace("{}", queries[i]) for i in alive] for template in config.templates]
            return rows, config.template_ensemble
        texts = list(queries)
        if config.no_template_text == "cam_template":
            texts = [config.cam_template.replace("{}", query) for query in queries]
        if number > 0 and config.mode == "referring" and config.referring_prompt_slip:
            return [[text[i] for i in alive] for text in texts], config.template_ensemble
        return [[texts[i] for i in alive]], None

    def survivors(self, alive: list[int], scores: list[float]) -> list[int]:
        config = self.config
        if config.recurrence == "none":
            return alive
        kept = []
        for index, score in zip(alive, scores, strict=True):
            if score > config.theta or (config.theta_inclusive and score == config.theta):
                kept.append(index)
        if not kept and config.keep_best:
            kept = [alive[scores.index(max(scores))]]
        return kept

    def finish(self, image: Image, queries: list[str], steps: list[LiteralStep]) -> LiteralResult:
        config, last = self.config, steps[-1]
        masks = np.zeros((len(queries), *image.shape[:2]), bool)
        scores = [0.0] * len(queries)
        groups = [list(last.kept)] if config.mode == "semantic" else [[index] for index in last.kept]
        for group in groups:
            if group:
                rows = [last.queries.index(index) for index in group]
                labels = crf_labels(image, last.proposals[rows], config)
                for number, index in enumerate(group):
                    masks[index] = labels == number + 1
        for index in last.kept:
            scores[index] = last.scores[last.queries.index(index)]
        label_map = np.zeros(image.shape[:2], np.int64)
        for index in sorted(last.kept, key=lambda i: scores[i]):
            label_map[masks[index]] = index + 1
        return LiteralResult(
            steps,
            masks,
            scores,
            label_map,
            merged_by_loop(masks, scores, config.merge_inclusive, config.union_of_small_merge),
        )


def merged_by_loop(masks: Mask, scores: list[float], inclusive: bool, union_of_small: bool) -> Mask:
    """Mean of the masks weighted by score, cut at 0.5; the union where that covers at most 5 %."""
    total, merged = sum(scores), np.zeros(masks.shape[1:], bool)
    for row in range(merged.shape[0]):
        for column in range(merged.shape[1]):
            weight = sum(score for mask, score in zip(masks, scores, strict=True) if mask[row, column])
            if total > 0:
                merged[row, column] = weight / total > 0.5 or (inclusive and weight / total == 0.5)
    if total > 0 and union_of_small and merged.sum() / merged.size <= 0.05:
        merged = np.logical_or.reduce(masks)
    return merged
