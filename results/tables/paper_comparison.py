"""The paper's tables as a whole, with one row of ours below CaR's for all runs that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from results.paper.paper_tables import car_columns, cautions, paper_rows, row_labels
from results.run_directory.schema import PaperCell, RunHeader
from results.tables.columns import METHOD, REMARKS, make_table, run_cells
from results.tables.render import Column, Table
from results.tables.run import reference_row
from results.tables.run_notes import (
    failures,
    is_comparable,
    is_trained,
    label_source,
    method_label,
    names_of,
    shortcomings,
    user_settings,
)
from results.tables.task_words import words_of

DASH = "–"
"""Shown where neither the paper nor a run has a figure."""


class Place(NamedTuple):
    """A figure of the paper, and the metric of a run that belongs below it; None for the task's headline figure."""

    table: str
    column: str
    metric: str | None = None


class PlacedRun(NamedTuple):
    """A run and its places in the paper's tables.

    variant: what distinguishes its benchmark from another one of the same places, in words.
    """

    header: RunHeader
    places: tuple[Place, ...]
    variant: str | None = None


@dataclass
class _RunsRow:
    """One row of ours: runs that differ only in their data sets, by column of the paper's table.

    percents: their figures. is_whole: whether all are over the whole split. older: identities of runs of the same data
    that these replace.
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
    same method, profile, weights and settings make one row. Runs over a part of the data or another split, and
    unfinished ones, have separate rows without differences. Untrained runs, and those that are not comparable for
    another reason, are left out, as a note says. Of several runs of the same data in one place, only the one started
    last is shown.

    Raises:
        ValueError: the paper's data has no such table, or CaR no figure in such a column.
    """
    tables = sorted({place.table for run in runs for place in run.places if not _unfit(run.header)})
    return {table: _comparison(table, [run for run in runs if _places(run, table)]) for table in tables}


def _comparison(table: str, runs: Sequence[PlacedRun]) -> Table:
    rows, notes = _paper_rows(table)
    difference_rows = []
    for own in _runs_rows(table, runs):
        facts = {
            column: ", ".join(filter(None, [label_source(header), *shortcomings(header), failures(header)]))
            for column, header in own.runs.items()
        }
        said = [f"{column}: {text}" for column, text in facts.items() if text]
        older = [f"{len(own.older)} older of the same data left out"] if own.older else []
        rows.append({"method": own.label, **own.percents, "remarks": "; ".join([*said, *older])})
        if own.is_whole:
            differences: dict[str, float] = {}
            methods: dict[str, None] = {}
            for column, percent in own.percents.items():
                reference = reference_row(own.runs[column], PaperCell(table=table, column=column))
                if percent is not None and reference and reference.value is not None:
                    differences[column], methods[reference.method] = percent - reference.value, None
            difference_rows.append(len(rows))
            label = f"difference from {' or '.join(methods) or 'CaR'} (paper)"
            rows.append({"method": label, **differences, "remarks": ""})
    figures = (Column(name, kind="percent", missing=DASH) for name in car_columns(table))
    left_out = [f"Left out: {run.header.benchmark.name}: {reason}." for run in runs if (reason := _unfit(run.header))]
    title = f"The paper's Table {table.removeprefix('table')} and these runs"
    return make_table(title, (METHOD, *figures, REMARKS), rows, (*notes, *left_out), difference_rows)


def _paper_rows(table: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows as printed, and the notes that their remarks name by number."""
    columns = {column: paper_rows(table, column) for column in car_columns(table)}
    rows: list[dict[str, Any]] = []
    numbers: dict[str, int] = {}  # of the notes
    for position, label in enumerate(row_labels(table)):
        cells = {column: rows_of_column[position] for column, rows_of_column in columns.items()}
        notes = dict.fromkeys(note for column, row in cells.items() for note in cautions(table, column, row.method))
        for note in notes:
            numbers.setdefault(note, len(numbers) + 1)
        figures = {column: row.value for column, row in cells.items()}
        remarks = ", ".join(f"note {numbers[note]}" for note in notes)
        rows.append({"method": f"{label} (paper)", **figures, "remarks": remarks})
    return rows, [f"Note {number}: {note}" for note, number in numbers.items()]


def _places(run: PlacedRun, table: str) -> list[Place]:
    """The run's places in a table. Raises ValueError where CaR has no figure in such a column."""
    places = [place for place in run.places if place.table == table]
    for place in places:
        if place.column not in car_columns(table):
            known = ", ".join(car_columns(table))
            raise ValueError(f"{table} has no figure of CaR in a column {place.column!r}; columns: {known}")
    return places


def _unfit(header: RunHeader) -> str | None:
    """Why a run must not appear among the paper's figures at all; None where it may."""
    if header.benchmark.not_comparable:
        return header.benchmark.not_comparable
    if not is_trained(header):
        return "untrained weights"
    return None if words_of(header.benchmark.task).headline in header.metrics else "no figure yet"


def _runs_rows(table: str, runs: Sequence[PlacedRun]) -> list[_RunsRow]:
    """Our rows, in the order of the runs' labels, whole ones first: each run in the first row whose places are free.

    Newest runs come first, so that an older one of the same data finds its places taken and is only counted.
    """
    labels = [_label(run) for run in runs]
    groups: dict[tuple[int, bool], list[_RunsRow]] = {}
    for run in sorted(runs, key=lambda run: run.header.created_at, reverse=True):
        header, places, label = run.header, _places(run, table), _label(run)
        if _unfit(header):
            continue
        is_whole = is_comparable(header)
        group = groups.setdefault((labels.index(label), not is_whole), [])
        for row in group:
            taken = [_data(row.runs[place.column]) for place in places if place.column in row.runs]
            if not taken or _data(header) in taken:
                break
        else:
            row, taken = _RunsRow(label if is_whole else f"not whole: {label}", is_whole), []
            group.append(row)
        if taken:
            row.older.add(header.identity)
            continue
        for place in places:
            row.runs[place.column], row.percents[place.column] = header, run_cells(header, place.metric)["percent"]
    return [row for key in sorted(groups) for row in groups[key]]


def _data(header: RunHeader) -> tuple[str, str]:
    return header.benchmark.dataset.name, header.benchmark.dataset.fingerprint


def _label(run: PlacedRun) -> str:
    changed = [*user_settings(run.header), *run.header.benchmark.protocol_changed]
    if names := names_of(run.header):
        changed.append(f"names={names}")
    changed += [f"sources {own.source[:8]}" for own in run.header.plugins if own.kind == "methods"]
    return ", ".join(filter(None, [method_label(run.header), run.variant, *changed]))
