"""Legends: colored chips with a name and a note each, wrapped into rows; and the outcome of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from support.drawing.canvas import Canvas, fit_text, text_width
from support.drawing.palette import FAINT, Color, hex_color


class LegendEntry(NamedTuple):
    """One chip of a legend. note: shown faintly after the name, such as a score."""

    color: Color
    name: str
    note: str = ""


@dataclass(frozen=True)
class QueryOutcome:
    """The outcome of a query. color: of its mask. area: share of the image, in 0..1. outcome: in words."""

    query: str
    color: Color
    kept: bool
    score: float
    area: float
    outcome: str

    @property
    def hex_color(self) -> str:
        """The color as #rrggbb."""
        return hex_color(self.color)


def legend_rows(entries: Sequence[LegendEntry], size: int, width: int) -> list[list[LegendEntry]]:
    """The entries, their names cut to ``width`` pixels at that text size, in as many rows as that width takes."""
    rows: list[list[LegendEntry]] = []
    left = 0
    for entry in entries:
        room = width - _entry_width(entry._replace(name=""), size)
        fitted = entry._replace(name=fit_text(entry.name, size, room))
        needed = _entry_width(fitted, size)
        if not rows or needed > left:
            rows.append([])
            left = width
        rows[-1].append(fitted)
        left -= needed + size
    return rows


def draw_legend_row(canvas: Canvas, row: Sequence[LegendEntry], size: int, x: int, y: int) -> int:
    """Draw one row of `legend_rows`; returns the x after it."""
    for entry in row:
        canvas.chip(x, y + size // 8, size, entry.color)
        width = canvas.text(x + size * 3 // 2, y, entry.name, size, bold=True)
        canvas.text(x + size * 2 + width, y, entry.note, size, color=FAINT)
        x += _entry_width(entry, size) + size
    return x


def _entry_width(entry: LegendEntry, size: int) -> int:
    note = size // 2 + text_width(entry.note, size) if entry.note else 0
    return size * 3 // 2 + text_width(entry.name, size) + note
