"""What is laid over an image: masks, label maps, heat maps. Pure: arrays in, a new uint8 [H, W, 3] out."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from support.arrays import BoolArray, Float32Array, RGBArray
from support.drawing.palette import WHITE, Color

FILL = 0.5
"""Opacity of a mask's color."""


def resized(image: RGBArray, size: tuple[int, int]) -> RGBArray:
    """The image at (height, width): averaged where it shrinks, bicubic where it grows."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def overlay(image: RGBArray, labels: npt.NDArray[np.integer], colors: Mapping[int, Color]) -> RGBArray:
    """The labels' areas in their colors, each with a contour line; the rest of the image is dimmed.

    Args:
        image: uint8 [H, W, 3].
        labels: integers [h, w]; of another size than the image, they are resized to it.
        colors: by label; a label without a color is not drawn.
    """
    size = image.shape[0], image.shape[1]
    areas = {label: _area(labels == label, size) for label in colors}
    drawn = np.any(list(areas.values()), axis=0) if areas else np.zeros(size, np.bool_)
    result = np.where(drawn[..., None], image, _dimmed(image))
    for label, area in areas.items():
        tinted = (1 - FILL) * image[area] + FILL * np.array(colors[label])
        result[area] = tinted.round().astype(np.uint8)
    for label, area in areas.items():
        _outline(result, area, colors[label], line_width(size))
    return result


def heat_map(image: RGBArray, proposal: Float32Array, threshold: float | None = None) -> RGBArray:
    """A soft mask as heat over the grey image, dark to bright (inferno), with a line where it crosses the threshold.

    Args:
        image: uint8 [H, W, 3].
        proposal: float [h, w] in 0..1; resized bilinearly to the image.
        threshold: in 0..1, None for no line.
    """
    height, width = image.shape[:2]
    values = cv2.resize(np.asarray(proposal, np.float32), (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    heat = cv2.applyColorMap((255 * values).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    share = 0.55 + 0.3 * values[..., None]
    result = ((1 - share) * gray + share * heat).round().astype(np.uint8)
    if threshold is not None:
        _outline(result, np.asarray(values > threshold), WHITE, 1, halo=False)
    return result


def line_width(size: tuple[int, int]) -> int:
    """Width in pixels of a contour line that is seen at this (height, width)."""
    return max(1, round(min(size) / 320))


def _area(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    height, width = size
    if mask.shape == size:
        return mask
    return np.asarray(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)


def _dimmed(image: RGBArray) -> RGBArray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return np.asarray(0.45 * image + 0.35 * gray + 0.2 * 255 * 0.6).round().astype(np.uint8)


def _outline(image: RGBArray, area: BoolArray, color: Color, width: int, *, halo: bool = True) -> None:
    """Draw the area's contours into the image, on a white halo that keeps them apart from any background."""
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if halo:
        cv2.drawContours(image, contours, -1, WHITE, width + 2, cv2.LINE_AA)
    cv2.drawContours(image, contours, -1, color, width, cv2.LINE_AA)
