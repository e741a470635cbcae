"""The table of a sweep: a row a point, its settings beside its figure and the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from results.run_directory.schema import RunHeader
from results.tables.render import Column, Table
from results.tables.run import typed_frame
from results.tables.run_notes import is_comparable, remarks
from results.tables.task_words import words_of

if TYPE_CHECKING:
    import pandas as pd

_RANKS_ALONE = (
    "These figures are of other weights or data than the paper's: not comparable, so no differences are given; "
    "only the order of the points can be held against the paper's."
)


def sweep_table(
    title: str,
    headers: Mapping[str, RunHeader],
    points: Mapping[str, Mapping[str, Any]],
    paper: Mapping[str, float | None],
) -> Table:
    """The runs of a sweep by name, in order; those that are missing have no row.

    Columns: every setting that the points make, metric (the task's headline figure), percent, change (percent points
    from the first run), paper (percent) where there are figures of the paper, difference where ours are comparable with
    them, n_total, n_failed, remarks. A note
    gives Spearman's rank correlation with the paper's figures, where at least three points have both, another one
    says that figures are not comparable.
    """
    keys = list(dict.fromkeys(key for point in points.values() for key in point))
    comparable = any(is_comparable(header) for header in headers.values())
    difference = (Column("difference", "difference", "difference"),) if comparable else ()
    beside = (Column("paper", "paper %", "percent"), *difference) if paper else ()
    columns = (
        *(Column(f"set.{key}", key) for key in keys),
        Column("metric", "metric"),
        Column("percent", "%", "percent"),
        Column("change", "vs. first", "difference"),
        *beside,
        Column("n_total", "n_total", "count"),
        Column("n_failed", "n_failed", "count"),
        Column("remarks", "remarks"),
    )
    rows = [_row(header, points.get(name, {}), paper.get(name)) for name, header in headers.items()]
    # Not the first that is finished, which may be any.
    first = rows[0] if next(iter(points)) in headers else None
    frame = typed_frame([{**row, "change": _change(row, first)} for row in rows], columns)
    notes = [*_correlation(frame), *([] if comparable else [_RANKS_ALONE])] if paper else []
    return Table(title, columns, frame, tuple(notes))


def _row(header: RunHeader, point: Mapping[str, Any], paper: float | None) -> dict[str, Any]:
    metric = words_of(header.benchmark.task).headline
    value = header.metrics.get(metric)
    percent = None if value is None else 100 * value
    return {
        **{f"set.{key}": _shown(value) for key, value in point.items()},
        "metric": metric,
        "percent": percent,
        "paper": paper,
        "difference": None if percent is None or paper is None or not is_comparable(header) else percent - paper,
        **header.counts.model_dump(),
        # The points say what they change; a run shared with another sweep would name that one's settings.
        "remarks": remarks(header, changes=False),
    }


def _change(row: Mapping[str, Any], first: Mapping[str, Any] | None) -> float | None:
    if first is None or row is first:
        return None
    values = row["percent"], first["percent"]
    return None if None in values else values[0] - values[1]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _correlation(frame: pd.DataFrame) -> list[str]:
    both = frame[["percent", "paper"]].dropna()
    if len(both) < 3:
        return []
    ranks = both.rank()
    if not ranks.std().all():
        return ["No rank correlation with the paper's figures: all points have the same figure."]
    value = ranks["percent"].corr(ranks["paper"])
    return [f"Spearman's rank correlation with the paper's figures, over {len(both)} points: {value:+.2f}."]
