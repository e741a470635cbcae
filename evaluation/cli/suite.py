"""``car suite``: several benchmarks in one go, one table, one contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli.exit_status import exit_if_failed, one_line_errors
from evaluation.cli.options import (
    AllowFailuresOption,
    BatchSizeOption,
    DeviceOption,
    FreshOption,
    JobsOption,
    PrecisionName,
    PrecisionOption,
    RefineWorkersOption,
    WorkersOption,
    weights_by_role,
)
from evaluation.cli.terminal import show_run
from support.console import tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("suite")(suite_command)


def suite_command(
    name: Annotated[str, typer.Argument(help="Suite, e.g. mini: all benchmarks of the embedded miniature.")] = "mini",
    weights: Annotated[str | None, typer.Option(help="CLIP weights, as for eval. [default: miniature]")] = None,
    limit: Annotated[int | None, typer.Option(help="Evaluate the first N samples of each benchmark only.")] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = PrecisionName.float32,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the suite and its runs. [default: results/runs/suite-NAME, runs beside it]"),
    ] = None,
    batch_size: BatchSizeOption = 4,
    jobs: JobsOption = 1,
    workers: WorkersOption = 0,
    refine_workers: RefineWorkersOption = None,
    fresh: FreshOption = False,
    allow_failures: AllowFailuresOption = False,
) -> None:
    """Run a suite of benchmarks and print one table; images with masks go to its contact sheet.

    Exit status as for eval. The same command goes on with what is finished.
    """
    with one_line_errors():
        from car_core.models.names import check_device_name
        from evaluation.request.checks import check_limit, check_weights
        from evaluation.suites.definitions import load_suite

        suite = load_suite(name)
        check_limit(limit)
        check_weights(weights_by_role(weights, None, None))
        check_device_name(device)
        from evaluation.suites.runner import CONTACT_SHEET, run_suite  # torch: seconds

        finished = run_suite(
            suite,
            out=out,
            jobs=jobs,
            weights=weights,
            limit=limit,
            device=device,
            precision=precision.value,
            batch_size=batch_size,
            workers=workers,
            refine_workers=refine_workers,
            fresh=fresh,
        )
        show_run(finished.path)
    tell(f"Suite directory: {finished.path}")
    if (finished.path / CONTACT_SHEET).exists():
        tell(f"Contact sheet: {finished.path / CONTACT_SHEET}")
    exit_if_failed(finished.runs.values(), allow=allow_failures)
