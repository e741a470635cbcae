"""Overlays of an image: label maps and heat maps. Pure: arrays in, a new uint8 [H, W, 3] out."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from support.arrays import BoolArray, Float32Array, RGBArray
from support.drawing.palette import WHITE, Color

FILL = 0.55
"""Opacity of a mask's color."""
_LAYER_FILL = 0.75  # of a layer's, whose contour is opaque; pages show layers at less than full opacity


def resize_image(image: RGBArray, size: tuple[int, int]) -> RGBArray:
    """The image at (height, width): averaged when shrinking, bicubic when enlarging."""
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))


def draw_overlay(
    image: RGBArray, labels: npt.NDArray[np.integer], colors: Mapping[int, Color], ignored: int | None = None
) -> RGBArray:
    """The labels' areas in their colors, each with a contour line, over the dimmed image.

    image: uint8 [H, W, 3]. labels: integers [h, w]; resized to the image where its size differs. colors: by label; a
    label without a color is not drawn. ignored: label whose pixels become white, because no metric counts them.
    """
    present = set(np.unique(labels).tolist())
    areas = {label: _area(labels == label, image) for label in colors if label in present}
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    result = np.asarray(0.1 * image + 0.6 * gray + 50).round().astype(np.uint8)
    for label, area in areas.items():
        result[area] = ((1 - FILL) * image[area] + FILL * np.array(colors[label])).round().astype(np.uint8)
    if ignored in present:
        result[_area(labels == ignored, image)] = WHITE
    width = max(1, round(min(image.shape[:2]) / 320))
    for label, area in areas.items():
        _outline(result, area, WHITE, width + 1)  # a halo keeps the line apart from any background
        _outline(result, area, colors[label], width)
    return result


def draw_layer(area: BoolArray, size: tuple[int, int], color: Color) -> npt.NDArray[np.uint8]:
    """One label's area as `draw_overlay` draws it, by itself: uint8 [H, W, 4], RGBA, transparent outside.

    area: bool [h, w], resized to size, (height, width).
    """
    layer = np.zeros((*size, 4), np.uint8)
    area = _area(area, layer)
    layer[area] = (*color, round(255 * _LAYER_FILL))
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(min(size) / 320))
    for line, thickness in ((WHITE, width + 1), (color, width)):  # not smoothed: few colors make a small file
        cv2.drawContours(layer, contours, -1, (*line, 255), thickness)
    return layer


def draw_heat_map(image: RGBArray, proposal: Float32Array, threshold: float | None = None) -> RGBArray:
    """A soft mask as heat (inferno: dark to bright) over the gray image, with a line where it crosses the threshold.

    image: uint8 [H, W, 3]. proposal: float [h, w] in 0..1; resized bilinearly to the image. threshold: in 0..1; None
    for no line.
    """
    height, width = image.shape[:2]
    values = cv2.resize(np.asarray(proposal, np.float32), (width, height), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    heat = cv2.applyColorMap((255 * values).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    share = 0.55 + 0.3 * values[..., None]
    result = ((1 - share) * gray + share * heat).round().astype(np.uint8)
    if threshold is not None:
        _outline(result, np.asarray(values > threshold), WHITE, 1)
    return result


def _area(mask: BoolArray, image: npt.NDArray[np.uint8]) -> BoolArray:
    height, width = image.shape[:2]
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)


def _outline(image: RGBArray, area: BoolArray, color: Color, width: int) -> None:
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, color, width, cv2.LINE_AA)
