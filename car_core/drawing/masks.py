"""The picture of a segmentation: masks over the image, a legend below."""

from __future__ import annotations

from collections.abc import Sequence

from support.arrays import Int32Array, RGBArray
from support.drawing import (
    Canvas,
    LegendEntry,
    QueryOutcome,
    draw_legend_row,
    draw_overlay,
    legend_rows,
    resize_image,
)
from support.drawing.palette import FAINT

LEAST_SIDE = 640
"""A smaller image is enlarged until its longer side has this many pixels, so that the legend can be read."""


def draw_masks(image: RGBArray, labels: Int32Array, outcomes: Sequence[QueryOutcome]) -> RGBArray:
    """The masks over the image; below it each kept query with its color and score, and the dropped ones.

    image: uint8 [H, W, 3]. labels: [H, W], i + 1 for query i. Returns uint8 [h, w, 3], at least ``LEAST_SIDE`` on the
    image's longer side.
    """
    picture = masks_over_image(enlarged(image), labels, outcomes)
    height, width = picture.shape[:2]
    size = max(15, width // 48)
    margin = size // 2
    kept = [LegendEntry(query.color, query.query, f"{query.score:.2f}") for query in outcomes if query.kept]
    dropped = ", ".join(query.query for query in outcomes if not query.kept)
    rows = legend_rows(kept, size, width - 2 * margin)
    lines = len(rows) + bool(dropped)
    canvas = Canvas(width, height + lines * 2 * size + (size if lines else 0))
    canvas.paste(picture, 0, 0)
    y = height + margin + margin // 2
    for row in rows:
        draw_legend_row(canvas, row, size, margin, y)
        y += 2 * size
    if dropped:
        canvas.text(margin, y, f"dropped: {dropped}", size, color=FAINT, width=width - 2 * margin)
    return canvas.picture()


def masks_over_image(image: RGBArray, labels: Int32Array, outcomes: Sequence[QueryOutcome]) -> RGBArray:
    """The image with each query's label in its color; labels are resized where their size differs."""
    return draw_overlay(image, labels, {index + 1: query.color for index, query in enumerate(outcomes)})


def enlarged(image: RGBArray) -> RGBArray:
    """The image, its longer side at least ``LEAST_SIDE`` pixels."""
    height, width = image.shape[:2]
    scale = max(1.0, LEAST_SIDE / max(height, width))
    return resize_image(image, (max(1, round(scale * height)), max(1, round(scale * width))))
