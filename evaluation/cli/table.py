"""``car table``: tables of finished runs, all figures recomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evaluation.cli.terminal import show_run, show_tables
from support.console import tell
from support.files import resolved
from support.text import counted

if TYPE_CHECKING:
    from results.tables.render import Table


Language = Literal["md", "csv", "latex"]
_SUFFIXES: Mapping[Language, str] = {"md": ".md", "csv": ".csv", "latex": ".tex"}


def table_command(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN...", help="Directories of runs or suites; optional with --peers."),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also print the tables of each run, and all rows of --peers.")
    ] = False,
    format_: Annotated[
        Language | None, typer.Option("--format", help="Print only the tables over all runs, in this format.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the tables over all runs in every format, and for the picture of --peers."
        ),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Also show published figures of other methods on the eight usual benchmarks."),
    ] = False,
) -> None:
    """Print tables of runs, recomputed from their records, and the paper's tables with several runs in them.

    Several runs are listed first: settings, figure, difference from the paper's. The paper's tables have a row
    for runs of the same method, weights and settings and the differences from CaR's. Figures are computed only from
    samples.jsonl; a finished run whose run.json disagrees with them by more than the rounding of a sum is refused.
    """
    if not (runs or peers):
        raise typer.BadParameter("expected the directory of a run or a suite, or --peers", param_hint="RUN")
    from evaluation.request.resolve import check_out

    if out:
        check_out(out)
    from evaluation.analysis.summary import ALL_RUNS, tables_over_runs
    from evaluation.run.recompute import recompute
    from results import is_suite, missing_runs, run_paths, write_suite_tables
    from results.pages.plots import write_peers_plot
    from results.run_directory.found import FoundRun
    from results.tables.overview import overview_of
    from results.tables.peers import PEERS, peer_tables
    from results.tables.render import to_csv, to_latex, to_markdown
    from results.tables.run import write_tables
    from support.files import write_atomically

    folders = list({resolved(run): run for run in runs or ()}.values())
    has_pages = format_ is None and (details or len(folders) == 1)
    found: dict[Path, FoundRun] = {}
    for folder in folders:
        recomputed = {path: recompute(path) for path in run_paths(folder).values()}
        if is_suite(folder):
            if missing := missing_runs(folder):
                tell(f"notice: {folder} is unfinished: {counted(len(missing), 'run')} missing, {', '.join(missing)}")
            write_suite_tables(folder)
        else:
            write_tables(folder, recomputed[folder])
        if has_pages:
            show_run(folder, recomputed.get(folder), whole=details)
            typer.echo()
        for path, header in recomputed.items():
            found.setdefault(resolved(path), FoundRun(path, header))
    if not (format_ or out or peers or len(folders) > 1):
        return
    headers = [run.header for run in found.values()]
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
        return
    if not details:
        tables = {ALL_RUNS: overview_of(list(found.values()))} | {k: v for k, v in tables.items() if k != ALL_RUNS}
    show_tables(tables.values(), whole=details)
