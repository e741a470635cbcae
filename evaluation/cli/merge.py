"""``car merge``: shards of one run, joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli.exit_status import one_line_errors
from evaluation.cli.terminal import show_run
from support.console import tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("merge")(merge_command)


def merge_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories of all shards of a run.")],
    out: Annotated[Path, typer.Option(help="Run directory of the whole.")],
) -> None:
    """Join the shards that `car eval --shard I/N` made, to the figures of one run, bit for bit."""
    with one_line_errors():
        from evaluation.run.merge import merge

        merge(runs, out)
        show_run(out)
    tell(f"Run directory: {out}")
