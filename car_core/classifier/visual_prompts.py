"""v, the visual prompts: small functions that draw a binary mask into an image, applied together in a fixed order.

Images are uint8 [H, W, 3] RGB, masks bool [H, W]. Blur, gray and black replace what is outside the mask. What they
replace it with does not depend on the mask, so it is computed once per image. Outlines are drawn over the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from car_core import config
from support.arrays import BoolArray, RGBArray

RED = (255, 0, 0)
BLUR_KERNEL = (15, 15)  # pixels; sigma is OpenCV's automatic one


class Extent(NamedTuple):
    """Bounding geometry of a mask, in pixels."""

    center_x: int  # mean position, truncated
    center_y: int
    half_width: int  # half of the extent, truncated
    half_height: int


def extent_of(mask: BoolArray) -> Extent:
    """Center and half extent of the set pixels; the mask must have one."""
    (y, height), (x, width) = (_along(np.count_nonzero(mask, axis=axis)) for axis in (1, 0))
    return Extent(x, y, width // 2, height // 2)


def _along(counts: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Mean position, truncated, and extent of pixels, from their number in each row or column."""
    (positions,) = counts.nonzero()
    return int(np.average(positions, weights=counts[positions])), int(positions[-1] - positions[0] + 1)


def blur(image: RGBArray, gray_weights: str) -> RGBArray:
    """Gaussian blur."""
    return _rgb(cv2.GaussianBlur(image, BLUR_KERNEL, 0))


def gray(image: RGBArray, gray_weights: str) -> RGBArray:
    """Gray level in three equal channels; see the switch ``gray_weights``."""
    level = cv2.cvtColor(image, _GRAY_CODES[gray_weights])
    return _rgb(np.repeat(level[..., None], 3, axis=2))


def black(image: RGBArray, gray_weights: str) -> RGBArray:
    """Black (prompt ``mask``)."""
    return np.zeros_like(image)


def circle(image: RGBArray, mask: BoolArray) -> RGBArray:
    """Red ellipse, 1 pixel wide, around the mask's mean position, axes half of its extent."""
    extent = extent_of(mask)
    center, axes = (extent.center_x, extent.center_y), (extent.half_width, extent.half_height)
    return _rgb(cv2.ellipse(image, center, axes, 0, 0, 360, RED, 1))


def rectangle(image: RGBArray, mask: BoolArray) -> RGBArray:
    """Red box, 1 pixel wide, around the mask's mean position, sides its extent."""
    x, y, half_width, half_height = extent_of(mask)
    first, last = (x - half_width, y - half_height), (x + half_width, y + half_height)
    return _rgb(cv2.rectangle(image, first, last, RED, 1))


def contour(image: RGBArray, mask: BoolArray) -> RGBArray:
    """Red outline, 1 pixel wide, along the inner border of the mask, its holes filled."""
    # External contours only: what lies inside a hole is inside the filled mask.
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _rgb(cv2.drawContours(image, contours, -1, RED, 1))


# What replaces the image outside the mask, then what is drawn over it; both in the method's order.
Surroundings: TypeAlias = Callable[[RGBArray, str], RGBArray]
Outline: TypeAlias = Callable[[RGBArray, BoolArray], RGBArray]
SURROUNDINGS: dict[str, Surroundings] = {"blur": blur, "gray": gray, "mask": black}
OUTLINES: dict[str, Outline] = {"circle": circle, "rectangle": rectangle, "contour": contour}
PROMPTS = (*SURROUNDINGS, *OUTLINES)  # the built-in ones
_GRAY_CODES = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}


def register_prompt(name: str, *, surroundings: Surroundings | None = None, outline: Outline | None = None) -> None:
    """Add a visual prompt, drawn after the others of its kind.

    surroundings: image and ``gray_weights`` -> what is shown outside a mask. outline: image, which may be uint8 [H, W],
    and mask -> the image with ``RED`` pixels. Raises ValueError unless exactly one is given.
    """
    if surroundings and not outline:
        SURROUNDINGS[name] = surroundings
    elif outline and not surroundings:
        OUTLINES[name] = outline
    else:
        raise ValueError(f"prompt {name}: expected either surroundings or an outline")
    config.PROMPTS.add(name)


@dataclass(frozen=True)
class PromptCanvas:
    """v(x, .): an image, and what its prompts show outside any mask, both uint8 [H, W, 3]."""

    image: RGBArray
    outside: RGBArray
    prompts: tuple[str, ...]

    @classmethod
    def from_image(cls, image: RGBArray, prompts: Sequence[str], gray_weights: str) -> PromptCanvas:
        """gray_weights: see the switch of that name."""
        outside = image
        for name, change in SURROUNDINGS.items():
            if name in prompts:
                outside = change(outside, gray_weights)
        return cls(image, outside, tuple(prompts))

    def draw(self, mask: BoolArray) -> RGBArray:
        """The image with the prompts drawn from the mask, in the order of registration.

        A mask of at most one pixel leaves the image unchanged (the circle of nothing is undefined).
        """
        if np.count_nonzero(mask) <= 1:
            return self.image
        drawn = _rgb(cv2.copyTo(self.image, mask.view(np.uint8), self.outside.copy()))
        return _with_outlines(drawn, mask, self.prompts)


def draw_prompts(image: RGBArray, mask: BoolArray, prompts: Sequence[str], gray_weights: str = "rgb") -> RGBArray:
    """`PromptCanvas.draw` for a single mask."""
    return PromptCanvas.from_image(image, prompts, gray_weights).draw(mask)


def outlines(mask: BoolArray, prompts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Where `PromptCanvas.draw` draws in red for a mask of at least two pixels, uint8 [H, W], 0 elsewhere."""
    return _with_outlines(np.zeros(mask.shape, np.uint8), mask, prompts)


def _with_outlines(image: RGBArray, mask: BoolArray, prompts: Sequence[str]) -> RGBArray:
    for name, draw in OUTLINES.items():
        if name in prompts:
            image = draw(image, mask)
    return image


def _rgb(image: npt.NDArray[np.generic]) -> RGBArray:
    return image.astype(np.uint8, copy=False)
