"""``car score``: predictions that another program made, under a benchmark's protocol."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import AllowFailures, exit_if_failed
from evaluation.cli.export import SAMPLES
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import show_run
from evaluation.request.options import Predictions, PredictionValues, RunOptions
from support.console import tell

_NAMED = 3  # failed samples


@takes(
    RunOptions,
    *SAMPLES,
    "metrics",
    "out",
    "workers",
    "sample_timeout",
    "fresh",
    benchmark=None,
    out=typer.Option(help="Run directory. [default: results/runs/BENCHMARK-NAME-IDENTITY]"),
)
def score_command(
    *,
    given: dict[str, Any],
    predictions: Annotated[
        Path,
        typer.Option(
            metavar="DIR|FILE",
            help="Folder with a file per sample (PNG, COCO results as JSON, npz), or one JSON or npz file of all.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the method in tables. [default: that of the folder or file]")
    ] = None,
    values: Annotated[
        PredictionValues | None,
        typer.Option(
            help="What pixels and categories hold: label ids of `car export`, values of the data set's own masks, or "
            "class ids from 0 where background is not a class. [default: inferred if only one fits]"
        ),
    ] = None,
    allow_failures: AllowFailures = False,
    json: Annotated[bool, typer.Option("--json", help="Print run.json instead of the tables.")] = False,
) -> None:
    """Score predictions made elsewhere into a run directory like that of `car eval`.

    A missing file, or one with another size or values that are not labels, is a failed sample. Exit status as for eval.
    """
    from evaluation.request.resolve import resolve
    from evaluation.request.user_data import resolve_data

    with redirect_stdout(sys.stderr):  # what code from outside prints is not a result
        data = resolve_data(given["benchmark"], given["data_root"], given["places"])
        resolved = resolve(RunOptions(**given | data, predictions=Predictions(predictions, name, values)))
        from evaluation.run.prepare import build
        from evaluation.run.runner import run_prepared

        run = run_prepared(build(resolved))
    if json:
        typer.echo((run.path / "run.json").read_text(encoding="utf-8"), nl=False)
    else:
        show_run(run.path)
    for failed in run.header.metrics["failed"][:_NAMED]:
        tell(f"failed: {failed['id']}: {failed['error']}")
    tell(f"Run directory: {run.path}")
    exit_if_failed([run], allow=allow_failures)
