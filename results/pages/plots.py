"""Tables as pictures: the eight usual benchmarks as a shaded table, a sweep as bars or a line."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

from PIL import Image

from results.paper.paper_tables import EIGHT
from results.run_directory.suite import read_runs
from results.tables.render import Table
from results.tables.suite import read_suite_table
from support.files import write_atomically
from support.text import counted, visible

PLOT_FILE = "plot.png"
_INK, _OURS, _OURS_OF_PEERS, _PAPER = "#20242a", "#0072b2", "#0b6e4f", "#b0b7bf"
_ROW, _CELL = 0.18, 0.5  # inches, of whole pixels: else there are seams between shades
_TEXTS = {"method": 2.05, "backbone": 3.55, "supervision": 2.4, "names": 0.75, "ran_by": 1.15}  # inches
_BOX = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}  # so that no line crosses a figure
_LABEL: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "bbox": _BOX}
_BASELINE = "as it is"  # the point that changes nothing


def write_peers_plot(table: Table, path: Path) -> Path | None:
    """Draw the rows of `peers_table` that have a mean, and all of ours, best last, as a PNG; shades are by column.

    Returns the path, None where matplotlib is not installed. Raises OSError if the file cannot be written.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        return None
    rows = [row for row in table.rows if row["mean"] is not None or row["ran_by"] == "here"]
    columns = {**EIGHT, "mean": "mean"}
    left = sum(_TEXTS.values())
    width, height = left + _CELL * len(columns) + 0.1, _ROW * (len(rows) + 2)
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    shades = colormaps["YlGnBu"]
    style: dict[str, Any] = {"fontsize": 7, "color": _INK, "va": "center"}
    for row in range(-1, len(rows)):
        x, y = 0.08, _ROW * (row + 2)
        is_own = row >= 0 and rows[row]["ran_by"] == "here"
        own = {
            **style,
            "weight": "bold" if row < 0 or is_own else "normal",
            "color": _OURS_OF_PEERS if is_own else _INK,
        }
        for name, inches in _TEXTS.items():
            text = name.replace("_", " ") if row < 0 else str(rows[row][name])
            axes.text(x, y, visible(text, limit=int(inches * 19)), **own)
            x += inches
        for name, heading in columns.items():
            text = heading
            if row >= 0 and (value := rows[row][name]) is not None:
                known = [own[name] for own in rows if own[name] is not None]
                text, share = f"{value:.1f}", (value - min(known)) / max(max(known) - min(known), 1e-9)
                place = [x, x + _CELL], y - _ROW / 2, y + _ROW / 2
                axes.fill_between(*place, color=shades(0.55 * share), linewidth=0, antialiased=False)
            elif row >= 0:
                text = "–"
            axes.text(x + _CELL / 2, y, text, ha="center", **own)
            x += _CELL
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(32).save(small, "PNG", optimize=True)  # a third of the bytes
    write_atomically(path, small.getvalue())
    return path


def write_sweep_plot(path: Path) -> Path | None:
    """Draw plot.png of the sweep in a folder; returns its path, None where matplotlib is not installed.

    A sweep over a single setting of numbers is a line, any other one a bar per point.

    Raises StoreError if the folder is not a suite's, OSError if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    table = read_suite_table(path)
    keys, labels, at = {column.key for column in table.columns}, point_labels(table), values_of_one_setting(table)
    panels = {"mean over names" if "worst" in keys else "ours": (table.values("percent"), _OURS)}
    if "paper" in keys:
        panels["paper"] = (table.values("paper"), _PAPER)
    size = (1 + 3.8 * len(panels), 3.4) if at else (3 + 3.2 * len(panels), 1.4 + 0.28 * len(labels))
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    all_axes = figure.subplots(1, len(panels), sharey=not at, squeeze=False)[0]
    for axes, (name, (values, color)) in zip(all_axes, panels.items(), strict=True):
        if at:
            found = [math.nan if value is None else value for value in values]  # where the line has a gap
            axes.plot(*zip(*sorted(zip(at, found, strict=True)), strict=True), color=color, marker="o")
            for x, y in zip(at, values, strict=True):
                if y is not None:
                    axes.annotate(f"{y:.1f}", (x, y), (0, 8), **_LABEL)
            axes.set_xlabel(table.columns[0].heading, fontsize=9)
            if len(at) <= 8:
                axes.set_xticks(at)
            axes.tick_params(labelsize=8)
            axes.margins(0.08, 0.2)
        else:
            positions = range(len(labels))
            bars = axes.barh(positions, [value or 0 for value in values], color=color, height=0.7)
            axes.bar_label(bars, ["-" if value is None else f"{value:.1f}" for value in values], padding=3, fontsize=8)
            axes.set_yticks(positions, labels, fontsize=8)
            axes.tick_params(axis="x", labelsize=8)
            axes.yaxis.set_inverted(True)  # the first point at the top
            axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{visible(str(table.rows[0]['metric']))}, % ({name})", fontsize=9, color=_INK)
    benchmark = next(iter(read_runs(path).values())).benchmark.name
    title = f"{table.title}: {benchmark}, {counted(table.rows[0]['n_total'], 'sample')}"
    remarks = "; ".join(dict.fromkeys(filter(None, table.values("remarks"))))  # a picture travels without its table
    lines = [visible(text, limit=int(15 * size[0])) for text in (title, remarks) if text]
    figure.suptitle("\n".join(lines), fontsize=9, color=_INK)
    figure.savefig(path / PLOT_FILE)
    return path / PLOT_FILE


def values_of_one_setting(table: Table) -> list[float]:
    """The value of each row of a sweep's table that varies a single setting of numbers; else empty."""
    keys = [column.key for column in table.columns if column.key.startswith("set.")]
    if len(keys) != 1 or len(table.rows) < 2:
        return []
    try:
        return [float(text) for text in table.values(keys[0])]
    except (TypeError, ValueError):  # other texts, and none for the point that changes nothing
        return []


def point_labels(table: Table) -> list[str]:
    """A label per row of a sweep's table, from its settings: only values if all rows set the same single key."""
    columns = [column for column in table.columns if column.key.startswith("set.")]
    labels = []
    for row in table.rows:
        given = [(column.heading, row[column.key]) for column in columns if isinstance(row[column.key], str)]
        words = [value if len(columns) == 1 else f"{heading} {value}" for heading, value in given]
        labels.append(visible(", ".join(words), limit=60) or _BASELINE)
    return labels
