"""``car suite``: several benchmarks in one go, one table, one contact sheet."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import AllowFailures, exit_if_failed
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import show_run, tell_device
from evaluation.request.options import RunOptions
from support.console import tell

Jobs = Annotated[int, typer.Option(min=1, help="Processes that share the runs and the cores.")]
SUITE_OUT = "Folder of the {kind} and its runs. [default: results/runs/suite-NAME, with the runs next to it]"


@takes(
    RunOptions,
    *("weights", "method", "limit", "device", "precision", "out", "batch_size", "workers", "refine_workers"),
    *("fresh", "track"),
    weights=typer.Option(help="CLIP weights, as for eval. [default for mini-*: miniature]"),
    limit=typer.Option(help="Evaluate only the first N samples of each benchmark."),
    method=typer.Option(help="Method, as for eval, but one alone; of the suite's runs, those of CaR's defaults."),
    out=typer.Option(help=SUITE_OUT.format(kind="suite")),
    workers=0,
)
def suite_command(
    *,
    name: Annotated[str, typer.Argument(help="Suite, e.g. mini: all benchmarks of the embedded miniature.")] = "mini",
    given: dict[str, Any],
    jobs: Jobs = 1,
    allow_failures: AllowFailures = False,
) -> None:
    """Run a suite of benchmarks and print one table; selected samples are drawn on a contact sheet.

    Exit status as for eval. The same command resumes an unfinished suite.
    """
    from evaluation.request.methods import find_method
    from evaluation.request.resolve import resolve
    from evaluation.suites.definitions import load_suite

    suite = load_suite(name).of_method(find_method(given["method"]).name)
    for options in suite.options(jobs=jobs, **given):
        resolve(options)
    from evaluation.suites.runner import CONTACT_SHEET, run_suite  # torch: seconds

    tell_device(given["device"])
    finished = run_suite(suite, jobs=jobs, **given)
    show_run(finished.path)
    tell(f"Suite directory: {finished.path}")
    if (finished.path / CONTACT_SHEET).exists():
        tell(f"Contact sheet: {finished.path / CONTACT_SHEET}")
    exit_if_failed(finished.all_runs, allow=allow_failures)
