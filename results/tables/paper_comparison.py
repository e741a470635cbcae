"""The paper's tables as a whole, with one row of ours below CaR's for all runs that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from results.paper.paper_tables import car_columns, cautions, paper_rows, row_labels
from results.run_directory.schema import PaperCell, RunHeader
from results.tables.render import Column, Table
from results.tables.run import reference_row, to_percent, typed_frame
from results.tables.run_notes import (
    failures,
    is_comparable,
    is_trained,
    label_source,
    method_label,
    shortcomings,
    user_settings,
)
from results.tables.task_words import words_of

DASH = "–"
"""What stands where neither the paper nor a run has a figure."""


class Place(NamedTuple):
    """A figure of the paper, and the metric of a run that belongs below it; None for the task's headline figure."""

    table: str
    column: str
    metric: str | None = None


class PlacedRun(NamedTuple):
    """A run and its places in the paper's tables.

    variant: what tells its benchmark from another one of the same places, in words.
    """

    header: RunHeader
    places: tuple[Place, ...]
    variant: str | None = None


@dataclass
class _OwnRow:
    """Runs that differ in their data sets alone, by column of the paper's table; percents: their figures.

    is_whole: whether all are over the whole split. older: identities of runs of the same data that these replace.
    """

    label: str
    is_whole: bool
    runs: dict[str, RunHeader] = field(default_factory=dict)
    percents: dict[str, float | None] = field(default_factory=dict)
    older: set[str] = field(default_factory=set)


def paper_comparisons(runs: Sequence[PlacedRun]) -> dict[str, Table]:
    """The paper's tables that the runs have places in, whole: its rows, then ours with the differences from CaR's.

    By the paper's number ("table1", ...), those in which a run is shown.

    Columns: method, each column that has a figure of CaR (percent; a dash where there is none), remarks. Runs of the
    same method, profile, weights and settings make one row. Runs over a part of the data or another split, and those
    that are not finished, have rows of their own, without differences. Untrained runs, and those that are not
    comparable for another reason, are left out, as a note says. Of several runs of the same data in one place the one
    started last is shown.

    Raises:
        ValueError: the paper's data has no such table, or CaR no figure in such a column.
    """
    tables = sorted({place.table for run in runs for place in run.places if not _unfit(run.header)})
    return {table: _comparison(table, [run for run in runs if _places(run, table)]) for table in tables}


def _comparison(table: str, runs: Sequence[PlacedRun]) -> Table:
    rows, notes = _paper_rows(table)
    difference_rows = []
    for own in _own_rows(table, runs):
        rows.append({"method": own.label, **own.percents, "remarks": _remarks(own)})
        if own.is_whole:
            difference_rows.append(len(rows))
            rows.append(_difference(table, own))
    columns = (
        Column("method", "method"),
        *(Column(name, name.replace("_", " "), "percent", missing=DASH) for name in car_columns(table)),
        Column("remarks", "remarks"),
    )
    left_out = [f"Left out: {run.header.benchmark.name}: {reason}." for run in runs if (reason := _unfit(run.header))]
    title = f"The paper's Table {table.removeprefix('table')} and these runs"
    frame = typed_frame(rows, columns)
    return Table(title, columns, frame, (*notes, *dict.fromkeys(left_out)), tuple(difference_rows))


def _paper_rows(table: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows as printed, and the notes that their remarks name by number."""
    columns = {column: paper_rows(table, column) for column in car_columns(table)}
    methods = [row.method for row in next(iter(columns.values()))]
    found = [[note for column in columns for note in cautions(table, column, method)] for method in methods]
    notes = list(dict.fromkeys(note for of_row in found for note in of_row))
    rows = [
        {
            "method": f"{label} (paper)",
            **{column: rows[position].value for column, rows in columns.items()},
            "remarks": ", ".join(f"note {notes.index(note) + 1}" for note in dict.fromkeys(found[position])),
        }
        for position, label in enumerate(row_labels(table))
    ]
    return rows, [f"Note {number}: {note}" for number, note in enumerate(notes, start=1)]


def _places(run: PlacedRun, table: str) -> list[Place]:
    """The run's places in a table. Raises ValueError where CaR has no figure in such a column."""
    places = [place for place in run.places if place.table == table]
    for place in places:
        if place.column not in car_columns(table):
            known = ", ".join(car_columns(table))
            raise ValueError(f"{table} has no figure of CaR in a column {place.column!r}; columns: {known}")
    return places


def _unfit(header: RunHeader) -> str | None:
    """Why a run may not stand among the paper's figures at all; None where it may."""
    if header.benchmark.not_comparable:
        return header.benchmark.not_comparable
    if not is_trained(header):
        return "untrained weights"
    return None if words_of(header.benchmark.task).headline in header.metrics else "no figure yet"


def _own_rows(table: str, runs: Sequence[PlacedRun]) -> list[_OwnRow]:
    """Our rows: in the order of the runs' labels, whole ones first."""
    labels = [_label(run) for run in runs]
    rows: dict[tuple[int, bool], list[_OwnRow]] = {}
    for run in sorted(runs, key=lambda run: run.header.created_at, reverse=True):
        if _unfit(run.header):
            continue
        label, is_whole = _label(run), is_comparable(run.header)
        group = rows.setdefault((labels.index(label), not is_whole), [])
        _row_for(run.header, _places(run, table), group, label, is_whole)
    return [row for key in sorted(rows) for row in rows[key]]


def _row_for(header: RunHeader, places: Sequence[Place], group: list[_OwnRow], label: str, is_whole: bool) -> None:
    """Put a run's figures into the first row of its group that is free; a newer run of the same data goes before it."""
    for row in group:
        there = [row.runs[place.column] for place in places if place.column in row.runs]
        if any(_data(other) == _data(header) for other in there):
            row.older.add(header.identity)
            return
        if not there:
            break
    else:
        row = _OwnRow(label if is_whole else f"not whole: {label}", is_whole)
        group.append(row)
    for place in places:
        metric = place.metric or words_of(header.benchmark.task).headline
        row.runs[place.column], row.percents[place.column] = header, to_percent(header.metrics.get(metric))


def _data(header: RunHeader) -> tuple[str, str]:
    return header.benchmark.dataset.name, header.benchmark.dataset.fingerprint


def _label(run: PlacedRun) -> str:
    changed = [*user_settings(run.header), *run.header.benchmark.protocol_changed]
    return ", ".join(filter(None, [method_label(run.header), run.variant, *changed]))


def _remarks(row: _OwnRow) -> str:
    """Of each run: where its labels come from, what it lacks, how many samples failed."""
    facts = {
        column: ", ".join(filter(None, [label_source(header), *shortcomings(header), failures(header)]))
        for column, header in row.runs.items()
    }
    older = [f"{len(row.older)} older of the same data left out"] if row.older else []
    return "; ".join([*(f"{column}: {said}" for column, said in facts.items() if said), *older])


def _difference(table: str, own: _OwnRow) -> dict[str, Any]:
    """Ours minus the paper's."""
    differences: dict[str, Any] = {}
    methods: dict[str, None] = {}
    for column, percent in own.percents.items():
        reference = reference_row(own.runs[column], PaperCell(table=table, column=column))
        if percent is not None and reference is not None and reference.value is not None:
            differences[column], methods[reference.method] = percent - reference.value, None
    return {"method": f"difference from {' or '.join(methods) or 'CaR'} (paper)", **differences, "remarks": ""}
