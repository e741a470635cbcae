"""Visual prompts of a single mask."""

from __future__ import annotations

from collections.abc import Sequence

from car_core.classifier.visual_prompts import PromptCanvas
from support.arrays import BoolArray, RGBArray


def draw_prompts(image: RGBArray, mask: BoolArray, prompts: Sequence[str], gray_weights: str = "rgb") -> RGBArray:
    return PromptCanvas.from_image(image, prompts, gray_weights).draw(mask)
