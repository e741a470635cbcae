"""``car runs``: which runs there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from evaluation.cli.terminal import show_tables
from evaluation.request.options import CAR, DEFAULT_RUNS
from support.console import tell
from support.text import counted

if TYPE_CHECKING:
    from results.run_directory.found import FoundRun
    from results.tables.render import Table

_OWN_COLUMNS = {"benchmark", "method", "set", "protocol", "device"}
Status = Literal["running", "complete", "incomplete"]


def runs_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help=f"Folders, searched with all below them. [default: {DEFAULT_RUNS}]"),
    ] = None,
    benchmark: Annotated[str | None, typer.Option(help="Only runs of this benchmark.")] = None,
    method: Annotated[str | None, typer.Option(help="Only runs of this method, e.g. car, naclip.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs in this state.")] = None,
    limit_rows: Annotated[int | None, typer.Option("--limit-rows", "-n", min=1, help="Only the newest N.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List runs, the newest first: what was run and set, its figure, how far it is, its size.

    running: at work, or killed. Figures are those of each run.json; `car table` recomputes them.
    """
    from results import strict_json
    from results.run_directory.found import find_runs

    runs, damaged = find_runs(folders or [DEFAULT_RUNS])
    wanted = {"benchmark": benchmark, "method": method, "status": status}
    named = {name: value for name, value in wanted.items() if value is not None}
    found = [(run, _facts(run)) for run in runs]
    shown = [(run, facts) for run, facts in found if all(facts[name] == value for name, value in named.items())]
    # Files are looked at only for the rows that are shown.
    rows = [{**facts, **_progress(run)} for run, facts in shown[:limit_rows]]
    if json:
        typer.echo(strict_json.dumps(rows, indent=1))
    elif rows:
        show_tables([_table(rows)])
    else:
        tell(f"no runs in {', '.join(map(str, folders or [DEFAULT_RUNS]))}" + (" that match" if runs else ""))
    if damaged:
        tell(f"notice: {counted(len(damaged), 'folder')} more with a run.json that cannot be read, first {damaged[0]}")


def _facts(run: FoundRun) -> dict[str, Any]:
    """What run.json says, as JSON values. figure: the headline figure in 0..1; null where there is none yet."""
    from results.tables.task_words import words_of

    header, asked = run.header, run.header.request.get("set")
    settings = asked if isinstance(asked, dict) else {}  # as short as the user wrote them
    switches = {name: header.config[name] for name, source in header.config_sources.items() if source == "user"}
    try:
        metric: str | None = words_of(header.benchmark.task).headline
    except ValueError:  # a task of a module that is not loaded
        metric = None
    figure = header.metrics.get(metric or "")
    return {
        "updated_at": header.updated_at,
        "benchmark": header.benchmark.name,
        "method": str(header.config.get("method", CAR)),
        "set": [
            *(f"{name}={settings.get(name, value)}" for name, value in switches.items()),
            *header.benchmark.protocol_changed,
            *(f"{word}={value}" for word, value in header.request.items() if word not in _OWN_COLUMNS),
        ],
        "metric": metric,
        "figure": figure if isinstance(figure, (int, float)) else None,
        "status": header.status,
        "failed": header.counts.n_failed,
        "identity": header.identity,
        "path": str(run.path),
    }


def _progress(run: FoundRun) -> dict[str, Any]:
    return {"done": run.n_done, "wanted": run.n_wanted, "bytes": run.n_bytes}


def _table(rows: list[dict[str, Any]]) -> Table:
    from results.tables.columns import make_table, to_percent
    from results.tables.render import Column

    keys = {"date": "updated (UTC)", "benchmark": "", "method": "", "set": "", "percent": "%", "status": "", "done": ""}
    columns = [Column(key, head or key, "percent" if key == "percent" else "text") for key, head in keys.items()]
    cells = [
        {
            **row,
            "date": row["updated_at"][:16].replace("T", " "),
            "set": " ".join(row["set"]),
            "percent": to_percent(row["figure"]),
            "done": f"{row['done']}/{'?' if row['wanted'] is None else row['wanted']}"
            + (f", {row['failed']} failed" if row["failed"] else ""),
            "size": f"{size / 2**20:.1f} MiB" if (size := row["bytes"]) >= 2**20 else f"{size / 2**10:.1f} KiB",
        }
        for row in rows
    ]
    return make_table("Runs", (*columns, Column("size", "size"), Column("path", "path")), cells)
