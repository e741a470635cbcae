"""The picture of a segmentation: masks over the image, a legend below."""

from __future__ import annotations

import numpy as np

from car_core.segmentation import Segmentation
from support.arrays import RGBArray
from support.drawing.canvas import Canvas, fitted, text_line, text_width, wrapped
from support.drawing.layers import overlay, resized
from support.drawing.palette import FAINT, Color, label_color

LEAST_SIDE = 640
"""A smaller image is enlarged until its longer side has so many pixels, so that the legend can be read."""


def require_image(found: Segmentation) -> RGBArray:
    """Its image, uint8 [H, W, 3]. Raises ValueError where it has none."""
    if found.image is None:
        raise ValueError("image: expected a segmentation with its image, found one without")
    return found.image


def query_colors(found: Segmentation) -> dict[int, Color]:
    """Colors by index into the queries: those kept first, in their order, then those dropped."""
    dropped = [index for index in range(len(found.queries)) if index not in found.kept]
    return {index: label_color(place) for place, index in enumerate([*found.kept, *dropped])}


def masks_over_image(found: Segmentation, size: tuple[int, int]) -> RGBArray:
    """The image at (height, width) with the masks drawn over it, one label a pixel; in referring mode the one mask."""
    image = resized(require_image(found), size)
    if found.merged_mask is not None:
        return overlay(image, found.merged_mask.astype(np.int32), {1: label_color(0)})
    colors = query_colors(found)
    return overlay(image, found.label_map, {index + 1: colors[index] for index in found.kept})


def draw_masks(found: Segmentation) -> RGBArray:
    """The masks over the image and, below it, each query with its color and score, and those dropped.

    Returns uint8 [h, w, 3], at least ``LEAST_SIDE`` on its longer side. Raises ValueError for a segmentation without
    its image.
    """
    height, width = fitting_size(require_image(found), LEAST_SIDE)
    size = max(15, width // 48)
    margin = size // 2
    rows = _legend_rows(found, size, width - 2 * margin)
    dropped = _dropped_line(found)
    lines = len(rows) + bool(dropped)
    canvas = Canvas(width, height + lines * 2 * size + (size if lines else 0))
    canvas.paste(masks_over_image(found, (height, width)), 0, 0)
    y = height + margin + margin // 2
    for row in rows:
        _write_row(canvas, row, margin, y, size)
        y += 2 * size
    if dropped:
        canvas.text(margin, y, dropped, size, color=FAINT, width=width - 2 * margin)
    return canvas.picture()


def fitting_size(image: RGBArray, least: int) -> tuple[int, int]:
    """Height and width of the image, enlarged until the longer side has at least so many pixels."""
    height, width = image.shape[:2]
    scale = max(1.0, least / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


_Entry = tuple[Color, str, str]  # color, query, score


def _legend_rows(found: Segmentation, size: int, width: int) -> list[list[tuple[_Entry, int]]]:
    """Entries with their widths, a list a row."""
    colors = query_colors(found)
    if found.merged_mask is not None:
        colors = dict.fromkeys(colors, label_color(0))
    longest = width - text_width("  0.00", size) - 3 * size
    entries = [
        (colors[index], fitted(found.queries[index], size, longest), f"{found.scores[index]:.2f}")
        for index in found.kept
    ]
    widths = [2 * size + text_width(f"{query}  {score}", size) for _, query, score in entries]
    return [[(entries[i], widths[i]) for i in row] for row in wrapped(widths, width, size)]


def _write_row(canvas: Canvas, row: list[tuple[_Entry, int]], x: int, y: int, size: int) -> None:
    for (color, query, score), width in row:
        canvas.chip(x, y + size // 8, size, color)
        after = x + size * 3 // 2
        after += canvas.text(after, y, query, size, strong=True)
        canvas.text(after + size // 2, y, score, size, color=FAINT)
        x += width + size


def _dropped_line(found: Segmentation) -> str:
    dropped = [text_line(query) for index, query in enumerate(found.queries) if index not in found.kept]
    return f"dropped: {', '.join(dropped)}" if dropped else ""
