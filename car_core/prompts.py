"""Visual prompts: small functions that draw a binary mask into an image, applied together in a fixed order.

Each takes and returns uint8 [H, W, 3] RGB and leaves its input unchanged; the mask is bool [H, W].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

RED = (255, 0, 0)
BLUR_KERNEL = (15, 15)  # pixels; sigma is OpenCV's automatic one


class Extent(NamedTuple):
    """Bounding geometry of a mask, in pixels."""

    centre_x: int  # mean position, truncated
    centre_y: int
    half_width: int  # half of the extent, truncated
    half_height: int


def extent_of(mask: Mask) -> Extent:
    """Centre and half extent of the set pixels; the mask must have one."""
    rows, columns = np.nonzero(mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    return Extent(int(columns.mean()), int(rows.mean()), int(width // 2), int(height // 2))


def blur(image: Image, mask: Mask, gray_weights: str) -> Image:
    """Gaussian blur outside the mask."""
    return _outside(mask, image, cv2.GaussianBlur(image, BLUR_KERNEL, 0))


def gray(image: Image, mask: Mask, gray_weights: str) -> Image:
    """Grey level (three equal channels) outside the mask; see the switch ``gray_weights``."""
    level = cv2.cvtColor(image, _GRAY_CODES[gray_weights])
    return _outside(mask, image, np.repeat(level[..., None], 3, axis=2))


def black(image: Image, mask: Mask, gray_weights: str) -> Image:
    """Black outside the mask (prompt ``mask``)."""
    return _outside(mask, image, np.zeros_like(image))


def circle(image: Image, mask: Mask, gray_weights: str) -> Image:
    """Red ellipse of 1 pixel around the mask's mean position, axes half of its extent."""
    extent = extent_of(mask)
    centre, axes = (extent.centre_x, extent.centre_y), (extent.half_width, extent.half_height)
    return _rgb(cv2.ellipse(image.copy(), centre, axes, 0, 0, 360, RED, 1))


def rectangle(image: Image, mask: Mask, gray_weights: str) -> Image:
    """Red box of 1 pixel around the mask's mean position, sides its extent."""
    x, y, half_width, half_height = extent_of(mask)
    first, last = (x - half_width, y - half_height), (x + half_width, y + half_height)
    return _rgb(cv2.rectangle(image.copy(), first, last, RED, 1))


def contour(image: Image, mask: Mask, gray_weights: str) -> Image:
    """Red outline of 1 pixel along the inner border of the mask, its holes filled."""
    # External contours alone: what lies inside a hole is inside the filled mask.
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _rgb(cv2.drawContours(image.copy(), contours, -1, RED, 1))


PROMPTS: Mapping[str, Callable[[Image, Mask, str], Image]] = {
    "blur": blur,
    "gray": gray,
    "mask": black,
    "circle": circle,
    "rectangle": rectangle,
    "contour": contour,
}
_GRAY_CODES = {"rgb": cv2.COLOR_RGB2GRAY, "bgr": cv2.COLOR_BGR2GRAY}


def draw_prompts(image: Image, mask: Mask, prompts: Sequence[str], gray_weights: str = "rgb") -> Image:
    """The image with the named prompts drawn from the mask, in the order of ``PROMPTS``.

    A mask of at most one pixel leaves the image as it is (the circle of nothing is undefined).
    """
    if np.count_nonzero(mask) <= 1:
        return image
    for name, draw in PROMPTS.items():
        if name in prompts:
            image = draw(image, mask, gray_weights)
    return image


def _outside(mask: Mask, inside: Image, outside: npt.NDArray[np.generic]) -> Image:
    return _rgb(np.where(mask[..., None], inside, outside))


def _rgb(image: npt.NDArray[np.generic]) -> Image:
    return image.astype(np.uint8, copy=False)
