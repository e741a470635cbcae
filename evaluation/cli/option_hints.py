"""`--recurrence once`: a switch typed as if it were an option. The error says how switches are set."""

from __future__ import annotations

import shlex
from typing import Any

from typer.core import TyperGroup


class HintingGroup(TyperGroup):
    """The commands of ``car``: an error about an unknown option that has the name of a switch points to ``--set``."""

    def invoke(self, ctx: Any) -> Any:
        given = list(ctx.args)
        try:
            return super().invoke(ctx)
        except Exception as error:  # checked by name, since its module differs between versions of typer; raised again
            if type(error).__name__ == "NoSuchOption":
                _point_to_set(error, given)
            raise


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
