"""Contact sheets: images with their targets and predictions. Arrays in, one RGB array out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from support.arrays import Int32Array, RGBArray
from support.drawing import (
    Canvas,
    LegendEntry,
    draw_legend_row,
    draw_overlay,
    label_color,
    legend_rows,
    resize_image,
)
from support.drawing.palette import FAINT

TILE_WIDTH, TILE_HEIGHT = 208, 168
"""Box that each picture is fitted into, pixels."""
COLUMNS = 2
"""Examples side by side."""

_GAP = 8
_MARGIN = 28
_TITLE = 54
_LEGEND = 46
_EXAMPLE_WIDTH = 3 * TILE_WIDTH + 2 * _GAP
_EXAMPLE_HEIGHT = TILE_HEIGHT + _LEGEND + _GAP
_TEXT = 13
_LEGEND_ROWS = 2


@dataclass(frozen=True)
class Example:
    """One image with its target and what was predicted.

    image: uint8 [H, W, 3], RGB. target, prediction: int32 [H, W], labels; 0 is background and not drawn. names: of the
    labels. ignore_label: target value that no metric counts. caption: a line in place of the legend.
    """

    image: RGBArray
    target: Int32Array
    prediction: Int32Array
    names: Mapping[int, str]
    ignore_label: int = 255
    caption: str = ""


def contact_sheet(sections: Mapping[str, Sequence[Example]]) -> RGBArray:
    """Image, target and prediction of every example, two examples per row, sections under their titles.

    A color means the same label in target and prediction. The legend names it and adds "missed" if it is only in the
    target, "wrong" if it is only in the prediction. Returns uint8 [H, W, 3].
    """
    heights = [_TITLE + -(-len(examples) // COLUMNS) * _EXAMPLE_HEIGHT for examples in sections.values()]
    canvas = Canvas(_MARGIN + COLUMNS * (_EXAMPLE_WIDTH + _MARGIN), 2 * _MARGIN + sum(heights))
    top = _MARGIN
    for (title, examples), height in zip(sections.items(), heights, strict=True):
        canvas.text(_MARGIN, top, title, 20)
        for column in range(COLUMNS):
            for tile, heading in enumerate(("image", "target", "prediction")):
                x = _MARGIN + column * (_EXAMPLE_WIDTH + _MARGIN) + tile * (TILE_WIDTH + _GAP)
                canvas.text(x, top + 31, heading, _TEXT, color=FAINT)
        for position, example in enumerate(examples):
            row, column = divmod(position, COLUMNS)
            x = _MARGIN + column * (_EXAMPLE_WIDTH + _MARGIN)
            _draw_example(canvas, example, x, top + _TITLE + row * _EXAMPLE_HEIGHT)
        top += height
    return canvas.picture()


def _draw_example(canvas: Canvas, example: Example, x: int, y: int) -> None:
    target, prediction = (_drawn_labels(labels, example) for labels in (example.target, example.prediction))
    colors = {label: label_color(i) for i, label in enumerate(dict.fromkeys([*target, *prediction]))}
    height, width = example.image.shape[:2]
    scale = min(TILE_HEIGHT / height, TILE_WIDTH / width)
    # Drawn at the tile's size, so that contours are equally wide in all tiles.
    image = resize_image(example.image, (max(1, round(height * scale)), max(1, round(width * scale))))
    overlays = [
        draw_overlay(image, each, colors, example.ignore_label) for each in (example.target, example.prediction)
    ]
    for tile, picture in enumerate([image, *overlays]):
        canvas.paste(picture, x + tile * (TILE_WIDTH + _GAP), y)
    y += TILE_HEIGHT + 5
    if example.caption or not colors:
        canvas.text(x, y, example.caption or "nothing to find, nothing found", _TEXT + 1, width=_EXAMPLE_WIDTH)
        return
    entries = [
        LegendEntry(
            color,
            example.names.get(label, str(label)),
            "wrong" if label not in target else "missed" if label not in prediction else "",
        )
        for label, color in colors.items()
    ]
    rows = legend_rows(entries, _TEXT, _EXAMPLE_WIDTH - 40)
    for position, legend in enumerate(rows[:_LEGEND_ROWS]):
        end = draw_legend_row(canvas, legend, _TEXT, x, y + 20 * position)
    if left_out := sum(map(len, rows[_LEGEND_ROWS:])):
        canvas.text(end, y + 20 * (_LEGEND_ROWS - 1), f"+{left_out}", _TEXT, color=FAINT)


def _drawn_labels(labels: Int32Array, example: Example) -> list[int]:
    """The labels of a target or prediction that are drawn, largest area first."""
    values, sizes = np.unique(labels, return_counts=True)
    falling = values[np.argsort(-sizes, kind="stable")].tolist()
    return [label for label in falling if label not in (0, example.ignore_label)]
