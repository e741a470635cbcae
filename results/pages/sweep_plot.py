"""A sweep as a bar chart: one bar per point, and the paper's figures next to ours on a separate scale."""

from __future__ import annotations

from pathlib import Path

from results.run_directory.suite import read_suite_table
from results.tables.render import Table
from support.text import visible

PLOT_FILE = "plot.png"
_INK, _OURS, _PAPER = "#20242a", "#0072b2", "#b0b7bf"
_BASELINE = "as it is"  # the point that changes nothing


def write_sweep_plot(path: Path) -> Path | None:
    """Draw plot.png of the sweep in a folder; returns its path, None where matplotlib is not installed.

    Raises StoreError if the folder is not a suite's, OSError if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    table = read_suite_table(path)
    keys, labels = {column.key for column in table.columns}, point_labels(table)
    panels = {"mean over names" if "worst" in keys else "ours": (table.values("percent"), _OURS)}
    if "paper" in keys:
        panels["paper"] = (table.values("paper"), _PAPER)
    figure = Figure(figsize=(3 + 3.2 * len(panels), 1.4 + 0.28 * len(labels)), layout="constrained", dpi=110)
    for axes, (name, (values, color)) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        positions = range(len(labels))
        bars = axes.barh(positions, [value or 0 for value in values], color=color, height=0.7)
        axes.bar_label(bars, ["-" if value is None else f"{value:.1f}" for value in values], padding=3, fontsize=8)
        axes.set_yticks(positions, labels, fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.yaxis.set_inverted(True)  # the first point at the top
        axes.margins(x=0.15)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(f"{visible(str(table.rows[0]['metric']))}, % ({name})", fontsize=9, color=_INK)
    figure.suptitle(visible(table.title), fontsize=11, color=_INK)
    figure.savefig(path / PLOT_FILE)
    return path / PLOT_FILE


def point_labels(table: Table) -> list[str]:
    """What each row of a sweep's table sets, in words: only values where all rows set the same single key."""
    columns = [column for column in table.columns if column.key.startswith("set.")]
    labels = []
    for row in table.rows:
        given = [(column.heading, row[column.key]) for column in columns if isinstance(row[column.key], str)]
        words = [value if len(columns) == 1 else f"{heading} {value}" for heading, value in given]
        labels.append(visible(", ".join(words), limit=60) or _BASELINE)
    return labels
