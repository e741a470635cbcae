"""``car sweep``: one benchmark under many settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import exit_if_failed, one_line_errors
from evaluation.cli.options import (
    AllowFailuresOption,
    BatchSizeOption,
    ClassifierWeightsOption,
    DeviceOption,
    FreshOption,
    JobsOption,
    LimitOption,
    MaxPixelsOption,
    NamesName,
    NamesOption,
    PrecisionName,
    PrecisionOption,
    ProfileOption,
    ProposalWeightsOption,
    ProtocolOption,
    RefineWorkersOption,
    SamOption,
    SettingsOption,
    SourceOption,
    SplitOption,
    TimeoutOption,
    WeightsOption,
    WorkersOption,
    weights_by_role,
    with_sam,
)
from evaluation.cli.terminal import show_run
from support.console import tell


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
    proposal_weights: ProposalWeightsOption = None,
    classifier_weights: ClassifierWeightsOption = None,
    profile: ProfileOption = None,
    sam: SamOption = None,
    set_: SettingsOption = None,
    split: SplitOption = None,
    source: SourceOption = None,
    protocol: ProtocolOption = None,
    names: NamesOption = NamesName.released,
    limit: LimitOption = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = PrecisionName.float32,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep and its runs. [default: results/runs/suite-NAME, runs beside it]"),
    ] = None,
    batch_size: BatchSizeOption = 4,
    jobs: JobsOption = 1,
    workers: WorkersOption = 0,
    refine_workers: RefineWorkersOption = None,
    sample_timeout: TimeoutOption = 300.0,
    max_pixels: MaxPixelsOption = None,
    fresh: FreshOption = False,
    allow_failures: AllowFailuresOption = False,
) -> None:
    """Run a benchmark once for each point and print one table of them.

    Each point is a run like any other: the same command goes on with what is unfinished, and a point that was run
    before is listed without being run again. Exit status as for eval.
    """
    with one_line_errors():
        from evaluation.request.benchmark import parse_protocol, parse_settings
        from evaluation.request.checks import check_request
        from evaluation.suites.sweep import as_suite, sweep_of

        sweep = sweep_of(axes or [], preset=preset, file=file, one_by_one=one_at_a_time)
        request: dict[str, Any] = {
            "data_root": data_root,
            "weights": weights_by_role(weights, proposal_weights, classifier_weights),
            "source": source,
            "protocol": parse_protocol(protocol or []),
            "limit": limit,
        }
        suite = as_suite(
            sweep,
            benchmark,
            profile=profile.value if profile else None,
            settings=parse_settings(with_sam(set_, sam)),
            name=f"{preset}-{benchmark}" if preset else "",
            request=_beyond_defaults(request, split=split, names=names, precision=precision),
        )
        request |= {"profile": profile.value if profile else sweep.profile, "out": out, "device": device}
        for run in suite.runs:
            check_request(run.benchmark, settings=run.settings, split=split, **request)
        from evaluation.suites.runner import run_suite  # torch: seconds
        from results.pages.sweep_plot import write_sweep_plot

        finished = run_suite(
            suite,
            **request,
            jobs=jobs,
            split=split,
            names=names.value,
            precision=precision.value,
            batch_size=batch_size,
            workers=workers,
            refine_workers=refine_workers,
            sample_timeout=sample_timeout or None,
            max_pixels=max_pixels,
            fresh=fresh,
        )
        show_run(finished.path)
        plot = write_sweep_plot(finished.path)
    tell(f"Sweep directory: {finished.path}")
    tell(f"Plot: {plot}" if plot else "notice: no plot without matplotlib: pip install 'car-eval[plot]'")
    exit_if_failed(finished.runs.values(), allow=allow_failures)


def _beyond_defaults(
    request: Mapping[str, Any], *, split: str | None, names: NamesName, precision: PrecisionName
) -> dict[str, Any]:
    """What figures depend on and is not as by default, as JSON values."""
    root, weights = request["data_root"], {role: own for role, own in request["weights"].items() if own}
    return {
        **request,
        "data_root": root and str(root.resolve()),
        "weights": weights,
        "split": split,
        "names": None if names is NamesName.released else names.value,
        "precision": None if precision is PrecisionName.float32 else precision.value,
    }
