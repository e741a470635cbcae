"""``car sweep``: one benchmark under many settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import AllowFailures, exit_if_failed
from evaluation.cli.help import COMPLETERS, complete
from evaluation.cli.model_options import takes
from evaluation.cli.suite import SUITE_OUT, DryRun, Jobs, run_or_plan
from evaluation.request.options import ALL, USER_DATA, RunOptions
from support.console import tell


@takes(
    RunOptions,
    without={
        *("benchmark", "shard", "processes"),
        *USER_DATA,
        *("engine", "address", "actors", "actor_cpus", "actor_gpus", "save_predictions", "save_proposals"),
    },
    data_root=typer.Option(help="Folder of the data set, as for eval."),
    method=typer.Option(help="Method, as for eval; several separated by commas, or all, are swept."),
    names=typer.Option(
        metavar="FILE|NAME,...", help="Class texts, as for eval; several separated by commas are swept."
    ),
    out=typer.Option(help=SUITE_OUT.format(kind="sweep")),
    workers=0,
)
def sweep_command(
    *,
    benchmark: Annotated[
        str, typer.Argument(help="Benchmark, e.g. voc21, mini-voc.", autocompletion=COMPLETERS["benchmark"])
    ],
    axes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=V1,V2...]...", help="Values of a switch or threshold.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Points of the paper's ablations: table2 .. table6; or fidelity.",
            autocompletion=complete("evaluation.suites.sweep:preset_names"),
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="YAML file with points (a list of settings), or grid or one_at_a_time (values by key)."),
    ] = None,
    one_at_a_time: Annotated[
        bool,
        typer.Option(
            "--one-at-a-time", help="Vary one key at a time around the first values. [default: every combination]"
        ),
    ] = False,
    given: dict[str, Any],
    jobs: Jobs = 1,
    dry_run: DryRun = False,
    allow_failures: AllowFailures = False,
) -> None:
    """Run a benchmark once for each point and print one table of all points.

    Each point is an ordinary run: the same command resumes unfinished points and does not repeat finished ones. Over
    several --names, each method has one row: its figure for each, their mean, standard deviation and worst. Exit status
    as for eval.
    """
    from evaluation.request.benchmark import BenchmarkError, is_file
    from evaluation.suites.definitions import SuiteRun
    from evaluation.suites.sweep import as_suite, sweep_of

    if "=" in benchmark and not is_file(benchmark):
        name = next((each for each in axes or () if "=" not in each), "voc21")
        raise BenchmarkError(f"benchmark: expected its name first, as in `car sweep {name} {benchmark}`, found values")
    several = "," in given["names"] + given["method"] or given["method"] == ALL
    sweep = sweep_of(axes or [], preset=preset, file=file, one_by_one=one_at_a_time, may_be_empty=several)
    name = SuiteRun(benchmark=benchmark, variant=None).name
    suite = as_suite(sweep, benchmark, name=f"{preset}-{name}" if preset else "", **given)
    given |= {"profile": given["profile"] or sweep.profile}
    for field in ("settings", "method", "names"):  # each run has its own
        del given[field]
    finished = run_or_plan(suite, given, jobs=jobs, dry_run=dry_run)
    if finished is None:
        return
    from results.pages.plots import write_sweep_plot

    plot = write_sweep_plot(finished.path)
    tell(f"Sweep directory: {finished.path}")
    tell(f"Plot: {plot}" if plot else "notice: no plot without matplotlib: pip install 'car-eval[plot]'")
    exit_if_failed(finished.all_runs, allow=allow_failures)
