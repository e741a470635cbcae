"""``car compare``: two runs next to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluation.cli.exit_status import FIGURES_CHANGED
from evaluation.cli.terminal import show_tables
from support.console import show, tell


def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Run directory of the baseline.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Run directory to compare with A.")],
    fail_below: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Exit with 4 if B's headline figure minus A's is below this, in percentage points.",
        ),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the bootstrap interval.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="Show every setting, metric, class and sample that differs, not only the largest differences."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON instead of the tables.")] = False,
) -> None:
    """Show the differences of two runs: settings, metrics with an interval, classes, samples.

    Exit status: 0; 2 for runs that cannot be compared; 4 if B is worse than --fail-below allows.
    """
    from evaluation.analysis.compare import compare
    from results.tables.two_runs import comparison_head, comparison_tables
    from support.strict_json import dumps

    comparison = compare(a, b, seed=seed, resamples=resamples)
    if json:
        typer.echo(dumps(comparison.as_dict(), indent=1))
    else:
        for line in [*comparison_head(comparison), ""]:
            show(line)
        show_tables(comparison_tables(comparison, most=None if all_ else 3))
        if not all_:
            tell("--all shows every difference")
    change = comparison.headline_change.difference
    if fail_below is not None and (change is None or 100 * change < fail_below):
        found = "undefined" if change is None else f"{100 * change:+.2f}"
        tell(f"{comparison.headline}: expected B - A of at least {fail_below:+g}, found {found}")
        raise typer.Exit(FIGURES_CHANGED)
