"""What the baselines share: one image at a time, and, for most, one CLIP model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Generic, TypeVar

import torch
from pydantic import AfterValidator, Field

from car_core.config import Background, Config, NameOrPath
from car_core.engine.device import as_device
from car_core.engine.precision import fresh_torch
from car_core.images import ImageLike, as_rgb, check_batch
from car_core.models.clip import check_vision_tower
from car_core.models.text_encoder import TextEncoder
from car_core.models.weights import WeightsRecord
from car_core.queries import check_texts, require_any
from car_core.segmentation import Segmentation
from support.arrays import RGBArray


def _check_synonyms(synonyms: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    for query, words in synonyms.items():
        if not words or not all(word.strip() for word in words):
            raise ValueError(f"expected texts for each query, found none or a blank one for {query!r}")
    return synonyms


Synonyms = Annotated[
    Mapping[str, tuple[str, ...]],
    AfterValidator(_check_synonyms),
    Field(description="texts used instead of a query; the best of them counts"),
]


class BaselineConfig(Config):
    """What every baseline has: its name, the CLIP it runs on, and background texts."""

    method: str = Field(description="key of car_core.baselines.BASELINES")
    proposal_model: NameOrPath = Field(default="ViT-B-16", min_length=1, description="open_clip name or config JSON")
    background: Background = Field(description="texts for the background; empty: none")


ConfigT = TypeVar("ConfigT", bound=Config)
BaselineT = TypeVar("BaselineT", bound=BaselineConfig)


class ImageSegmenter(ABC, Generic[ConfigT]):
    """A method that segments one image at a time, in float32: an image's result does not depend on others."""

    def __init__(self, config: ConfigT, *, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.device = as_device(device)
        self.weights: tuple[WeightsRecord, ...] = ()
        self.one_mask = False  # whether all queries mean one thing, as in referring segmentation

    @abstractmethod
    def check_texts_of(self, queries: Sequence[str]) -> None:
        """Raise QueryError if a text made from a query does not fit the context."""

    @abstractmethod
    def segment_image(self, image: RGBArray, queries: tuple[str, ...]) -> Segmentation:
        """The segmentation of uint8 [H, W, 3] for checked queries."""

    def segment_things_and_stuff(
        self, image: RGBArray, things: tuple[str, ...], stuff: tuple[str, ...]
    ) -> Segmentation:
        """Things and stuff of one image: together, unless a method segments them separately."""
        return self.segment_image(image, (*things, *stuff))

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """The queries as a tuple. Raises QueryError for none, a blank or repeated one, or one over the context."""
        checked = check_texts("queries", queries)
        require_any(queries=checked)
        self.check_texts_of(checked)
        return checked

    @fresh_torch()
    def segment(self, image: ImageLike, queries: Sequence[str], *, trace: bool = False) -> Segmentation:
        """Segment one image: uint8 [H, W, 3] RGB or a PIL image. Raises QueryError and ImageError.

        trace: ignored (no recurrence); accepted for interface compatibility.
        """
        return self._finished(self.segment_image(as_rgb(image), self.check_queries(queries)))

    @fresh_torch()
    def segment_batch(
        self, images: Sequence[ImageLike], queries_per_image: Sequence[Sequence[str]], *, trace: bool = False
    ) -> list[Segmentation]:
        """``segment`` of several images. Raises before any work; errors name the image's index."""
        inputs = check_batch(images, queries_per_image, self.check_queries)
        return [self._finished(self.segment_image(image, queries)) for image, queries in inputs]

    def _finished(self, found: Segmentation) -> Segmentation:
        return replace(found, merged_mask=found.label_map > 0) if self.one_mask else found

    @fresh_torch()
    def segment_two_pass_batch(
        self, images: Sequence[ImageLike], things: Sequence[str], stuff: Sequence[str], *, trace: bool = False
    ) -> list[Segmentation]:
        """One segmentation per image; its queries are the things, then the stuff. Raises as ``segment_batch``."""
        require_any(things=things, stuff=stuff)
        inputs = check_batch(images, [[*things, *stuff]] * len(images), self.check_queries)
        return [self.segment_things_and_stuff(image, tuple(things), tuple(stuff)) for image, _ in inputs]


class BaselineSegmenter(ImageSegmenter[BaselineT]):
    """A training-free method on one open_clip model with a ViT tower.

    The model is moved to ``device`` and set to evaluation mode.
    """

    @fresh_torch(inference=False)
    def __init__(self, config: BaselineT, *, clip: Any, device: str | torch.device = "cpu") -> None:
        super().__init__(config, device=device)
        check_vision_tower(clip, "clip")
        clip.to(self.device).eval()
        self.text = TextEncoder(clip, role="clip")

    def check_queries(self, queries: Sequence[str]) -> tuple[str, ...]:
        """As `ImageSegmenter.check_queries`; raises ModelError if the model changed since this was built."""
        self.text.check_unchanged()
        return super().check_queries(queries)
