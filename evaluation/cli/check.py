"""``car check``: compare finished runs with the figures expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli import options
from evaluation.cli.exit_status import FIGURES_CHANGED, one_line_errors
from evaluation.cli.terminal import show_tables
from support.console import tell


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check_command)


def check_command(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="Directory of a run or of a suite.")] = None,
    golden: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Golden file of expected figures and tolerances. [default: the miniature's]"),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Intermediate results of the released code (.npz); no RUN then.")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Make the run's figures the expected ones.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="With --update: tolerance of every metric, in 0..1. [default: as before, else 0]"),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="No tolerance: for the machine and packages that the figures were made on.")
    ] = False,
    weights: options.WeightsOption = None,
    proposal_weights: options.ProposalWeightsOption = None,
    classifier_weights: options.ClassifierWeightsOption = None,
    set_: options.SettingsOption = None,
    device: options.DeviceOption = "cpu",
) -> None:
    """Compare a run's figures with a golden file: expected, found, tolerance, ok or CHANGED.

    Without --golden the figures expected are those of `car suite mini`, which are in the package. A single run is held
    against the golden file's run of the same folder name or benchmark.

    With --reference: run profile released on the file's image and texts, on the weights that it names or that are
    given, and compare proposals, scores and masks step by step. Exit status: 0, 4 if a figure changed, 2 if the run is
    of other data or weights than the golden file, or a suite is unfinished; its finished runs are compared.
    """
    if reference:
        by_role = options.weights_by_role(weights, proposal_weights, classifier_weights)
        _check_reference(reference, by_role, set_ or [], device)
    elif run is None:
        raise typer.BadParameter("expected RUN or --reference FILE")
    elif update and golden is None:
        raise typer.BadParameter("--update: expected --golden FILE too, for the package's own is not written to")
    else:
        _check_golden(run, golden, update=update, tolerance=tolerance, exact=exact)


def _check_golden(run: Path, golden: Path | None, *, update: bool, tolerance: float | None, exact: bool) -> None:
    with one_line_errors():
        from results import is_suite, missing_runs, read_runs, require_finished
        from results.tables.golden import (
            MINIATURE,
            compare,
            comparison_of_figures,
            of_one_run,
            read_golden,
            write_golden,
        )

        golden = golden or MINIATURE
        if update:
            require_finished(run)
        headers = read_runs(run)
        expected = write_golden(golden, headers, tolerance=tolerance) if update else read_golden(golden)
        if not (update or is_suite(run)):
            expected, headers = of_one_run(expected, next(iter(headers.values())), run.resolve().name)
        compared = compare((expected.exact() if exact else expected).without(missing_runs(run)), headers)
        show_tables([comparison_of_figures(compared, golden.name)])
        require_finished(run)
    changed = sum(item.changed for item in compared)
    tell(f"{changed} of {len(compared)} figures changed")
    if changed:
        raise typer.Exit(FIGURES_CHANGED)


def _check_reference(path: Path, weights: Mapping[str, str | None], settings: list[str], device: str) -> None:
    with one_line_errors():
        from car_core.models.names import check_device_name
        from evaluation.request.benchmark import parse_settings
        from evaluation.request.checks import check_weights

        check_device_name(device)
        check_weights(weights)
        from evaluation.analysis.reference import check_reference  # torch: seconds
        from results.tables.released import reference_table

        found = check_reference(path, weights=weights, settings=parse_settings(settings), device=device)
        show_tables([reference_table(path.name, [vars(each) | {"agrees": each.agrees} for each in found])])
    differing = sum(not each.agrees for each in found)
    tell(f"{differing} of {len(found)} quantities differ")
    if differing:
        raise typer.Exit(FIGURES_CHANGED)
