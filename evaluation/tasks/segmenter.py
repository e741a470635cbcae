"""The interface of a method that engines run: anything that segments a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from car_core.config import Config
from car_core.models.weights import WeightsRecord
from car_core.refinement import CoarseSegmentation
from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample


class Segmenter(Protocol):
    """CaR, or another method under the same protocol, with its settings and models."""

    weights: tuple[WeightsRecord, ...]

    @property
    def config(self) -> Config: ...

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """The queries as a tuple. Raises QueryError for texts that it cannot segment."""
        ...

    def segment_batch(
        self, images: Sequence[Any], queries_per_image: Sequence[Sequence[str]], *, trace: bool = ...
    ) -> list[Segmentation]:
        """One segmentation per image: images uint8 [H, W, 3], a list of query texts each. trace: keep the proposals."""
        ...

    def segment_two_pass_batch(
        self, images: Sequence[Any], things: Sequence[str], stuff: Sequence[str], *, trace: bool = ...
    ) -> list[Segmentation]:
        """One segmentation per image, things and stuff segmented apart; its queries are the things, then the stuff."""
        ...


def smaller_passes(segmenter: object) -> tuple[str, ...]:
    """What a segmenter ran in smaller passes because its device was out of memory; empty if it does not report it."""
    return tuple(getattr(segmenter, "smaller_passes", ()))


@runtime_checkable
class CoarseSegmenter(Protocol):
    """A segmenter whose refinement can run apart from its models: CaR."""

    def segment_coarse_batch(
        self, images: Sequence[Any], queries_per_image: Sequence[Sequence[str]], *, trace: bool = False
    ) -> list[CoarseSegmentation]:
        """`Segmenter.segment_batch` up to the refinement."""
        ...

    def segment_coarse_two_pass_batch(
        self, images: Sequence[Any], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[CoarseSegmentation]:
        """`Segmenter.segment_two_pass_batch` up to the refinement."""
        ...


@runtime_checkable
class SampleSegmenter(Protocol):
    """A segmenter that is given whole samples, as one that looks up what was predicted for them."""

    def segment_samples(self, samples: Sequence[Sample], label_space: LabelSpace) -> list[Segmentation]:
        """One segmentation per sample."""
        ...


def segment_samples(
    samples: Sequence[Sample], segmenter: Segmenter, label_space: LabelSpace, *, trace: bool = False
) -> list[Segmentation]:
    """One segmentation per sample; things and stuff apart where the label space distinguishes them.

    trace: keep every step's proposals and prompted images.
    """
    if isinstance(segmenter, SampleSegmenter):
        return segmenter.segment_samples(samples, label_space)
    images = [sample.image for sample in samples]
    extra = {"trace": True} if trace else {}  # only if asked for: not every method has it
    if label_space.stuff:
        return segmenter.segment_two_pass_batch(images, label_space.things, label_space.stuff, **extra)
    return segmenter.segment_batch(images, [sample.queries for sample in samples], **extra)
