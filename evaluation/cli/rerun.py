"""``car rerun``: a run again, from its run.json."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import ParameterInfo

from evaluation.cli.exit_status import AllowFailures, exit_if_failed, one_line_errors
from evaluation.cli.model_options import preset, takes
from evaluation.cli.terminal import show_run, tell_device
from evaluation.request.options import RunOptions, is_kept, options_by_field
from support.console import tell
from support.files import expanded


@one_line_errors()
def _read_run(ctx: typer.Context, run: Path) -> Path:
    if not ctx.resilient_parsing:
        from evaluation.run.rerun import words_of_run
        from results.run_directory.suite import read_run

        ctx.obj = read_run(expanded(run))
        preset(ctx, RunOptions, words_of_run(ctx.obj), f"{run / 'run.json'}: request", kept=True)
    return run


def _kept_by_the_run() -> dict[str, ParameterInfo]:
    """The options that run.json keeps: their default is the run's value."""
    found = {}
    for field, group in options_by_field(RunOptions).items():
        for name, option in group.items() if is_kept(field) else ():
            info = copy(option.annotation.__metadata__[0])
            info.help = re.sub(r" ?\[default: [^]]*\]$", "", info.help) + " [default: the run's]"
            info.show_default = False
            found[name] = info
    return {name: info for name, info in found.items() if name != "benchmark"}


@takes(RunOptions, without={"benchmark"}, **_kept_by_the_run())
def rerun_command(
    *,
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory.", is_eager=True, callback=_read_run)],
    given: dict[str, Any],
    print_: Annotated[bool, typer.Option("--print", help="Print the file for `car eval --config` and stop.")] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Import code that run.json names by file or module, even if the run is not yours."
        ),
    ] = False,
    allow_failures: AllowFailures = False,
) -> None:
    """Repeat a run in another folder, after reporting what has changed since.

    Name data and weights if they are not where `car eval` looks: a run directory does not hold their paths. Options
    override the run's. Exit status as for eval.
    """
    from evaluation.request.benchmark import BenchmarkError
    from evaluation.request.user_data import kind_of, resolve_data
    from evaluation.request.words import words_of_request
    from evaluation.run.rerun import (
        benchmark_of,
        changes,
        outside_code,
        require_data,
        require_places,
        vocabulary_of,
        words_of_run,
    )

    words = words_of_run(ctx.obj)
    named = {*outside_code(words)} & {*outside_code({**given, "benchmark": words["benchmark"]})}
    if named and not (trust or print_):
        raise BenchmarkError(
            f"{run}: expected --trust for code that only run.json names, {', '.join(sorted(named))}, found none"
        )
    benchmark = words["benchmark"]
    data = resolve_data(kind_of(ctx.obj.benchmark), given["data_root"], given["places"]) if given["places"] else {}
    source = ctx.get_parameter_source("names")
    if source is None or source.name != "COMMANDLINE":  # else a file of that name was meant
        given["names"] = vocabulary_of(ctx.obj) or given["names"]
    # Making a benchmark may import what its fields name, which --print promises not to.
    made = None if print_ else benchmark_of(ctx.obj)
    options = RunOptions(**{**given, **data, "benchmark": made or benchmark})
    if print_:
        import yaml

        typer.echo(yaml.safe_dump(words_of_request(options), sort_keys=False, allow_unicode=True, width=120), nl=False)
        return
    require_places(options)
    from evaluation.request.resolve import resolve

    resolved = resolve(options)
    from evaluation.run.header import header_of  # torch: seconds
    from evaluation.run.prepare import build
    from evaluation.run.runner import run_prepared

    prepared = build(resolved)
    if options.engine == "local":
        tell_device(options.device, prepared.devices[0])
    if prepared.folder.resolve() == run.resolve():  # the run's own folder: its records stay, new ones go next to it
        other = run.resolve().with_name(f"{run.resolve().name}-rerun")
        prepared = replace(prepared, options=replace(prepared.options, out=other))
    require_data(ctx.obj, prepared)
    for change in changes(ctx.obj, header_of(prepared)):
        tell(f"notice: differs: {change}")
    done = run_prepared(prepared)
    show_run(done.path)
    tell(f"Run directory: {done.path}")
    exit_if_failed([done], allow=allow_failures)
