"""Samples of the gallery as encoded pictures and texts, and how many of them fit into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from support.drawing import EncodedImage, QueryOutcome

LEFT_OUT = "its proposals and prompted images are left out to keep this file small"


@dataclass(frozen=True)
class QueryShown:
    """A query in one step. score: P_ii in 0..1. proposal, prompted: None if not shown."""

    query: str
    score: float
    kept: bool
    proposal: EncodedImage | None = None
    prompted: EncodedImage | None = None


@dataclass(frozen=True)
class StepShown:
    """One step of the recurrence: its queries, best score first."""

    name: str
    queries: tuple[QueryShown, ...]

    @property
    def n_kept(self) -> int:
        return sum(query.kept for query in self.queries)

    @property
    def pictured(self) -> tuple[QueryShown, ...]:
        """The queries that are shown with pictures."""
        return tuple(query for query in self.queries if query.proposal and query.prompted)


@dataclass(frozen=True)
class LabelShown:
    """A label of a sample's target or prediction.

    color: as #rrggbb. iou: in this sample, None where undefined. query: the text that asks for it, if the sample has
    its own texts; else empty.
    """

    name: str
    color: str
    iou: float | None = None
    query: str = ""


@dataclass(frozen=True)
class SampleShown:
    """A sample of the gallery.

    group: why it was chosen (best, worst, random). figure: its headline metric, named by figure_name. steps, theta (the
    threshold of the scores): empty and None for a method without a recurrence. note, target_note: caveats about the
    pictures and about the target (such as that it is empty); often empty.
    """

    id: str
    group: str
    figure: float | None
    queries: tuple[str, ...]
    labels: tuple[LabelShown, ...]
    image: EncodedImage
    target: EncodedImage
    prediction: EncodedImage
    steps: tuple[StepShown, ...]
    theta: float | None
    note: str = ""
    figure_name: str = "IoU"
    target_note: str = ""

    @property
    def n_bytes(self) -> int:
        """Size of all its pictures in the page."""
        pictures = [self.image, self.target, self.prediction]
        pictures += [p for step in self.steps for q in step.queries for p in (q.proposal, q.prompted) if p]
        return sum(picture.n_bytes for picture in pictures)


@dataclass(frozen=True)
class MaskShown:
    """A mask that can be shown and hidden. color: as #rrggbb. picture: of the image's size, transparent outside it."""

    name: str
    color: str
    picture: EncodedImage


@dataclass(frozen=True)
class SegmentationShown:
    """One segmented image: its masks, topmost first, each query's outcome, and the recurrence with its theta.

    name: without an ending, of the files to download: label_map, and coco, a document in COCO's JSON format.
    """

    image: EncodedImage
    masks: tuple[MaskShown, ...]
    queries: tuple[QueryOutcome, ...]
    steps: tuple[StepShown, ...]
    theta: float
    name: str
    label_map: EncodedImage
    coco: str


def fitted(samples: Sequence[SampleShown], budget: int) -> list[SampleShown]:
    """The samples with at most ``budget`` bytes of pictures: steps lose theirs first, then the last samples go."""
    shown = list(samples)
    total = sum(sample.n_bytes for sample in shown)
    for index in reversed(range(len(shown))):
        if total > budget:
            sample = shown[index]
            bare_steps = tuple(
                replace(step, queries=tuple(replace(query, proposal=None, prompted=None) for query in step.queries))
                for step in sample.steps
            )
            note = "; ".join(filter(None, [sample.note, LEFT_OUT]))
            shown[index] = replace(sample, steps=bare_steps, note=note)
            total -= sample.n_bytes - shown[index].n_bytes
    while total > budget:
        total -= shown.pop().n_bytes
    return shown
