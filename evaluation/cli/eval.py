"""``car eval``: one benchmark, or user-supplied data."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import AllowFailures, exit_if_failed
from evaluation.cli.model_options import takes
from evaluation.cli.terminal import show_run
from evaluation.request.options import CAR, RunOptions
from support.console import tell


@takes(RunOptions, benchmark=None)
def eval_command(
    *,
    given: dict[str, Any],
    allow_failures: AllowFailures = False,
    json: Annotated[bool, typer.Option("--json", help="Print run.json instead of the tables.")] = False,
) -> None:
    """Run a benchmark and print its figures next to the paper's.

    Exit status: 0; 1 if the run was cut short (e.g. the disk is full); 2 for a user error; 3 if samples failed; 130 or
    143 if interrupted. The same command resumes an unfinished run.
    """
    from evaluation.request.methods import is_several
    from evaluation.request.resolve import resolve
    from evaluation.request.user_data import resolve_data

    data = resolve_data(given["benchmark"], given["data_root"], given["places"])
    options = RunOptions(**given | data)
    run_all = is_several(options.method)
    # What depends on a method's settings is resolved for each of them, after torch has been imported.
    resolved = resolve(replace(options, method=CAR, settings={}) if run_all else options)
    from evaluation.run.prepare import build
    from evaluation.run.runner import run_prepared
    from evaluation.suites.runner import run_methods

    done = run_methods(options) if run_all else run_prepared(build(resolved))
    if json:
        file = done.path / ("suite.json" if run_all else "run.json")
        typer.echo(file.read_text(encoding="utf-8"), nl=False)
    else:
        show_run(done.path)
    tell(f"Run directory: {done.path}")
    exit_if_failed(done.all_runs, allow=allow_failures)
