"""``car sweep``: one benchmark under many settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands.options import (
    AllowFailuresOption,
    BatchSizeOption,
    DeviceOption,
    FreshOption,
    JobsOption,
    PrecisionName,
    PrecisionOption,
    ProfileOption,
    RefineWorkersOption,
    SettingsOption,
    WeightsOption,
    WorkersOption,
    weights_by_role,
)
from evaluation.commands.terminal import show_run
from evaluation.exit_status import exit_if_failed, one_line_errors
from evaluation.telling import tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sweep")(sweep_command)


def sweep_command(
    benchmark: Annotated[str, typer.Argument(help="Benchmark, e.g. voc21, mini-voc.")],
    axes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=V1,V2...]...", help="Values of a switch or threshold.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Points of the paper's ablations: table2 .. table6; or fidelity.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="YAML file of a sweep: points (a list of settings), grid or one_at_a_time (values by key)."),
    ] = None,
    one_at_a_time: Annotated[
        bool, typer.Option("--one-at-a-time", help="Vary one key at a time around the first values. [default: grid]")
    ] = False,
    data_root: Annotated[Path | None, typer.Option(help="Folder of the data set, as for eval.")] = None,
    weights: WeightsOption = None,
    profile: ProfileOption = None,
    set_: SettingsOption = None,
    split: Annotated[str | None, typer.Option(help="Split of the data set, or a file of ids.")] = None,
    limit: Annotated[int | None, typer.Option(help="Evaluate the first N samples only.")] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = PrecisionName.float32,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep and its runs. [default: results/runs/suite-NAME, runs beside it]"),
    ] = None,
    batch_size: BatchSizeOption = 4,
    jobs: JobsOption = 1,
    workers: WorkersOption = 0,
    refine_workers: RefineWorkersOption = 0,
    fresh: FreshOption = False,
    allow_failures: AllowFailuresOption = False,
) -> None:
    """Run a benchmark once for each point and print one table of them.

    Each point is a run like any other: the same command goes on with what is unfinished, and a point that was run
    before is listed without being run again. Exit status as for eval.
    """
    with one_line_errors():
        from evaluation.benchmark import parse_settings
        from evaluation.preflight import check_request
        from evaluation.sweep import as_suite, sweep_of

        sweep = sweep_of(axes or [], preset=preset, file=file, one_by_one=one_at_a_time)
        source = profile.value if profile else sweep.profile
        suite = as_suite(
            sweep,
            benchmark,
            profile=source,
            settings=parse_settings(set_ or []),
            name=f"{preset}-{benchmark}" if preset else "",
        )
        by_role = weights_by_role(weights, None, None)
        check_request(
            benchmark, data_root=data_root, weights=by_role, profile=source, split=split, limit=limit, out=out
        )
        from evaluation.suite import run_suite  # torch: seconds
        from results.sweep_plot import write_sweep_plot

        finished = run_suite(
            suite,
            out=out,
            jobs=jobs,
            data_root=data_root,
            weights=weights,
            profile=source,
            split=split,
            limit=limit,
            device=device,
            precision=precision.value,
            batch_size=batch_size,
            workers=workers,
            refine_workers=refine_workers,
            fresh=fresh,
        )
        show_run(finished.path)
        plot = write_sweep_plot(finished.path)
    tell(f"Sweep directory: {finished.path}")
    tell(f"Plot: {plot}" if plot else "notice: no plot without matplotlib: pip install 'car-eval[plot]'")
    exit_if_failed(finished.runs.values(), allow=allow_failures)
