"""Command-line options made from the fields of a request model (`evaluation.request.options`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args

from typer.models import ParameterInfo

from evaluation.cli.exit_status import one_line_errors
from evaluation.request.options import FromOptions, marks

Command = Callable[..., None]
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def takes(model: type, *names: str, without: Collection[str] = (), **changes: Any) -> Callable[[Command], Command]:
    """Decorate a command whose parameter `given` stands for options of a model: it gets the model's fields by name.

    names: only these options; none for all. without: not these. changes: by option, another default, or another
    `typer.Option` in place of the model's. User errors of the command become one line, as in `one_line_errors`.
    """
    joined, by_field = marks(model, FromOptions), _options_by_field(model)
    options = {name: option for group in by_field.values() for name, option in group.items()}
    options = {name: options[name] for name in options if name in (names or options) and name not in without}
    for name, change in changes.items():
        if isinstance(change, ParameterInfo):
            change = {"annotation": Annotated[get_args(options[name].annotation)[0], change]}
        else:
            change = {"default": change}
        options[name] = options[name].replace(**change)

    def decorate(run: Command) -> Command:
        # Not by get_type_hints: for a default of None, Python 3.10's would hide the options in an Optional.
        own = inspect.signature(run, eval_str=True).parameters.values()
        parameters = [option for each in own for option in (options.values() if each.name == "given" else [each])]

        @functools.wraps(run)
        @one_line_errors()
        def command(**values: Any) -> None:
            given = {}
            for field, group in by_field.items():
                if field in joined and group.keys() & options.keys():
                    join = joined[field].join
                    given[field] = join(**{k: values[k] for k in inspect.signature(join).parameters if k in values})
                elif field in options:
                    given[field] = values[field]
            run(given=given, **{name: value for name, value in values.items() if name not in options})

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _options_by_field(model: type) -> dict[str, dict[str, inspect.Parameter]]:
    """The options that each field of a model is made of, as typer takes them; none for a field of the library only."""
    joined, found = marks(model, FromOptions), {}
    for own in fields(model):
        default = inspect.Parameter.empty if own.default is MISSING else own.default
        parameters = [inspect.Parameter(own.name, _KEYWORD, default=default, annotation=own.type)]
        if own.name in joined:
            parameters = list(inspect.signature(joined[own.name].join).parameters.values())
        found[own.name] = {
            each.name: each.replace(kind=_KEYWORD)
            for each in parameters
            if any(isinstance(mark, ParameterInfo) for mark in getattr(each.annotation, "__metadata__", ()))
        }
    return found
