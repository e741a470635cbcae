"""``car runs``: which runs there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluation.cli.help import COMPLETERS
from evaluation.cli.terminal import show_tables
from evaluation.request.options import DEFAULT_RUNS
from support.console import tell
from support.text import counted, did_you_mean

Status = Literal["running", "complete", "incomplete"]


def runs_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help=f"Folders to search, with all below them. [default: {DEFAULT_RUNS}]"),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option(help="Only runs of this benchmark.", autocompletion=COMPLETERS["benchmark"])
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Only runs of this method, e.g. car, naclip.", autocompletion=COMPLETERS["method"]),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs in this state.")] = None,
    limit_rows: Annotated[int | None, typer.Option("--limit-rows", "-n", min=1, help="Only the newest N.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List runs, newest first: settings, figure, progress, size.

    A run that was killed still counts as running. Figures are read from run.json; `car table` recomputes them.
    """
    from results import strict_json
    from results.run_directory.found import find_runs
    from results.tables.overview import facts_of, overview

    if not folders and DEFAULT_RUNS.exists():  # there is no such folder before the first run
        folders = [DEFAULT_RUNS]
    runs, damaged = find_runs(folders or [])
    wanted = {"benchmark": benchmark, "method": method, "status": status}
    named = {name: value for name, value in wanted.items() if value is not None}
    found = [(run, facts_of(run)) for run in runs]
    shown = [(run, facts) for run, facts in found if all(facts[name] == value for name, value in named.items())]
    # Files are looked at only for the rows that are shown.
    rows = [{**facts, **run.progress()} for run, facts in shown[:limit_rows]]
    if json:
        typer.echo(strict_json.dumps(rows, indent=1))
    elif rows:
        show_tables([overview(rows)])
    else:
        near = [did_you_mean(value, (facts[name] for _, facts in found)) for name, value in named.items()]
        match = f" that match{next(filter(None, near), '')}" if runs else ""
        tell(f"no runs in {', '.join(map(str, folders or [DEFAULT_RUNS]))}{match}")
    if damaged:
        tell(f"notice: {counted(len(damaged), 'folder')} more with a run.json that cannot be read, first {damaged[0]}")
