"""Samples of the gallery as encoded pictures and texts, and pictures as files next to a page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from support.drawing import EncodedImage, QueryOutcome


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
    its own texts; else empty. target, prediction: its area in each, as a layer over the image; None where it is not.
    """

    name: str
    color: str
    iou: float | None = None
    query: str = ""
    target: EncodedImage | None = None
    prediction: EncodedImage | None = None


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
    steps: tuple[StepShown, ...]
    theta: float | None
    note: str = ""
    figure_name: str = "IoU"
    target_note: str = ""

    @property
    def pictures(self) -> Iterator[EncodedImage]:
        """The image, its layers, and those of the steps."""
        layers = (picture for label in self.labels for picture in (label.target, label.prediction))
        steps = (
            picture for step in self.steps for query in step.queries for picture in (query.proposal, query.prompted)
        )
        yield from filter(None, (self.image, *layers, *steps))


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


@dataclass
class PictureFiles:
    """Pictures and pages that lie in a folder next to a page. contents: by their names in it."""

    folder: str
    contents: dict[str, bytes] = field(default_factory=dict)

    def add(self, picture: EncodedImage) -> str:
        """Keep a picture; returns its name in the folder, the same for equal pictures."""
        name = f"{hashlib.sha256(picture.data).hexdigest()[:16]}.{picture.media.partition('/')[2]}"
        self.contents[name] = picture.data
        return name

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(map(len, self.contents.values()))


def inline_bytes(samples: Iterable[SampleShown]) -> int:
    """Size of all pictures of samples if inlined in a page."""
    return sum(picture.n_bytes for sample in samples for picture in sample.pictures)
