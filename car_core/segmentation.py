"""The result for one image: plain numpy arrays, with no reference to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from car_core.config import CaRConfig
from car_core.steps import Step, step_names
from support.arrays import BoolArray, Float32Array, Int32Array, RGBArray
from support.text import counted

if TYPE_CHECKING:
    from support.drawing import QueryOutcome

__all__ = ["Segmentation", "Step", "join_passes", "merge_masks", "paint_labels"]


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Final masks of one image with the steps that led there. N = number of queries.

    A notebook shows it as a picture and a table; ``plot`` and ``plot_steps`` return the pictures.
    """

    queries: tuple[str, ...]  # as given
    masks: BoolArray  # [N, H, W], after refinement; all false for a dropped query
    scores: Float32Array  # [N], P_ii of the last step; 0 for a dropped query
    kept: tuple[int, ...]  # indices into queries
    label_map: Int32Array  # [H, W]; 0 = no query, i + 1 = query i
    steps: tuple[Step, ...]
    merged_mask: BoolArray | None = None  # [H, W], referring mode only: one mask for all queries together
    seconds: Mapping[str, float] = field(default_factory=dict)  # wall time by stage
    image: RGBArray | None = field(default=None, repr=False)  # uint8 [H, W, 3]
    config: CaRConfig | None = field(default=None, repr=False)

    @classmethod
    def of_nothing(cls, height: int, width: int) -> Segmentation:
        """The segmentation of an image for which no query is left."""
        nothing = np.zeros((height, width), np.int32)
        return cls((), np.zeros((0, height, width), np.bool_), np.zeros(0, np.float32), (), nothing, ())

    def __repr__(self) -> str:
        kept = ", ".join(f"{self.queries[i]!r} {self.scores[i]:.2f}" for i in self.kept) or "nothing"
        height, width = self.label_map.shape
        n_queries, n_steps = counted(len(self.queries), "query", "queries"), counted(len(self.steps), "step")
        return f"Segmentation({height} x {width}, kept {kept} of {n_queries}, {n_steps})"

    def among(self, queries: tuple[str, ...]) -> Segmentation:
        """The same segmentation over more queries, in their order; the added ones count as dropped before."""
        index = [queries.index(query) for query in self.queries]
        masks, scores = np.zeros((len(queries), *self.label_map.shape), np.bool_), np.zeros(len(queries), np.float32)
        masks[index], scores[index] = self.masks, self.scores
        steps = (
            replace(step, queries=tuple(index[i] for i in step.queries), kept=tuple(index[i] for i in step.kept))
            for step in self.steps
        )
        return replace(
            self,
            queries=queries,
            masks=masks,
            scores=scores,
            kept=tuple(index[i] for i in self.kept),
            label_map=np.array([0, *(i + 1 for i in index)], np.int32)[self.label_map],
            steps=tuple(steps),
        )

    def plot(self) -> Image.Image:
        """The masks drawn over the image, with a legend. Raises ValueError for a segmentation without its image."""
        from car_core.drawing import draw_masks  # OpenCV: only where a picture is drawn

        return Image.fromarray(draw_masks(self.required_image(), self.drawn_labels, self.outcomes()))

    def plot_steps(self) -> Image.Image:
        """The unrolled recurrence: the image, every step's proposals and prompted images, the masks.

        Raises ValueError unless it was segmented with ``trace=True``.
        """
        from car_core.drawing import draw_steps

        image, config = self.required_image(), self.config
        eta, theta = (config.eta, config.theta) if config else (None, None)
        return Image.fromarray(draw_steps(image, self.drawn_labels, self.outcomes(), self.steps, eta=eta, theta=theta))

    def _repr_png_(self) -> bytes | None:
        from support.drawing import encode

        return None if self.image is None else encode(np.asarray(self.plot()), "png").data

    def _repr_html_(self) -> str:
        from car_core.drawing import to_html

        return to_html(None if self.image is None else np.asarray(self.plot()), self.outcomes())

    def required_image(self) -> RGBArray:
        """The image, uint8 [H, W, 3]. Raises ValueError for a segmentation without its image."""
        if self.image is None:
            raise ValueError("image: expected a segmentation with its image, found one without")
        return self.image

    @property
    def drawn_labels(self) -> Int32Array:
        """What pictures show, int32 [H, W]: the label map, or the merged mask as the first kept query's label."""
        if self.merged_mask is None:
            return self.label_map
        return self.merged_mask * np.int32(self.kept[0] + 1 if self.kept else 1)

    def outcomes(self) -> tuple[QueryOutcome, ...]:
        """The outcome of each query, with the color of its mask: label i + 1 of ``drawn_labels`` is query i's.

        Kept queries get the first colors, which differ most; in referring mode they share that of the one mask.
        """
        from support.drawing import QueryOutcome, label_color

        one_mask = self.merged_mask is not None
        by_color = [*self.kept, *(i for i in range(len(self.queries)) if i not in self.kept)]
        dropped_in = {
            index: f"dropped in {name}"
            for name, step in zip(step_names(self.steps), self.steps, strict=True)
            for index in step.queries
            if index not in step.kept
        }
        return tuple(
            QueryOutcome(
                query=query,
                color=label_color(0 if one_mask and index in self.kept else by_color.index(index)),
                kept=index in self.kept,
                score=float(self.scores[index]),
                area=float(self.masks[index].mean()),
                outcome="kept" if index in self.kept else dropped_in.get(index, "dropped"),
            )
            for index, query in enumerate(self.queries)
        )


