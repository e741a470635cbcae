"""``car``: a thin shell over functions that a notebook can call. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from evaluation.cli import bench, check, compare, data, eval, merge, report, segment, serve, suite, sweep, table
from evaluation.cli.exit_status import SHOW_TRACEBACKS
from evaluation.cli.option_hints import HintingGroup
from support.console import tell_log

app = typer.Typer(
    cls=HintingGroup, no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"car-eval {version('car-eval')}")
        raise typer.Exit


@app.callback()
def car(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of a user error.")] = False,
) -> None:
    """CaR ("CLIP as RNN"): training-free segmentation of any phrase, and its benchmarks."""
    SHOW_TRACEBACKS.set(debug)
    tell_log()


app.command("eval")(eval.eval_command)
app.command("table")(table.table_command)
app.command("bench")(bench.bench_command)
app.command("check")(check.check_command)
app.add_typer(data.data_app, name="data")
app.command("suite")(suite.suite_command)
app.command("sweep")(sweep.sweep_command)
app.command("merge")(merge.merge_command)
app.command("segment")(segment.segment_command)
app.command("compare")(compare.compare_command)
app.command("report")(report.report_command)
app.command("serve")(serve.serve_command)


def main() -> None:
    """Entry point of ``car``."""
    # Read when torch is loaded. Waiting threads spin by default, which made a run next to other work several times
    # slower and gains nothing otherwise.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="car", windows_expand_args=False)


if __name__ == "__main__":
    main()
