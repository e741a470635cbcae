"""What all commands of ``car`` have: any text can be printed, ``~`` is home, an error says how switches are set."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from evaluation.cli.exit_status import one_line_errors
from support.console import prepare_streams
from support.errors import UserError
from support.files import expanded


class HintingGroup(TyperGroup):
    """The commands of ``car``: an error about an unknown option that has the name of a switch points to ``--set``."""

    def main(self, *args: Any, **options: Any) -> Any:
        prepare_streams()
        return super().main(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        given = list(ctx.args)
        for argument, before in zip(given, ["", *given], strict=False):
            name, equals, value = argument.partition("=")
            if not argument or (name.startswith("--") and equals and not value):  # as "$OUT" is where it is not set
                with one_line_errors():
                    raise UserError(f"{name or before or 'argument'}: expected a value, found an empty one")
        try:
            return super().invoke(ctx)
        except Exception as error:  # checked by name, since its module differs between versions of typer; raised again
            if type(error).__name__ == "NoSuchOption":
                _point_to_set(error, given)
            raise


def home_paths(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one-line errors, and home for ``~`` in its paths: shells leave it in ``--out=~/run``."""

    def at_home(value: Any) -> Any:
        if isinstance(value, list):
            return [at_home(each) for each in value]
        if not isinstance(value, Path):
            return value
        found = expanded(value)
        if str(found).startswith("~"):  # a folder of that name would be made
            raise UserError(f"{found}: expected a path, found the home of a nonexistent user")
        return found

    @functools.wraps(command)
    @one_line_errors()
    def run(**values: Any) -> None:
        command(**{name: at_home(value) for name, value in values.items()})

    return run


def _point_to_set(error: Any, given: list[str]) -> None:
    """Change the message about an unknown option called like a switch, if the command has ``--set``."""
    from car_core.config import CaRConfig
    from evaluation.request.benchmark import NOT_SETTINGS

    switch = error.option_name.lstrip("-").replace("-", "_")
    field = "lambda_" if switch == "lambda" else switch
    takes_settings = any("--set" in parameter.opts for parameter in error.ctx.command.params)
    if not takes_settings or field not in CaRConfig.model_fields or field in NOT_SETTINGS:
        return
    value = "VALUE"
    for argument, following in zip(given, [*given[1:], ""], strict=True):
        name, equals, own = argument.partition("=")
        if name == error.option_name:
            value = own if equals else following or value
            break
    error.message += f"; switches are set with {shlex.join(['--set', f'{switch}={value}'])}"
    error.possibilities = ()
