"""The table of a sweep: one row per point, its settings next to its figure and the paper's."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from results.run_directory.schema import RunHeader
from results.tables.columns import DIFFERENCE, METRIC, N_FAILED, N_TOTAL, PERCENT, REMARKS, make_table, minus, run_cells
from results.tables.render import Column, Table
from results.tables.run_notes import is_comparable, remarks

_NOT_COMPARABLE = (
    "These figures are of other weights or data than the paper's: not comparable, so no differences are given; "
    "only the order of the points can be compared with the paper's."
)


def sweep_table(
    title: str,
    headers: Mapping[str, RunHeader],
    points: Mapping[str, Mapping[str, Any]],
    paper: Mapping[str, float | None],
) -> Table:
    """The runs of a sweep by name, in order; those that are missing have no row. Over several names: `_names_table`.

    Columns: every setting that the points make, metric (the task's headline figure), percent, change (percent points
    from the first run), paper (percent) where there are figures of the paper, difference where ours are comparable with
    them, n_total, n_failed, remarks. One note gives Spearman's rank correlation with the paper's figures, where at
    least three points have both; another says that figures are not comparable.
    """
    if any("names" in point for point in points.values()):
        return _names_table(title, headers, points)
    # Changes are from the first point, not from the first one that is finished, which may be any.
    first = next(iter(points))
    baseline = run_cells(headers[first])["percent"] if first in headers else None
    rows = []
    for name, header in headers.items():
        cells = run_cells(header, reference=paper.get(name))
        rows.append(
            {
                **_setting_cells(points.get(name, {})),
                **cells,
                "change": None if name == first else minus(cells["percent"], baseline),
                "paper": paper.get(name),
                # The points say what they change; a run shared with another sweep would name that one's settings.
                "remarks": remarks(header, changes=False),
            }
        )
    keys = dict.fromkeys(key for point in points.values() for key in point)
    comparable = any(is_comparable(header) for header in headers.values())
    paper_columns = (Column("paper", "paper %", "percent"), *([DIFFERENCE] if comparable else [])) if paper else ()
    columns = (
        *(Column(f"set.{key}", key) for key in keys),
        METRIC,
        PERCENT,
        Column("change", "vs. first", "difference"),
        *paper_columns,
        N_TOTAL,
        N_FAILED,
        REMARKS,
    )
    table = make_table(title, columns, rows)
    notes = [*_rank_correlation(table), *([] if comparable else [_NOT_COMPARABLE])] if paper else []
    return replace(table, notes=tuple(notes))


def _setting_cells(settings: Mapping[str, Any]) -> dict[str, str]:
    return {f"set.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}


def _names_table(title: str, headers: Mapping[str, RunHeader], points: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per method and setting: how its figure depends on the vocabulary.

    Columns: method and every other setting, metric, for each vocabulary its figure (percent) and the change from the
    first (percent points), and over all of them mean, sample standard deviation (n - 1) and worst, blank while one is
    missing; n_total of one run, n_failed of all, remarks.
    """
    by_row: dict[str, dict[str, RunHeader]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, header in headers.items():
        own = {"method": "car", **points[name]}
        vocabulary = own.pop("names")
        row = json.dumps(own, sort_keys=True)
        settings[row] = own
        by_row.setdefault(row, {})[vocabulary] = header
    first, *others = names = list(dict.fromkeys(point["names"] for point in points.values()))
    rows = []
    for row, runs in by_row.items():
        cells = {name: run_cells(header) for name, header in runs.items()}
        figures = {name: cells[name]["percent"] if name in cells else None for name in names}
        known = [figure for figure in figures.values() if figure is not None]
        whole = len(known) == len(names)
        texts = [remarks(header, changes=False) for header in runs.values()]
        rows.append(
            {
                **next(iter(cells.values())),
                **_setting_cells(settings[row]),
                "set.method": next(iter(cells.values()))["method"],
                **{f"percent.{name}": figure for name, figure in figures.items()},
                **{f"change.{name}": minus(figures[name], figures[first]) for name in others},
                "percent": statistics.mean(known) if whole else None,
                "deviation": statistics.stdev(known) if whole else None,
                "worst": min(known) if whole else None,
                "n_failed": sum(cell["n_failed"] for cell in cells.values()),
                "remarks": "; ".join(dict.fromkeys(filter(None, texts))),
            }
        )
    keys = dict.fromkeys(key for own in settings.values() for key in own)
    columns = (
        *(Column(f"set.{key}", key) for key in keys),
        METRIC,
        Column(f"percent.{first}", f"{first} %", "percent"),
        *(
            column
            for name in others
            for column in (
                Column(f"percent.{name}", f"{name} %", "percent"),
                Column(f"change.{name}", f"vs. {first}", "difference"),
            )
        ),
        Column("percent", "mean %", "percent"),
        Column("deviation", "std", "percent"),
        Column("worst", "worst %", "percent"),
        N_TOTAL,
        N_FAILED,
        REMARKS,
    )
    note = f"Over {len(names)} sets of names: mean, sample standard deviation (n - 1) and worst figure."
    return make_table(title, columns, rows, [note])


def _rank_correlation(table: Table) -> list[str]:
    """The note on Spearman's rank correlation of the runs' figures with the paper's; none for fewer than three."""
    both = [pair for row in table.rows if None not in (pair := (row["percent"], row["paper"]))]
    if len(both) < 3:
        return []
    ours, papers = zip(*both, strict=True)
    if 1 in (len({*ours}), len({*papers})):
        return ["No rank correlation with the paper's figures: all points have the same figure."]
    from scipy.stats import spearmanr  # takes a second to import

    value = spearmanr(ours, papers).statistic
    return [f"Spearman's rank correlation with the paper's figures, over {len(both)} points: {value:+.2f}."]
