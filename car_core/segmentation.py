"""What CaR returns for one image: plain numpy arrays, nothing that holds a model alive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from car_core.config import CaRConfig
from support.arrays import BoolArray, Float32Array, Int32Array, RGBArray

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Step:
    """One turn of the recurrence. n = number of queries alive in it."""

    queries: tuple[int, ...]  # indices into Segmentation.queries, alive in this step
    scores: Float32Array  # [n], P_ii in [0, 1]
    kept: tuple[int, ...]  # indices into Segmentation.queries that survive this step
    proposals: Float32Array | None = None  # [n, H, W] in [0, 1]; None unless traced
    prompted: RGBArray | None = None  # uint8 [n, H, W, 3], the images g was shown; None unless traced


@dataclass(frozen=True)
class Segmentation:
    """Final masks of one image with the steps that led there. N = number of queries.

    A notebook shows it as a picture and a table; ``plot`` and ``plot_steps`` give the pictures.
    """

    queries: tuple[str, ...]  # as given
    masks: BoolArray  # [N, H, W], after refinement; all false for a dropped query
    scores: Float32Array  # [N], P_ii of the last step; 0 for a dropped query
    kept: tuple[int, ...]  # indices into queries
    label_map: Int32Array  # [H, W]; 0 = no query, i + 1 = query i
    steps: tuple[Step, ...]
    merged_mask: BoolArray | None = None  # [H, W], referring mode only: one mask for all queries together
    seconds: Mapping[str, float] = field(default_factory=dict)  # time by stage
    image: RGBArray | None = field(default=None, repr=False)  # uint8 [H, W, 3], what was segmented
    config: CaRConfig | None = field(default=None, repr=False)  # what it was segmented with

    @classmethod
    def of_nothing(cls, height: int, width: int) -> Segmentation:
        """The segmentation of an image for which no query is left."""
        nothing = np.zeros((height, width), np.int32)
        return cls((), np.zeros((0, height, width), np.bool_), np.zeros(0, np.float32), (), nothing, ())

    def plot(self) -> Image.Image:
        """The masks drawn over the image, with a legend. Raises ValueError for a segmentation without its image."""
        from car_core.drawing import draw_masks, to_pil

        return to_pil(draw_masks(self))

    def plot_steps(self) -> Image.Image:
        """The unrolled recurrence: the image, every step's proposals and prompted images, the masks.

        Raises ValueError unless it was segmented with ``trace=True``.
        """
        from car_core.drawing import draw_steps, to_pil

        return to_pil(draw_steps(self))

    def _repr_png_(self) -> bytes | None:
        from car_core.drawing import draw_masks, encode

        return None if self.image is None else encode(draw_masks(self), "png")

    def _repr_html_(self) -> str:
        from car_core.drawing import to_html

        return to_html(self)


def step_names(steps: Sequence[Step]) -> list[str]:
    """ "step 1", "step 2", ...; where things and stuff were segmented separately, "pass 2, step 1" and so on."""
    numbers: list[tuple[int, int]] = []  # of the pass, and of the step in it
    alive: set[int] = set()
    for step in steps:
        # Only a new pass has queries that did not survive the step before.
        if numbers and alive.issuperset(step.queries):
            numbers.append((numbers[-1][0], numbers[-1][1] + 1))
        else:
            numbers.append((numbers[-1][0] + 1 if numbers else 1, 1))
        alive = set(step.kept)
    several = bool(numbers) and numbers[-1][0] > 1
    return [f"pass {turn}, step {number}" if several else f"step {number}" for turn, number in numbers]


def paint_labels(masks: BoolArray, scores: Float32Array, order: tuple[int, ...]) -> Int32Array:
    """One label per pixel from overlapping masks.

    masks: bool [N, H, W]; scores: float [N]; order: the indices to paint. They are painted in rising order of
    their score (ties: in index order), so the most certain query stays on top. Returns int32 [H, W], 0 where no
    mask is set, i + 1 for query i.
    """
    label_map = np.zeros(masks.shape[1:], np.int32)
    for index in sorted(order, key=lambda i: (scores[i], i)):
        label_map[masks[index]] = index + 1
    return label_map


def merge_masks(masks: BoolArray, scores: Float32Array, *, union_of_small: bool) -> BoolArray:
    """One mask for all sentences of a reference: the masks' mean, weighted by score, above 0.5.

    masks: bool [N, H, W]; scores: float [N], 0 for a dropped sentence. With ``union_of_small`` (released code), a
    result that covers at most 5 % of the image is replaced by the union of the masks. Returns bool [H, W].
    """
    total = float(scores.sum(dtype=np.float64))
    if total == 0:
        return np.zeros(masks.shape[1:], np.bool_)
    mean = np.tensordot(scores.astype(np.float64), masks.astype(np.float64), axes=1) / total
    merged: BoolArray = np.asarray(mean > 0.5)
    if union_of_small and merged.mean() <= 0.05:
        merged = np.asarray(masks.any(axis=0))
    return merged


def join_passes(queries: tuple[str, ...], things: Segmentation, stuff: Segmentation) -> Segmentation:
    """One segmentation of things, then stuff (``queries``), from a pass over each on the same image.

    Stuff is painted first, things over it. The stuff pass's indices are shifted; its steps follow the things'.
    """
    stuff = _shift(stuff, len(things.queries))
    stages = dict.fromkeys([*things.seconds, *stuff.seconds])
    return Segmentation(
        queries=queries,
        masks=np.concatenate([things.masks, stuff.masks]),
        scores=np.concatenate([things.scores, stuff.scores]),
        kept=things.kept + stuff.kept,
        label_map=np.where(things.label_map > 0, things.label_map, stuff.label_map),
        steps=things.steps + stuff.steps,
        seconds={stage: things.seconds.get(stage, 0.0) + stuff.seconds.get(stage, 0.0) for stage in stages},
        image=things.image,
        config=things.config,
    )


def _shift(part: Segmentation, offset: int) -> Segmentation:
    def moved(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(index + offset for index in indices)

    steps = tuple(replace(step, queries=moved(step.queries), kept=moved(step.kept)) for step in part.steps)
    labels = np.where(part.label_map > 0, part.label_map + offset, 0).astype(np.int32)
    return replace(part, kept=moved(part.kept), steps=steps, label_map=labels)
