"""``car table``: tables of finished runs, every figure computed anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluation.cli.exit_status import one_line_errors
from evaluation.cli.terminal import show_run, show_tables
from support.console import tell

if TYPE_CHECKING:
    from results import RunHeader
    from results.tables.render import Table


class FormatName(str, Enum):
    """Languages that tables are printed in."""

    md = "md"
    csv = "csv"
    latex = "latex"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("table")(table_command)


def table_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of runs or suites.")],
    format_: Annotated[
        FormatName | None, typer.Option("--format", help="Print the tables over all runs alone, in this language.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the tables over all runs there, in every language.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Also show newer methods' published figures for the same columns.")
    ] = False,
) -> None:
    """Print the tables of runs again, every figure computed anew; of several, then the tables over all of them.

    These are the paper's tables with a row for runs of the same method, weights and settings and the differences from
    CaR's, and a table with a row a run. Figures come from samples.jsonl alone; a finished run whose run.json disagrees
    with it in any bit is refused.
    """
    with one_line_errors():
        headers = [header for run in runs for header in _recomputed(run, shown=format_ is None)]
        if format_ or out or peers or len(runs) > 1:
            _over_all(headers, format_, out, peers=peers)


def _over_all(headers: Sequence[RunHeader], format_: FormatName | None, out: Path | None, *, peers: bool) -> None:
    """Print the tables over all runs, and write them where a folder is given."""
    from evaluation.analysis.summary import tables_over_runs
    from results.tables.methods import peer_tables

    beside = peer_tables(headers) if peers else {}
    tables = tables_over_runs(headers) | beside
    if peers and not beside:
        names = ", ".join(dict.fromkeys(header.benchmark.name for header in headers))
        tell(f"notice: --peers: no published figures to stand beside these runs ({names})")
    if out:
        _write(tables, out)
    if format_:
        typer.echo("\n".join(_languages()[format_](table) for table in tables.values()), nl=False)
    else:
        show_tables(tables.values())


def _recomputed(run: Path, *, shown: bool) -> list[RunHeader]:
    """The headers of a run, or of a suite's, with their tables written anew, and printed if `shown`."""
    from evaluation.run.recompute import recompute
    from results import is_suite, missing_runs, run_paths, write_suite_tables
    from results.tables.run import write_tables

    headers = [recompute(path) for path in run_paths(run).values()]
    if is_suite(run):
        if missing := missing_runs(run):
            tell(f"notice: {run} is unfinished: {len(missing)} runs are missing, {', '.join(missing)}")
        write_suite_tables(run)
    else:
        write_tables(run, headers[0])
    if shown:
        show_run(run, None if is_suite(run) else headers[0])
        typer.echo()
    return headers


def _languages() -> Mapping[FormatName, Callable[[Table], str]]:
    from results.tables.render import to_csv, to_latex, to_markdown

    return {FormatName.md: to_markdown, FormatName.csv: to_csv, FormatName.latex: to_latex}


def _write(tables: Mapping[str, Table], folder: Path) -> None:
    from support.files import write_atomically

    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        for language, render in _languages().items():
            write_atomically(folder / f"{name}{_ENDINGS[language]}", render(table))


_ENDINGS = {FormatName.md: ".md", FormatName.csv: ".csv", FormatName.latex: ".tex"}
