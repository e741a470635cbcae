"""``car``: a thin shell over functions that a notebook can call. Heavy imports wait until a command needs them."""

from __future__ import annotations

import atexit
import gc
import itertools
from importlib import import_module
from typing import Annotated

import typer

from evaluation.cli.exit_status import SHOW_TRACEBACKS
from evaluation.cli.help import COMMANDS, HelpfulCommand
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
        typer.Option("--debug", help="Show the full traceback of errors, including those in your own code."),
    ] = False,
) -> None:
    """CaR ("CLIP as RNN"): training-free segmentation of any phrase, and its benchmarks."""
    SHOW_TRACEBACKS.set(debug)
    show_traces(debug)
    tell_log()


for _name in itertools.chain(*COMMANDS.values()):  # each in a module of its name
    _module = import_module(f"evaluation.cli.{_name}")
    if _name == "data":
        app.add_typer(_module.data_app, name=_name)
    else:
        app.command(_name, cls=HelpfulCommand)(home_paths(getattr(_module, f"{_name}_command")))


def main() -> None:
    gc.set_threshold(10_000)  # imports make many objects and no garbage: looking for it took a tenth of their time
    atexit.register(gc.freeze)  # nor is it worth 0.2 s to look for garbage in all of them at the end
    app(prog_name="car", windows_expand_args=False)


if __name__ == "__main__":
    main()
