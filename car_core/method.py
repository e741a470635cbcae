"""CLIP as RNN (Sun et al., CVPR 2024; arXiv:2312.07661v3) on one page: Algorithm 1 and what follows it.

The paper's functions, and where they are defined:

    f  mask proposal generator   `Models.propose`      proposal/: trunk, gradient, cam, affinity, joined by generator
    v  visual prompts            `PromptCanvas.draw`   classifier/visual_prompts.py
    g  mask classifier           `Models.match`        classifier/: tower (image features), similarity (P)
    h  text queries              indices `alive`       step_texts.py: the texts that f and g read in a step

`recurrence` is a generator: it yields masks and is sent g's features of the images prompted with them, so that many
images share g's forward passes without the loop knowing. `CaR` (car.py) drives it with cached, timed and batched
models; `segment` below drives it for one image with plain functions. If g encodes one image per pass, both give the
same bits.

Shapes: n queries alive in a step, k survivors of the last, H x W pixels, h x w patches, E embedding size, K templates.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from car_core.classifier.visual_prompts import PromptCanvas
from car_core.config import CaRConfig, CRFConfig, format_text
from car_core.images import binarize_all, size_of, upsample_all
from car_core.refine.crf import KernelCache, crf_masks
from car_core.refine.matching import match_masks
from car_core.segmentation import Segmentation, Step, merge_masks, paint_labels
from car_core.step_texts import classifier_texts, ensemble_name, proposal_texts
from support.arrays import BoolArray, Float32Array, RGBArray


@dataclass(frozen=True)
class Models:
    """f and g for one image, as functions of what changes from step to step."""

    propose: Callable[[list[str], list[str]], Tensor]  # texts, background texts -> y [n, h, w] in [0, 1]
    match: Callable[[Tensor, list[list[str]], str], Tensor]  # features [n, E], K x n texts, ensemble -> P [n, n]


@dataclass(frozen=True)
class RecurrenceOutput:
    """The result of the recurrence for one image, on the CPU."""

    queries: tuple[str, ...]
    kept: tuple[int, ...]  # indices of the survivors
    proposals: Float32Array  # [k, h, w], the survivors' proposals in the last step
    steps: tuple[Step, ...]


Recurrence: TypeAlias = Generator[Iterator[BoolArray], Tensor, RecurrenceOutput]
"""Yields a step's masks [H, W]; is sent g's features [n, E] of the images prompted with them, in the same order."""


def recurrence(
    canvas: PromptCanvas,
    queries: Sequence[str],
    models: Models,
    config: CaRConfig,
    *,
    background: Sequence[str] | None = None,
    trace: bool = False,
) -> Recurrence:
    """Algorithm 1 on the canvas's image x.

    background: b in place of ``config.background``. trace: also keep each step's proposals and prompted images.
    """
    size, steps = size_of(canvas.image), list[Step]()
    b = [format_text(config.cam_template, text) for text in (config.background if background is None else background)]
    alive = tuple(range(len(queries)))  # h_0
    while True:
        t = len(steps)
        y = models.propose(proposal_texts(config, [queries[i] for i in alive], t), b)  # y_t = f(x, h_{t-1}; b)
        # x'_i = v(x, y_i > eta), through g's image encoder. Lazy, so that few masks are in memory.
        features = yield binarize_all(y, size, config.eta)
        p = models.match(features, classifier_texts(config, queries, alive, t), ensemble_name(config, t))  # g(x', h)
        scores: Float32Array = p.diagonal().float().cpu().numpy()  # P_ii
        kept = survivors(config, alive, scores)  # h_t = {h_i : P_ii >= theta}; released code: >
        maps = upsample_all(y, size) if trace else None
        prompted = None if maps is None else np.stack([canvas.draw(proposal > config.eta) for proposal in maps])
        steps.append(Step(alive, scores, kept, maps, prompted))
        if is_stable(config, steps):  # h_t = h_{t-1}; released code: as many as in the previous step
            rows = [alive.index(i) for i in kept]
            return RecurrenceOutput(tuple(queries), kept, y[rows].cpu().numpy(), tuple(steps))
        alive = kept


def survivors(config: CaRConfig, alive: Sequence[int], scores: Float32Array) -> tuple[int, ...]:
    """The queries of ``alive`` whose score P_ii (float [n], same order) passes theta."""
    if config.recurrence == "none":  # Table 2: masks of the first step, of all queries
        return tuple(alive)
    passed = scores >= config.theta if config.theta_inclusive else scores > config.theta
    kept = tuple(index for index, ok in zip(alive, passed, strict=True) if ok)
    if not kept and config.keep_best:  # released code
        return (alive[int(scores.argmax())],)
    return kept


def is_stable(config: CaRConfig, steps: Sequence[Step]) -> bool:
    """Whether the last of ``steps`` ends the recurrence."""
    last = steps[-1]
    if config.recurrence != "full" or not last.kept:
        return True
    if config.stop_rule == "same_queries":  # paper
        return last.kept == last.queries
    # Released code: compares counts with the previous step, 0 at first, so that step 1 is never the last.
    return len(last.kept) == (len(steps[-2].kept) if len(steps) > 1 else 0)


def refine(
    image: RGBArray,
    proposals: Float32Array,
    *,
    compete: bool,
    crf: CRFConfig | None,
    crf_image: str,
    device: str = "cpu",
    kernels: KernelCache | None = None,
) -> BoolArray:
    """Dense CRF: the survivors' proposals [k, h, w] become masks bool [k, H, W].

    compete: one CRF for all of them (semantic mode), else a two-label CRF for each (referring mode: all sentences mean
    one object). Other arguments: as in `crf_masks`.
    """
    size, everyone = size_of(image), list(range(len(proposals)))
    masks = np.zeros((len(proposals), *size), np.bool_)
    for group in filter(None, [everyone] if compete else [[i] for i in everyone]):
        maps = upsample_all(torch.from_numpy(proposals[group]), size)
        masks[group] = crf_masks(image, maps, crf, crf_image, device, kernels)
    return masks


def to_segmentation(
    image: RGBArray, output: RecurrenceOutput, masks: BoolArray, config: CaRConfig, candidates: BoolArray | None = None
) -> Segmentation:
    """Masks bool [k, H, W] of the survivors, as `refine` gives them, become a label map or one merged mask.

    candidates: SAM's masks [M, H, W], with ``config.sam``.
    """
    if config.sam and candidates is not None:
        masks = match_masks(masks, candidates, config.sam)  # CaR + SAM
    total, kept, last = len(output.queries), list(output.kept), output.steps[-1]
    all_masks, scores = np.zeros((total, *size_of(image)), np.bool_), np.zeros(total, np.float32)
    all_masks[kept] = masks
    scores[kept] = [last.scores[last.queries.index(i)] for i in kept]
    merged = None
    if config.mode == "referring":
        merged = merge_masks(
            all_masks, scores, inclusive=config.merge_inclusive, union_of_small=config.union_of_small_merge
        )
    labels = paint_labels(all_masks, scores, output.kept)
    return Segmentation(
        output.queries, all_masks, scores, output.kept, labels, output.steps, merged, image=image, config=config
    )


def segment(
    image: RGBArray,
    queries: Sequence[str],
    models: Models,
    encode: Callable[[list[RGBArray]], Tensor],
    config: CaRConfig,
    *,
    candidates: BoolArray | None = None,
    trace: bool = False,
) -> Segmentation:
    """The whole method on one image, uint8 [H, W, 3]. encode: g's unit features [n, E] of n prompted images."""
    canvas = PromptCanvas.from_image(image, config.prompts, config.gray_weights)
    loop = recurrence(canvas, queries, models, config, trace=trace)
    masks = next(loop)
    try:
        while True:
            masks = loop.send(encode([canvas.draw(mask) for mask in masks]))
    except StopIteration as end:
        output: RecurrenceOutput = end.value
    compete = config.mode == "semantic"
    refined = refine(image, output.proposals, compete=compete, crf=config.crf, crf_image=config.crf_image)
    return to_segmentation(image, output, refined, config, candidates)
