"""``car merge``: join the shards of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli.terminal import show_run
from support.console import tell


def merge_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories of all shards of a run.")],
    out: Annotated[Path, typer.Option(help="Run directory of the joined run.")],
) -> None:
    """Join the shards of `car eval --shard I/N` into the run that one process would have made."""
    from evaluation.run.merge import merge

    merge(runs, out)
    show_run(out)
    tell(f"Run directory: {out}")
