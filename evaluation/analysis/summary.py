"""Tables over several runs: the paper's tables with the runs in them, and one row per run."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.request.benchmark import built_in
from results import RunHeader
from results.tables.paper_comparison import Place, PlacedRun, paper_comparisons
from results.tables.render import Table
from results.tables.run import summary_table

ALL_RUNS = "runs"
"""The name of the table with one row per run."""


def tables_over_runs(headers: Sequence[RunHeader]) -> dict[str, Table]:
    """The paper's tables that runs belong to ("table1", ...), complete and with the runs, then "runs".

    Raises ValueError if a run names a table or column that the paper's data do not have.
    """
    return {**paper_comparisons([placed_run(header) for header in headers]), ALL_RUNS: summary_table(headers)}


def placed_run(header: RunHeader) -> PlacedRun:
    """A run and its places in the paper's tables, as named by its benchmark; none for user-supplied data.

    The file of a run names one place; if that is no longer its benchmark's, it is the only one.
    """
    cell, name = header.benchmark.paper, header.benchmark.name
    known = built_in(name)
    paper = known.paper if known else None
    if paper is None or (cell and (cell.table, cell.column) != (paper.table, paper.column)):
        return PlacedRun(header, (Place(cell.table, cell.column),) if cell else ())
    return PlacedRun(header, tuple(Place(**figure.model_dump()) for figure in paper.figures), paper.variant)
