"""`--recurrence once`: a switch typed as if it were an option. The error says how switches are set."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """The commands of ``car``, whose errors about an option that has the name of a switch point to ``--set``."""

    def invoke(self, ctx: Any) -> Any:
        given = list(ctx.args)
        try:
            return super().invoke(ctx)
        except Exception as error:  # by name below, as versions of typer differ in the module; it is raised again
            if type(error).__name__ == "NoSuchOption":
                _point_to_set(error, given)
            raise


def _point_to_set(error: Any, given: Sequence[str]) -> None:
    """Change the message of an error about an unknown option, if the command has ``--set`` and a switch that name."""
    switch = _switch_of(error.option_name)
    if switch and any("--set" in parameter.opts for parameter in error.ctx.command.params):
        asked = shlex.join(["--set", f"{switch}={_value_of(error.option_name, given)}"])
        error.message, error.possibilities = f"{error.message}; switches are set with {asked}", ()


def _switch_of(option: str) -> str | None:
    """The switch that an option is called like, as ``--set`` takes it."""
    from car_core.config import CaRConfig
    from evaluation.request.benchmark import NOT_SETTINGS

    name = option.lstrip("-").replace("-", "_")
    field = "lambda_" if name == "lambda" else name
    return name if field in CaRConfig.model_fields and field not in NOT_SETTINGS else None


def _value_of(option: str, given: Sequence[str]) -> str:
    """What stands behind the option on the command line, VALUE where nothing does."""
    for argument, following in zip(given, [*given[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name == option:
            return value if equals else following or "VALUE"
    return "VALUE"
