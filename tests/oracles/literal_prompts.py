"""Visual prompts pixel by pixel, without the drawing routines of the library under test."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

RED = np.array([255, 0, 0], np.uint8)


def outside(mask: Mask, image: Image, other: npt.NDArray[np.generic]) -> Image:
    result = image.copy()
    result[~mask] = other[~mask]
    return result


def gaussian_weights() -> npt.NDArray[np.int64]:
    """15 taps in 1/256, summing to 256: sigma is OpenCV's automatic 0.3 * ((15 - 1) / 2 - 1) + 0.8.

    OpenCV blurs 8-bit images in fixed point. Each tap is rounded together with what earlier taps lost by rounding,
    from the outside inwards, and the middle tap takes the rest.
    """
    sigma = 0.3 * ((15 - 1) * 0.5 - 1) + 0.8
    taps = np.exp(-((np.arange(15) - 7.0) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    fixed, lost = np.zeros(15, np.int64), 0.0
    for i in range(7):
        exact = taps[i] * 256 + lost
        fixed[i] = fixed[14 - i] = int(np.rint(exact))
        lost = exact - fixed[i]
    fixed[7] = 256 - fixed.sum()
    return fixed


def blurred(image: Image) -> Image:
    """Separable convolution, reflected at the border without repeating it; rounded half up at the end alone."""
    weights, result = gaussian_weights(), image.astype(np.int64)
    for axis in (0, 1):
        size = result.shape[axis]
        total = np.zeros_like(result)
        for tap, weight in zip(range(-7, 8), weights, strict=True):
            total += weight * np.take(result, [reflected(i + tap, size) for i in range(size)], axis=axis)
        result = total
    return ((result + (1 << 15)) >> 16).astype(np.uint8)


def reflected(index: int, size: int) -> int:
    if size == 1:
        return 0
    index = abs(index) % (2 * size - 2)
    return min(index, 2 * size - 2 - index)


def gray_level(image: Image, weights: str) -> Image:
    """Luminance 0.299 R + 0.587 G + 0.114 B in units of 2 ** -15, rounded half up; "bgr" swaps red and blue."""
    red, green, blue = np.moveaxis(image.astype(np.int64), -1, 0)
    if weights == "bgr":
        red, blue = blue, red
    level = (9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15
    return np.repeat(level[..., None], 3, axis=2).astype(np.uint8)


def contour_pixels(mask: Mask) -> Mask:
    """Pixels of the filled mask that touch its outside by an edge."""
    filled = ndimage.binary_fill_holes(mask)
    return filled & ~ndimage.binary_erosion(filled, border_value=0)


def extent(mask: Mask) -> tuple[int, int, int, int]:
    """Mean x, mean y, half width, half height, all truncated."""
    points = [(x, y) for y, row in enumerate(mask) for x, inside in enumerate(row) if inside]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    mean_x, mean_y = sum(xs) // len(xs), sum(ys) // len(ys)
    return mean_x, mean_y, (max(xs) - min(xs) + 1) // 2, (max(ys) - min(ys) + 1) // 2


def ellipse_pixels(mask: Mask) -> Mask:
    """The ellipse as OpenCV defines it: a polygon in 1/65536 pixels with a vertex every 90, 30, 18 or 5 degrees."""
    x, y, half_width, half_height = extent(mask)
    longest = max(half_width, half_height)
    step = 90 if longest < 3 else 30 if longest < 10 else 18 if longest < 15 else 5
    angles = np.deg2rad(np.arange(0, 361, step))
    vertices = np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1)
    canvas = np.zeros(mask.shape, np.uint8)
    fixed = np.rint(vertices * 65536).astype(np.int32)
    cv2.polylines(canvas, [fixed[:, None]], isClosed=False, color=1, thickness=1, lineType=cv2.LINE_8, shift=16)
    return canvas.astype(bool)


def rectangle_pixels(mask: Mask) -> Mask:
    x, y, half_width, half_height = extent(mask)
    left, right, top, bottom = x - half_width, x + half_width, y - half_height, y + half_height
    result = np.zeros_like(mask)
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            on_side = column in (left, right) and top <= row <= bottom
            on_edge = row in (top, bottom) and left <= column <= right
            result[row, column] = on_side or on_edge
    return result


def drawn(image: Image, mask: Mask, prompts: tuple[str, ...], gray_weights: str) -> Image:
    """All named prompts in the order of the method; a mask of at most one pixel leaves the image."""
    if mask.sum() <= 1:
        return image
    result = image.copy()
    if "blur" in prompts:
        result = outside(mask, result, blurred(result))
    if "gray" in prompts:
        result = outside(mask, result, gray_level(result, gray_weights))
    if "mask" in prompts:
        result = outside(mask, result, np.zeros_like(result))
    shapes = {"circle": ellipse_pixels, "rectangle": rectangle_pixels, "contour": contour_pixels}
    for name, pixels in shapes.items():
        if name in prompts:
            result[pixels(mask)] = RED
    return result
