"""``car eval``: one benchmark, or user-supplied data. Its options are the fields of `request.options.RunOptions`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.cli.exit_status import AllowFailures, exit_if_failed, one_line_errors
from evaluation.cli.model_options import preset, takes
from evaluation.cli.terminal import show_run, tell_device
from evaluation.request.options import CAR, RunOptions
from support.console import show, tell
from support.files import expanded


@one_line_errors()
def _read_config(ctx: typer.Context, config: Path | None) -> Path | None:
    if config is not None and not ctx.resilient_parsing:
        from evaluation.request.words import read_words

        preset(ctx, RunOptions, read_words(expanded(config)), str(config))
    return config


@takes(RunOptions, benchmark=None)
def eval_command(
    *,
    ctx: typer.Context,
    given: dict[str, Any],
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML file of these options by name (benchmark: voc21, set: {eta: 0.3}); the command line wins.",
            is_eager=True,
            callback=_read_config,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check data, weights and options, estimate time and size, and stop."),
    ] = False,
    allow_failures: AllowFailures = False,
    json: Annotated[bool, typer.Option("--json", help="Print run.json instead of the tables.")] = False,
) -> None:
    """Run a benchmark and print its figures next to the paper's.

    The same command resumes an unfinished run; a larger --limit extends the run in the same --out. Exit status: 0; 1 if
    the run was cut short (e.g. the disk is full); 2 for a user error; 3 if samples failed; 130 or 143 if interrupted.
    """
    from car_core.names import MINIATURE, random_seed
    from evaluation.request.methods import is_several
    from evaluation.request.resolve import resolve
    from evaluation.request.user_data import resolve_data

    with redirect_stdout(sys.stderr):  # what code from outside prints is not a result
        data = resolve_data(given["benchmark"], given["data_root"], given["places"])
        options = RunOptions(**given | data)
        run_all = is_several(options.method)
        # What depends on a method's settings is resolved for each of them, after torch has been imported.
        resolved = resolve(replace(options, method=CAR, settings={}) if run_all else options)
        fields = [f"{role}_model" for role, name in resolved.weights.items() if random_seed(name) is not None]
        if resolved.benchmark.embedded and (large := [own for own in fields if own not in options.settings]):
            models = " and ".join(getattr(resolved.config, own) for own in large)
            small = " ".join(f"--set {own}={MINIATURE}" for own in large)
            tell(f"notice: random weights of {models}; of the miniature's size: {small}")
        from evaluation.run.dry_run import plan_lines
        from evaluation.run.prepare import build, prepare
        from evaluation.run.runner import run_prepared
        from evaluation.suites.runner import methods_writer, options_by_method, run_methods

        prepared, runs = (None, options_by_method(options)) if run_all else (build(resolved), {})
        if options.engine == "local":
            tell_device(options.device, prepared.devices[0] if prepared else None)
        if not dry_run:
            done = run_prepared(prepared) if prepared else run_methods(options)
    if dry_run:
        if run_all:
            methods_writer(options, runs)  # refuses the folder of others
        for each in [prepared] if prepared else map(prepare, runs.values()):
            for line in plan_lines(each):
                show(line)
        return
    if json:
        file = done.path / ("suite.json" if run_all else "run.json")
        typer.echo(file.read_text(encoding="utf-8"), nl=False)
    else:
        show_run(done.path)
    tell(f"Run directory: {done.path}")
    exit_if_failed(done.all_runs, allow=allow_failures)
