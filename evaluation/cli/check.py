"""``car check``: compare finished runs with expected figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import FIGURES_CHANGED
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import show_tables
from evaluation.request.options import RunOptions
from support.console import tell
from support.files import resolved


@takes(RunOptions, "weights", "proposal_weights", "classifier_weights", "set_", "device")
def check_command(
    *,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Directory of a run or of a suite.")] = None,
    golden: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Golden file of expected figures and tolerances. [default: the miniature's]"),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Intermediate results of the released code (.npz), in place of RUN."),
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Write the run's figures to the golden file.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --update: tolerance of every metric. [default: as before, else 0]"),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Allow no difference but rounding; for the machine and packages that produced the figures.",
        ),
    ] = False,
    details: Annotated[bool, typer.Option("--details", help="Show every figure, not only changed ones.")] = False,
    given: dict[str, Any],
) -> None:
    """Compare a run's figures with expected ones (a golden file), or profile released with reference results.

    Without --golden the expected figures are those of `car suite mini`, which come with the package. A single run is
    compared with the golden file's run of the same folder name or benchmark.

    With --reference: run profile released on the file's image and texts, with the weights that it names or that are
    given, and compare proposals, scores and masks step by step. Exit status: 0; 4 if a figure changed; 2 if data or
    weights differ from those of the golden file, or a suite is unfinished (its finished runs are still compared).
    """
    if reference:
        from car_core.names import check_device_name
        from evaluation.request.resolve import check_weights

        check_device_name(given["device"])
        check_weights(given["weights"])
        from evaluation.analysis.reference import check_reference, reference_table  # torch: seconds

        found = check_reference(reference, **given)
        differing = sum(not each.agrees for each in found)
        show_tables([reference_table(reference.name, found)])
        tell(f"{differing} of {len(found)} quantities differ")
        if differing:
            raise typer.Exit(FIGURES_CHANGED)
        return
    if run is None:
        raise typer.BadParameter("expected RUN or --reference FILE")
    if update and golden is None:
        raise typer.BadParameter(
            "--update: expected --golden FILE too, because the package's own file is not written to"
        )
    from evaluation.run.recompute import recompute
    from results import is_suite, missing_runs, require_finished, run_paths
    from results.tables.golden import MINIATURE, compare, comparison_of_figures, of_one_run, read_golden, write_golden

    golden = golden or MINIATURE
    if update:
        require_finished(run)
    headers = {name: recompute(path) for name, path in run_paths(run).items()}  # run.json's own figures prove nothing
    if not is_suite(run):
        headers = {header.benchmark.name: header for header in headers.values()}
    expected = write_golden(golden, headers, tolerance=tolerance) if update else read_golden(golden)
    if not (update or is_suite(run)):
        expected, headers = of_one_run(expected, next(iter(headers.values())), resolved(run).name)
    compared = compare((expected.exact() if exact else expected).without(missing_runs(run)), headers)
    show_tables([comparison_of_figures(compared, golden.name, details=details)])
    require_finished(run)
    changed = sum(item.changed for item in compared)
    tell(f"{changed} of {len(compared)} figures changed")
    if changed:
        raise typer.Exit(FIGURES_CHANGED)
