"""Tables over several runs: the paper's with the runs in them, and a row a run."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.request.benchmark import PaperColumn, benchmark_names, load_benchmark
from results import RunHeader
from results.tables.paper_comparison import Place, PlacedRun, paper_comparisons
from results.tables.render import Table
from results.tables.run import summary_table

ALL_RUNS = "runs"
"""The name of the table with a row a run."""


def tables_over_runs(headers: Sequence[RunHeader]) -> dict[str, Table]:
    """The paper's tables that runs have a place in ("table1", ...), whole and with the runs, then "runs".

    Raises ValueError if a run names a table or column that the paper's data does not have.
    """
    return {**paper_comparisons([placed_run(header) for header in headers]), ALL_RUNS: summary_table(headers)}


def placed_run(header: RunHeader) -> PlacedRun:
    """A run and its places in the paper's tables, as its benchmark names them; none for data of the user's own.

    The file of a run names one place; where that is not its benchmark's any more, it has no other.
    """
    cell, paper = header.benchmark.paper, _paper_column(header.benchmark.name)
    if paper is None or (cell and (cell.table, cell.column) != (paper.table, paper.column)):
        return PlacedRun(header, (Place(cell.table, cell.column),) if cell else ())
    return PlacedRun(header, tuple(Place(**figure.model_dump()) for figure in paper.figures), paper.variant)


def _paper_column(benchmark: str) -> PaperColumn | None:
    return load_benchmark(benchmark).paper if benchmark in benchmark_names() else None
