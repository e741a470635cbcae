"""``car suite``: several benchmarks in one go, one table, one contact sheet."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evaluation.cli.exit_status import AllowFailures, exit_if_failed
from evaluation.cli.help import complete
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import show_run, tell_device
from evaluation.request.options import RunOptions
from support.console import show, tell

if TYPE_CHECKING:
    from evaluation.suites.definitions import Suite
    from evaluation.suites.runner import FinishedSuite

Jobs = Annotated[
    int | None, typer.Option(min=1, help="Processes that share the runs and the cores. [default: one per device]")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check data, weights and options, list the runs, estimate time and size, and stop."),
]
SUITE_OUT = "Folder of the {kind} and its runs. [default: results/runs/suite-NAME, with the runs next to it]"


@takes(
    RunOptions,
    *("data_root", "weights", "method", "profile", "set_", "limit", "device", "precision", "out", "batch_size"),
    *("workers", "refine_workers", "fresh", "track", "save_predictions"),
    data_root=typer.Option(help="Folder with the data sets in or below it. [default: data; unused by mini]"),
    weights=typer.Option(help="CLIP weights of both models, as for eval. [default for mini-*: miniature]"),
    limit=typer.Option(help="Evaluate only the first N samples of each benchmark."),
    method=typer.Option(help="Method, as for eval; methods other than car skip runs that set CaR's switches."),
    out=typer.Option(help=SUITE_OUT.format(kind="suite")),
    workers=0,
)
def suite_command(
    *,
    name: Annotated[
        str,
        typer.Argument(
            help="mini: the embedded miniature. eight: those of the eight usual benchmarks found in --data-root.",
            autocompletion=complete("evaluation.suites.definitions:suite_names"),
        ),
    ] = "mini",
    given: dict[str, Any],
    jobs: Jobs = None,
    dry_run: DryRun = False,
    allow_failures: AllowFailures = False,
) -> None:
    """Run a suite of benchmarks; print one table and draw a contact sheet.

    The table of `eight` also shows published figures, and a mean if all eight ran. The same command resumes an
    unfinished suite. Exit status as for eval.
    """
    from evaluation.request.inputs import DEFAULT_DATA
    from evaluation.suites.definitions import load_suite

    suite = load_suite(name)
    if suite.kind == "eight":
        given["data_root"] = given["data_root"] or DEFAULT_DATA
        suite, missing = suite.found_in(given["data_root"])
        for line in missing:
            tell(line)
    suite = suite.of_methods(given.pop("method"), given.pop("settings"))
    finished = run_or_plan(suite, given, jobs=jobs, dry_run=dry_run)
    if finished is None:
        return
    from evaluation.suites.runner import CONTACT_SHEET
    from results.pages.plots import PLOT_FILE, write_peers_plot
    from results.tables.suite import read_suite_table

    tell(f"Suite directory: {finished.path}")
    if suite.kind == "eight" and (plot := write_peers_plot(read_suite_table(finished.path), finished.path / PLOT_FILE)):
        tell(f"Plot: {plot}")
    if (finished.path / CONTACT_SHEET).exists():
        tell(f"Contact sheet: {finished.path / CONTACT_SHEET}")
    exit_if_failed(finished.all_runs, allow=allow_failures)


def run_or_plan(suite: Suite, given: dict[str, Any], *, jobs: int | None, dry_run: bool) -> FinishedSuite | None:
    """Run a suite and print its table; with dry_run print what its runs, in its order, would do, and return None."""
    from evaluation.request.resolve import resolve

    for options in suite.options(**given):
        resolve(options)
    from evaluation.run.dry_run import suite_plan_lines
    from evaluation.suites.runner import Models, run_suite, shared_out, suite_writer  # torch: seconds

    tell_device(given["device"])
    if not dry_run:
        finished = run_suite(suite, jobs=jobs, **given)
        show_run(finished.path)
        return finished
    models = Models()
    models.remember = False  # benchmarks of the same images would be measured on what is cached
    devices, runs = shared_out(suite, jobs, **given)
    suite_writer(suite, runs, out=given["out"])  # refuses the folder of others
    each = zip(suite.runs, runs, cycle(devices), strict=False)
    plan = {run.name: replace(options, device=device) for run, options, device in each}
    for line in suite_plan_lines(plan, models.make):
        show(line)
    return None
