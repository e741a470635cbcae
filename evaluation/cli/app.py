"""``car``: a thin shell over functions that a notebook can call. Heavy imports wait until a command needs them."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from evaluation.cli import (
    bench,
    benchmarks,
    check,
    compare,
    data,
    eval,
    export,
    merge,
    methods,
    push,
    report,
    rerun,
    runs,
    score,
    segment,
    serve,
    suite,
    sweep,
    table,
)
from evaluation.cli.exit_status import SHOW_TRACEBACKS
from evaluation.cli.help import HelpfulCommand
from evaluation.cli.option_hints import HintingGroup, home_paths
from support.console import show_traces, tell_log

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
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the full traceback of an error, also of your own code."),
    ] = False,
) -> None:
    """CaR ("CLIP as RNN"): training-free segmentation of any phrase, and its benchmarks."""
    SHOW_TRACEBACKS.set(debug)
    show_traces(debug)
    tell_log()


app.command("eval", cls=HelpfulCommand)(home_paths(eval.eval_command))
app.command("export", cls=HelpfulCommand)(home_paths(export.export_command))
app.command("score", cls=HelpfulCommand)(home_paths(score.score_command))
app.command("rerun", cls=HelpfulCommand)(home_paths(rerun.rerun_command))
app.command("runs", cls=HelpfulCommand)(home_paths(runs.runs_command))
app.command("table", cls=HelpfulCommand)(home_paths(table.table_command))
app.command("bench", cls=HelpfulCommand)(home_paths(bench.bench_command))
app.command("benchmarks", cls=HelpfulCommand)(home_paths(benchmarks.benchmarks_command))
app.command("check", cls=HelpfulCommand)(home_paths(check.check_command))
app.add_typer(data.data_app, name="data")
app.command("suite", cls=HelpfulCommand)(home_paths(suite.suite_command))
app.command("sweep", cls=HelpfulCommand)(home_paths(sweep.sweep_command))
app.command("merge", cls=HelpfulCommand)(home_paths(merge.merge_command))
app.command("methods", cls=HelpfulCommand)(home_paths(methods.methods_command))
app.command("segment", cls=HelpfulCommand)(home_paths(segment.segment_command))
app.command("compare", cls=HelpfulCommand)(home_paths(compare.compare_command))
app.command("report", cls=HelpfulCommand)(home_paths(report.report_command))
app.command("push", cls=HelpfulCommand)(home_paths(push.push_command))
app.command("serve", cls=HelpfulCommand)(home_paths(serve.serve_command))


def main() -> None:
    """Entry point of ``car``."""
    gc.set_threshold(10_000)  # imports make many objects and no garbage: looking for it took a tenth of their time
    app(prog_name="car", windows_expand_args=False)


if __name__ == "__main__":
    main()
