"""A sweep as a picture: a bar a point, and the paper's figures beside ours on a scale of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.run_directory.suite import read_suite_table
from results.tables.render import Table
from support.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_FILE = "plot.png"
_INK, _OURS, _PAPER = "#20242a", "#0072b2", "#b0b7bf"
_BASELINE = "as it is"  # a point that changes nothing


def write_sweep_plot(path: Path) -> Path | None:
    """Draw plot.png of the sweep in a folder; returns its path, None where matplotlib is not installed.

    Raises StoreError for a folder that is no suite's, OSError if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    table = read_suite_table(path)
    frame, labels = table.frame, point_labels(table)
    panels = {"ours": (frame["percent"], _OURS)}
    if any(column.key == "paper" for column in table.columns):
        panels["paper"] = (frame["paper"], _PAPER)
    figure = Figure(figsize=(3 + 3.2 * len(panels), 1.4 + 0.28 * len(labels)), layout="constrained", dpi=110)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for place, (name, (values, color)) in zip(axes, panels.items(), strict=True):
        _bars(place, values, labels, color)
        place.set_title(f"{visible(str(frame['metric'].iloc[0]))} %, {name}", fontsize=9, color=_INK)
    figure.suptitle(visible(table.title), fontsize=11, color=_INK)
    figure.savefig(path / PLOT_FILE)
    return path / PLOT_FILE


def point_labels(table: Table) -> list[str]:
    """What each row of a sweep's table sets, in words: values alone where all rows set the same single key."""
    columns = [column for column in table.columns if column.key.startswith("set.")]
    labels = []
    for _, row in table.frame.iterrows():
        given = [(column.heading, row[column.key]) for column in columns if isinstance(row[column.key], str)]
        words = [value if len(columns) == 1 else f"{heading} {value}" for heading, value in given]
        labels.append(visible(", ".join(words), limit=60) or _BASELINE)
    return labels


def _bars(axes: Axes, values: Any, labels: list[str], color: str) -> None:
    """Horizontal bars from 0, first at the top, each with its figure."""
    places = range(len(labels))
    drawn = axes.barh(places, values.fillna(0), color=color, height=0.7)
    axes.bar_label(drawn, ["-" if value != value else f"{value:.1f}" for value in values], padding=3, fontsize=8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.yaxis.set_inverted(True)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