def paint_labels(masks: BoolArray, scores: Float32Array, order: tuple[int, ...]) -> Int32Array:
    """One label per pixel from overlapping masks.

    masks: bool [N, H, W]; scores: float [N]; order: the indices to paint. They are painted in rising order of their
    score (ties: in index order), so that the most certain query stays on top. Returns int32 [H, W], 0 where no mask is
    set, i + 1 for query i.
    """
    label_map = np.zeros(masks.shape[1:], np.int32)
    for index in sorted(order, key=lambda i: (scores[i], i)):
        label_map[masks[index]] = index + 1
    return label_map


def merge_masks(masks: BoolArray, scores: Float32Array, *, inclusive: bool, union_of_small: bool) -> BoolArray:
    """One mask for all sentences of a reference: the masks' mean, weighted by score, cut at 0.5.

    masks: bool [N, H, W]; scores: float [N], 0 for a dropped sentence. inclusive: whether a mean of exactly 0.5 is in
    the mask, as where two sentences of equal score disagree. With ``union_of_small``, a result that covers at most 5 %
    of the image is replaced by the union of the masks. Both are as in the released code. Returns bool [H, W].
    """
    total = float(scores.sum(dtype=np.float64))
    if total == 0:
        return np.zeros(masks.shape[1:], np.bool_)
    mean = np.tensordot(scores.astype(np.float64), masks.astype(np.float64), axes=1) / total
    merged: BoolArray = np.asarray(mean >= 0.5 if inclusive else mean > 0.5)
    if union_of_small and 20 * merged.sum() <= merged.size:
        merged = np.asarray(masks.any(axis=0))
    return merged


def join_passes(queries: tuple[str, ...], things: Segmentation, stuff: Segmentation) -> Segmentation:
    """One segmentation of things, then stuff (``queries``), from a pass over each on the same image.

    Stuff is painted first, things over it. The steps of the stuff pass follow those of the things.
    """
    masks, scores = (np.concatenate([getattr(part, name) for part in (things, stuff)]) for name in ("masks", "scores"))
    things, stuff = things.among(queries), stuff.among(queries)
    stages = dict.fromkeys([*things.seconds, *stuff.seconds])
    return replace(
        things,
        masks=masks,
        scores=scores,
        kept=things.kept + stuff.kept,
        label_map=np.where(things.label_map > 0, things.label_map, stuff.label_map),
        steps=things.steps + stuff.steps,
        seconds={stage: things.seconds.get(stage, 0.0) + stuff.seconds.get(stage, 0.0) for stage in stages},
    )
