"""The picture of a segmentation (masks over the image, a legend below) and the table that a notebook shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from support.arrays import Int32Array, RGBArray
from support.drawing import (
    Canvas,
    LegendEntry,
    QueryOutcome,
    draw_legend_row,
    draw_overlay,
    encode,
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


def to_html(picture: RGBArray | None, outcomes: Sequence[QueryOutcome]) -> str:
    """A table of the queries below the picture uint8 [H, W, 3], if there is one; all texts escaped."""
    style = "padding: 2px 10px; text-align: left"
    rows = [f"<th style='{style}'>{heading}</th>" for heading in ("query", "score", "area", "outcome")]
    for query in outcomes:
        chip = f"<span style='color: {query.hex_color}'>{'&#9632;' if query.kept else '&#9633;'}</span>"
        figures = (f"{query.score:.2f}", f"{100 * query.area:.1f} %") if query.kept else ("", "")
        cells = (f"{chip} {escape(query.query)}", *figures, query.outcome)
        rows.append("".join(f"<td style='{style}'>{cell}</td>" for cell in cells))
    head, body = "".join(rows[:4]), "".join(f"<tr>{row}</tr>" for row in rows[4:])
    image = ""
    if picture is not None:
        uri = encode(picture, "png").uri
        image = f"<img alt='masks over the image' style='max-width: 100%' src='{uri}'><br>"
    return f"<div>{image}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
