"""``car export``: what a benchmark asks, for programs that predict in another environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.model_options import takes
from evaluation.request.options import USER_DATA, RunOptions

SAMPLES = ("benchmark", "data_root", *USER_DATA, "split", "source", "protocol", "names", "limit", "shard", "max_pixels")
"""The options that say which samples."""


@takes(RunOptions, *SAMPLES, benchmark=None)
def export_command(
    *,
    given: dict[str, Any],
    queries: Annotated[bool, typer.Option("--queries", help="Samples, queries and label ids; the default.")] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="File to write. [default: standard output]")
    ] = None,
) -> None:
    """Write a benchmark's labels, queries and samples as JSON lines, for programs that predict elsewhere.

    `car score` scores their predictions.
    """
    from evaluation.request.user_data import resolve_data

    options = RunOptions(**given | resolve_data(given["benchmark"], given["data_root"], given["places"]))
    from evaluation.run.export_queries import export_queries
    from support.console import tell
    from support.files import write_output
    from support.text import counted

    lines = export_queries(options)
    if out:
        written = [*lines]
        write_output(out, "".join(written))
        tell(f"Written to {out}: labels and queries, {counted(len(written) - 1, 'sample')}")
    else:
        sys.stdout.writelines(lines)
