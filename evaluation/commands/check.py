"""``car check``: compare finished runs with the figures expected of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.commands.terminal import show_tables
from evaluation.exit_status import FIGURES_CHANGED, one_line_errors


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check_command)


def check_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run or of a suite.")],
    golden: Annotated[Path, typer.Option(metavar="FILE", help="Golden file of expected figures and tolerances.")],
    update: Annotated[bool, typer.Option("--update", help="Make the run's figures the expected ones.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="With --update: tolerance of every metric, in 0..1. [default: as before, else 0]"),
    ] = None,
) -> None:
    """Compare a run's figures with a golden file: expected, found, tolerance, ok or CHANGED.

    Exit status: 0, 4 if a figure changed, 2 if the run is of other data or weights than the golden file.
    """
    with one_line_errors():
        from results.golden import compare, comparison_of_figures, read_golden, write_golden
        from results.suite import read_runs

        headers = read_runs(run)
        expected = write_golden(golden, headers, tolerance=tolerance) if update else read_golden(golden)
        compared = compare(expected, headers)
        show_tables([comparison_of_figures(compared, golden.name)])
    changed = sum(item.changed for item in compared)
    typer.echo(f"{changed} of {len(compared)} figures changed", err=True)
    if changed:
        raise typer.Exit(FIGURES_CHANGED)
