"""Columns that several tables share, the cells of a run in them, and tables built from rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from results.run_directory.schema import RunHeader
from results.tables.render import Column, Table
from results.tables.run_notes import figure_of, is_comparable, method_name, remarks
from results.tables.task_words import words_of

METHOD = Column("method")
METRIC = Column("metric")
PERCENT = Column("percent", "%", "percent")
DIFFERENCE = Column("difference", kind="difference")
N_TOTAL = Column("n_total", "n_total", "count")
N_SCORED = Column("n_scored", "n_scored", "count")
N_FAILED = Column("n_failed", "n_failed", "count")
PACE = Column("pace", "samples/s", "rate", spare=1)
REMARKS = Column("remarks")

_TYPES: dict[str, Callable[[Any], Any]] = {"text": lambda cell: cell, "word": lambda cell: cell, "count": int}


def make_table(
    title: str,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    notes: Iterable[str] = (),
    difference_rows: Iterable[int] = (),
) -> Table:
    """A table of the rows' cells in these columns, typed by kind; None if missing or NaN. Other keys are ignored.

    notes: those that repeat an earlier one are dropped.
    """

    def typed(cell: Any, kind: str) -> Any:
        return None if cell is None or cell != cell else _TYPES.get(kind, float)(cell)

    cells = tuple({column.key: typed(row.get(column.key), column.kind) for column in columns} for row in rows)
    return Table(title, columns, cells, tuple(dict.fromkeys(notes)), tuple(difference_rows))


def run_cells(header: RunHeader, metric: str | None = None, *, reference: float | None = None) -> dict[str, Any]:
    """The cells of a run in the shared columns.

    metric: None for the task's headline figure. reference: percent, which only a comparable run's figure has a
    difference from.
    """
    metric = metric or words_of(header.benchmark.task).headline
    percent, seconds = to_percent(figure_of(header, metric)), header.timings.wall_seconds
    return {
        "method": method_name(header),
        "metric": metric,
        "percent": percent,
        "difference": minus(percent, reference) if is_comparable(header) else None,
        **header.counts.model_dump(),
        "pace": header.counts.n_total / seconds if seconds else None,
        "remarks": remarks(header),
    }


def reduction_notes(header: RunHeader, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence per metric of the rows: what it averages over."""
    reductions = header.metrics.get("reductions", {})
    return [f"{row['metric']}: {reductions[row['metric']]}." for row in rows if row["metric"] in reductions]


def to_percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def minus(value: float | None, reference: float | None) -> float | None:
    """The difference; None where either is undefined."""
    return None if value is None or reference is None else value - reference
