"""What an engine needs of a method: anything that segments a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from car_core.segmentation import Segmentation


class Segmenter(Protocol):
    """CaR, or another method under the same protocol."""

    def segment_batch(self, images: Sequence[Any], queries_per_image: Sequence[Sequence[str]]) -> list[Segmentation]:
        """One segmentation an image: images uint8 [H, W, 3], a list of query texts each."""
        ...

    def segment_two_pass_batch(
        self, images: Sequence[Any], things: Sequence[str], stuff: Sequence[str]
    ) -> list[Segmentation]:
        """One segmentation an image, things and stuff segmented apart; its queries are the things, then the stuff."""
        ...
