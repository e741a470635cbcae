"""How a notebook shows a segmentation."""

from __future__ import annotations

import base64
from html import escape

from car_core.drawing.masks import draw_masks, query_colors
from car_core.segmentation import Segmentation
from support.drawing.canvas import encode

_CELL = "padding: 2px 10px; text-align: left"


def to_html(found: Segmentation) -> str:
    """The picture, where the image is known, and a table of the queries; all texts escaped."""
    rows = "".join(_row(found, index) for index in range(len(found.queries)))
    heads = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("query", "score", "area", "outcome"))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div>{_picture(found)}{table}</div>"


def _picture(found: Segmentation) -> str:
    if found.image is None:
        return ""
    data = base64.b64encode(encode(draw_masks(found), "png")).decode("ascii")
    return f'<img alt="masks over the image" style="max-width: 100%" src="data:image/png;base64,{data}"><br>'


def _row(found: Segmentation, index: int) -> str:
    red, green, blue = query_colors(found)[index]
    kept = index in found.kept
    chip = f'<span style="color: rgb({red}, {green}, {blue})">{"&#9632;" if kept else "&#9633;"}</span>'
    cells = (
        f"{chip} {escape(found.queries[index])}",
        f"{found.scores[index]:.2f}" if kept else "",
        f"{100 * found.masks[index].mean():.1f} %" if kept else "",
        "kept" if kept else dropped_in(found, index),
    )
    return f"<tr>{''.join(f'<td style={chr(34)}{_CELL}{chr(34)}>{cell}</td>' for cell in cells)}</tr>"


def dropped_in(found: Segmentation, index: int) -> str:
    """When a query was dropped, in words."""
    from car_core.segmentation import step_names

    for name, step in zip(step_names(found.steps), found.steps, strict=True):
        if index in step.queries and index not in step.kept:
            return f"dropped in {name}"
    return "dropped"
