"""``car table``: tables of finished runs, all figures recomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evaluation.cli.terminal import show_run, show_tables
from support.console import tell

if TYPE_CHECKING:
    from results import RunHeader
    from results.tables.render import Table


Language = Literal["md", "csv", "latex"]
_SUFFIXES: Mapping[Language, str] = {"md": ".md", "csv": ".csv", "latex": ".tex"}


def table_command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Directories of runs or suites; with --peers also none."),
    ] = None,
    format_: Annotated[
        Language | None, typer.Option("--format", help="Print only the tables over all runs, in this language.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write the tables over all runs there, in every language; the peers' also as a picture."
        ),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Also show published figures of other methods, on the eight usual benchmarks."),
    ] = False,
) -> None:
    """Print the tables of runs, recomputed; for several runs, also the tables over all of them.

    These are the paper's tables with a row for runs of the same method, weights and settings and the differences from
    CaR's, and a table with one row per run. Figures are computed only from samples.jsonl; a finished run whose run.json
    disagrees with them by more than the rounding of a sum is refused.
    """
    if not (runs or peers):
        raise typer.BadParameter("expected the directory of a run or a suite, or --peers", param_hint="RUN")
    runs = runs or []
    headers = [header for run in runs for header in _recomputed(run, shown=format_ is None)]
    if not (format_ or out or peers or len(runs) > 1):
        return
    from evaluation.analysis.summary import tables_over_runs
    from results.pages.peers_plot import write_peers_plot
    from results.tables.methods import PEERS, peer_tables
    from results.tables.render import to_csv, to_latex, to_markdown
    from support.files import write_atomically

    renderers: dict[Language, Callable[[Table], str]] = {"md": to_markdown, "csv": to_csv, "latex": to_latex}
    published = peer_tables(headers) if peers else {}
    tables = (tables_over_runs(headers) if runs else {}) | published
    if peers and not published:
        names = ", ".join(dict.fromkeys(header.benchmark.name for header in headers))
        tell(f"notice: --peers: no published figures to show next to these runs ({names})")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        if PEERS in tables:
            write_peers_plot(tables[PEERS], out / f"{PEERS}.png")
        for name, table in tables.items():
            for language, render in renderers.items():
                write_atomically(out / f"{name}{_SUFFIXES[language]}", render(table))
    if format_:
        typer.echo("\n".join(renderers[format_](table) for table in tables.values()), nl=False)
    else:
        show_tables(tables.values())


def _recomputed(run: Path, *, shown: bool) -> list[RunHeader]:
    """The headers of a run, or of a suite's, with their tables rewritten, and printed if `shown`."""
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
