"""Shared by all commands of ``car``: any text can be printed, ``~`` is home, a usage error is one line with a hint."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from evaluation.cli.exit_status import SETUP_ERROR, one_line_errors
from evaluation.cli.help import COMMANDS
from support.console import prepare_streams, tell
from support.errors import UserError, mistakes, shown
from support.files import expanded
from support.text import did_you_mean, shortened, unwrapped


class HintingGroup(TyperGroup):
    """The commands of ``car``: a usage error is one line; that about an unknown option called like a switch points to
    ``--set``."""

    def main(self, *args: Any, **options: Any) -> Any:
        prepare_streams()
        return super().main(*args, **options)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, names in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(140)) for name in names])

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _one_line_usage([]):
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        given = list(ctx.args)
        for position, (before, argument) in enumerate(zip(["", *given], given, strict=False)):
            name, equals, value = argument.partition("=")
            with one_line_errors():
                if not argument or (name.startswith("--") and equals and not value):  # as "$OUT" is where it is not set
                    where = name or (before if before.startswith("-") else f"argument {position + 1}")
                    raise UserError(f"{where}: expected a value, found an empty one")
                if before in ("--set", "--protocol") and not equals:  # as in --set theta 0.6, --set theta = 0.6
                    after = next((each.lstrip("=") for each in given[position + 1 :] if each != "="), "")
                    typed = f"{argument}={after if re.match('-?[^-a-z]', after) else 'VALUE'}"
                    found = shown(argument)
                    raise UserError(f"{before}: expected key=value, found {found}; type {shlex.join([before, typed])}")
        with _one_line_usage(given, lambda: ctx.invoked_subcommand):
            return super().invoke(ctx)


def home_paths(command: Callable[..., None]) -> Callable[..., None]:
    """The command with finite numbers of 64 bits, and home for ``~`` in paths: shells leave it in ``--out=~/run``."""

    def at_home(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [at_home(name, each) for each in value]
        if isinstance(value, (int, float)) and not abs(value) < 2**63:  # NaN is not less, either
            option = name.strip("_").replace("_", "-")
            raise UserError(f"--{option}: expected a finite number of 64 bits, found {shown(value)}")
        if not isinstance(value, Path):
            return value
        found = expanded(value)
        if str(found).startswith("~"):  # a folder of that name would be made
            raise UserError(f"{found}: expected a path, found the home of a nonexistent user")
        return found

    @functools.wraps(command)
    def run(**values: Any) -> None:
        command(**{name: at_home(name, value) for name, value in values.items()})

    return run


@contextmanager
def _one_line_usage(given: list[str], named: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Report typer's usage errors as all others. They are known by name: their module differs between versions.

    named: the command, for an error that does not say its own.
    """
    try:
        yield
    except Exception as error:  # by name: typer has its own click
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if "UsageError" not in kinds or "NoArgsIsHelpError" in kinds:  # the latter shows the help
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", None) or f"car {named() or ''}".strip()
        text = unwrapped(_usage(error, kinds, given))
        tell(f"error: {text}{' See' if text.endswith('?') else '; see'} `{command} --help`")
        raise typer.Exit(SETUP_ERROR) from None


def _usage(error: Any, kinds: set[str], given: list[str]) -> str:
    if "NoSuchOption" in kinds:
        known = [name for parameter in error.ctx.command.params for name in parameter.opts] if error.ctx else ()
        return f"{error.option_name}: no such option" + (
            _switch_hint(error, given) or did_you_mean(error.option_name, known)
        )
    parameter = getattr(error, "param", None)
    name = ""
    if parameter:
        name = (
            parameter.opts[0] if parameter.opts[0].startswith("-") else (parameter.metavar or parameter.name).strip(".")
        )
    if "MissingParameter" in kinds:
        wanted = [
            each.metavar for each in error.ctx.command.params if each.required and each.param_type_name == "argument"
        ]
        if len(wanted) > 1 and all(wanted):
            return f"expected {' and '.join(wanted)}, found no {name}: {error.ctx.command_path} {' '.join(wanted)}"
        return f"{name}: expected a value, found none"
    if "BadOptionUsage" in kinds and "requires an argument" in error.message:
        return f"{error.option_name}: expected a value, found none"
    text: str = error.message.rstrip(".")
    if wrong := re.match(r"No such command '(.*?)'", text, re.DOTALL):
        hint = did_you_mean(wrong[1], getattr(error.ctx.command, "commands", ()))
        return f"{shortened(wrong[1])}: no such command{hint}"
    if type(error.__cause__).__name__ == "ValidationError":
        text = mistakes(error.__cause__)
    # "5 is not in the range x>=1", "'a' is not a valid integer", "'a' is not one of 'b', 'c'".
    if said := re.fullmatch(r"(.*) is not (?:in |a valid |one of )(.*)", text, re.DOTALL):
        nouns = {"integer": "an integer", "integer range": "an integer", "float": "a number"}
        expected = said[2].rstrip(".")
        hint = did_you_mean(said[1].strip("'"), re.findall("'([^']*)'", expected))
        text = f"expected {nouns.get(expected, expected)}, found {shortened(said[1])}{hint}"
    return f"{name}: {text}" if name else text[:1].lower() + text[1:]


def _switch_hint(error: Any, given: list[str]) -> str:
    """How the switch is set that an unknown option is called like; empty if there is none or no ``--set``."""
    from car_core.config import CaRConfig
    from evaluation.request.benchmark import NOT_SETTINGS

    switch = error.option_name.lstrip("-").replace("-", "_")
    field = "lambda_" if switch == "lambda" else switch
    takes_settings = error.ctx and any("--set" in parameter.opts for parameter in error.ctx.command.params)
    if not takes_settings or field not in CaRConfig.model_fields or field in NOT_SETTINGS:
        return ""
    value = "VALUE"
    for argument, following in zip(given, [*given[1:], ""], strict=True):
        name, equals, own = argument.partition("=")
        if name == error.option_name:
            value = own if equals else following or value
            break
    return f"; switches are set with {shlex.join(['--set', f'{switch}={value}'])}"
