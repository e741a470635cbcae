"""Command-line options made from the fields of a request model (`evaluation.request.options`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, get_args

import typer
from typer.models import ParameterInfo

from evaluation.cli.exit_status import WORDS_FILE, WORDS_LISTS
from evaluation.cli.help import COMPLETERS
from evaluation.request.options import fields_of, info_of, options_by_field

Command = Callable[..., None]


def takes(model: type, *names: str, without: Collection[str] = (), **changes: Any) -> Callable[[Command], Command]:
    """Decorate a command whose parameter `given` stands for options of a model: it gets the model's fields by name.

    names: only these options; none for all. without: not these. changes: by option, another default, or another
    `typer.Option` in place of the model's. A command with a parameter `ctx` can `preset` options.
    """
    options = {name: option for group in options_by_field(model).values() for name, option in group.items()}
    options = {name: options[name] for name in options if name in (names or options) and name not in without}
    for name, change in changes.items():
        if isinstance(change, ParameterInfo):
            change.rich_help_panel = info_of(options[name]).rich_help_panel
            change = {"annotation": Annotated[get_args(options[name].annotation)[0], change]}
        else:
            change = {"default": change}
        options[name] = options[name].replace(**change)
    for name, option in options.items():
        info_of(option).autocompletion = COMPLETERS.get(name)

    def decorate(run: Command) -> Command:
        # Not by get_type_hints: for a default of None, Python 3.10's would hide the options in an Optional.
        own = inspect.signature(run, eval_str=True).parameters.values()
        parameters = [option for each in own for option in (options.values() if each.name == "given" else [each])]

        @functools.wraps(run)
        def command(**values: Any) -> None:
            lists = values["ctx"].meta.get(WORDS_LISTS, {}) if "ctx" in values else {}
            values |= {name: [*texts, *(values[name] or [])] for name, texts in lists.items()}
            given = fields_of(model, {name: value for name, value in values.items() if name in options})
            run(given=given, **{name: value for name, value in values.items() if name not in options})

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def preset(ctx: typer.Context, model: type, words: Mapping[str, Any], where: str, *, kept: bool = False) -> None:
    """Give options of a command the values of words (`evaluation.request.words`); those on the command line win.

    Repeatable options are added to those on the command line, before them. To be called while the command line is
    read. where: the file of the words, for errors. kept: as for `by_parameter`.
    """
    from evaluation.request.words import by_parameter

    values = by_parameter(model, words, where, kept=kept)
    ctx.meta[WORDS_LISTS] = {name: value for name, value in values.items() if isinstance(value, list)}
    ctx.meta[WORDS_FILE] = where
    ctx.default_map = {name: value for name, value in values.items() if not isinstance(value, list)}
