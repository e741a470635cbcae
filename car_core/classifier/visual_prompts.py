"""v, the visual prompts: small functions that draw a binary mask into an image, applied together in a fixed order.

Images are uint8 [H, W, 3] RGB, masks bool [H, W]. Blur, gray and black replace the pixels outside the mask. Their
replacement does not depend on the mask, so it is computed once per image. Outlines are drawn over the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import isfunction, signature
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from car_core import config
from support.arrays import BoolArray, RGBArray
from support.plugins import Plugin, PluginError

RED = (255, 0, 0)
BLUR_KERNEL = (15, 15)  # pixels; sigma is OpenCV's automatic one


def extent_of(mask: BoolArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Mean position (x, y) of the set pixels, at least one, and half of their extent, in pixels, truncated."""
    centers, halves = [], []
    for axis in (0, 1):  # columns, rows
        counts = cv2.reduce(mask.view(np.uint8), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        (positions,) = counts.nonzero()
        centers.append(int(np.average(positions, weights=counts[positions])))
        halves.append(int(positions[-1] - positions[0] + 1) // 2)
    return tuple(centers), tuple(halves)


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
    center, axes = extent_of(mask)
    return _rgb(cv2.ellipse(image, center, axes, 0, 0, 360, RED, 1))


def rectangle(image: RGBArray, mask: BoolArray) -> RGBArray:
    """Red box, 1 pixel wide, around the mask's mean position, sides its extent."""
    (x, y), (half_width, half_height) = extent_of(mask)
    first, last = (x - half_width, y - half_height), (x + half_width, y + half_height)
    return _rgb(cv2.rectangle(image, first, last, RED, 1))


def contour(image: RGBArray, mask: BoolArray) -> RGBArray:
    """Red outline, 1 pixel wide, along the inner border of the mask, its holes filled."""
    # External contours only: what lies inside a hole is inside the filled mask.
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _rgb(cv2.drawContours(image, contours, -1, RED, 1))


# Replacements of the image outside the mask, then drawings over it; both in the method's order.
Surroundings: TypeAlias = Callable[[RGBArray, str], RGBArray]
Outline: TypeAlias = Callable[[RGBArray, BoolArray], RGBArray]
SURROUNDINGS: dict[str, Surroundings] = {"blur": blur, "gray": gray, "mask": black}
OUTLINES: dict[str, Outline] = {"circle": circle, "rectangle": rectangle, "contour": contour}
PROMPTS = (*SURROUNDINGS, *OUTLINES)  # the built-in ones
_GRAY_CODES = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}


def register_prompt(name: str, *, surroundings: Surroundings | None = None, outline: Outline | None = None) -> None:
    """Add a visual prompt, drawn after the built-in ones of its kind; several are drawn in the order of their names in
    ``prompts``.

    surroundings: image and ``gray_weights`` -> what is shown outside a mask. outline: image, which may be uint8 [H, W],
    and mask -> the image with ``RED`` pixels. Raises ValueError unless exactly one is given.
    """
    if surroundings and not outline:
        SURROUNDINGS[name] = _guarded(name, surroundings)
    elif outline and not surroundings:
        OUTLINES[name] = _guarded(name, outline)
    else:
        raise ValueError(f"prompt {name}: expected either surroundings or an outline")
    config.PROMPTS.add(name)


def register_prompt_plugin(plugin: Plugin) -> None:
    """Register the function of a package or a file: of (image, gray_weights), or of (image, mask).

    Raises PluginError for anything else, and for the name of another prompt.
    """
    draw, kinds = plugin.value, {"gray_weights": "surroundings", "mask": "outline"}
    names = list(signature(draw).parameters) if isfunction(draw) else []
    if len(names) != 2 or names[1] not in kinds:
        found = f"one of ({', '.join(names)})" if isfunction(draw) else f"a {type(draw).__name__}"
        raise PluginError(
            f"{plugin.target}: expected a function of (image, gray_weights) or (image, mask), found {found}"
        )
    if plugin.name in config.PROMPTS and config.PROMPT_PLUGINS.get(plugin.name) != plugin:
        other = config.PROMPT_PLUGINS.get(plugin.name) or "car-eval"
        raise PluginError(f"{plugin.target}: expected an unused name, found {plugin.name!r} of {other}")
    if plugin.name not in config.PROMPT_PLUGINS:
        register_prompt(plugin.name, **{kinds[names[1]]: draw})
        config.PROMPT_PLUGINS[plugin.name] = plugin


def _guarded(name: str, draw: Callable[[RGBArray, Any], RGBArray]) -> Callable[[RGBArray, Any], RGBArray]:
    """A prompt that cannot change its arguments, and whose result is an image of the same size."""

    def guarded(image: RGBArray, other: Any) -> RGBArray:
        drawn = np.asarray(draw(image.copy(), other.copy() if isinstance(other, np.ndarray) else other))
        if drawn.dtype != np.uint8 or drawn.shape != image.shape:
            expected, found = (f"{array.dtype} {list(array.shape)}" for array in (image, drawn))
            raise ValueError(f"visual prompt {name}: expected {expected}, found {found}")
        return drawn

    return guarded


def _in_order(prompts: Sequence[str]) -> list[str]:
    """The built-in ones in the method's order, then the others as given."""
    return [*(name for name in PROMPTS if name in prompts), *(name for name in prompts if name not in PROMPTS)]


@dataclass(frozen=True)
class PromptCanvas:
    """v(x, .): an image, and the pixels that its prompts show outside any mask, both uint8 [H, W, 3]."""

    image: RGBArray
    outside: RGBArray
    prompts: tuple[str, ...]

    @classmethod
    def from_image(cls, image: RGBArray, prompts: Sequence[str], gray_weights: str) -> PromptCanvas:
        """gray_weights: see the switch of that name."""
        outside = image
        for name in _in_order(prompts):
            if name in SURROUNDINGS:
                outside = SURROUNDINGS[name](outside, gray_weights)
        return cls(image, outside, tuple(prompts))

    def draw(self, mask: BoolArray) -> RGBArray:
        """The image with the prompts drawn from the mask.

        A mask of at most one pixel leaves the image unchanged (the circle of nothing is undefined).
        """
        if np.count_nonzero(mask) <= 1:
            return self.image
        drawn = _rgb(cv2.copyTo(self.image, mask.view(np.uint8), self.outside.copy()))
        return _with_outlines(drawn, mask, self.prompts)


def outlines(mask: BoolArray, prompts: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Where `PromptCanvas.draw` draws in red for a mask of at least two pixels, uint8 [H, W], 0 elsewhere."""
    return _with_outlines(np.zeros(mask.shape, np.uint8), mask, prompts)


def _with_outlines(image: RGBArray, mask: BoolArray, prompts: Sequence[str]) -> RGBArray:
    for name in _in_order(prompts):
        if name in OUTLINES:
            image = OUTLINES[name](image, mask)
    return image


def _rgb(image: npt.NDArray[np.generic]) -> RGBArray:
    return image.astype(np.uint8, copy=False)
