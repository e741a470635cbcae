"""A request as a mapping of command-line words, as in ``{"benchmark": "voc21", "set": {"eta": 0.3}}``.

`car eval --config` reads it from a YAML file, run.json keeps it, and `car rerun` gives it to the command line again.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import Range, RunOptions, by_option, fields_of, is_kept, marks, options_by_field
from support import strict_yaml
from support.errors import mistakes, shown
from support.text import unknown_name

_ASSIGNMENTS = "KEY=VALUE"
_STRICT = ConfigDict(strict=True)


def words_of_request(options: RunOptions, *, kept: bool = False) -> dict[str, Any]:
    """The requested values that differ from the defaults, as JSON values by word; the inverse of `request_of`.

    kept: only what run.json keeps: everything that figures depend on except where files are; names of files lose their
    folders.
    """
    model: type = type(options)
    words: dict[str, Any] = {}
    for own, group in zip(fields(options), options_by_field(model).values(), strict=True):
        value = getattr(options, own.name)
        default = own.default_factory() if own.default_factory is not MISSING else own.default
        if group and value != default and (is_kept(own.name) or not kept):
            words |= {word: each for word, each in by_option(model, own.name, value).items() if each is not None}
    words = to_jsonable_python(words, fallback=str)
    return {word: without_folders(value) for word, value in words.items()} if kept else words


def request_of(words: Mapping[str, Any], where: str, *, kept: bool = False) -> RunOptions:
    """The request that words stand for. kept: as for `by_parameter`. Raises BenchmarkError naming `where` and word."""
    return RunOptions(**fields_of(RunOptions, by_parameter(RunOptions, words, where, kept=kept)))


def read_words(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, unchecked. Raises BenchmarkError, naming the file, for anything else."""
    return strict_yaml.read_fields(path, "a YAML file", "fields such as benchmark: voc21", BenchmarkError)


def by_parameter(model: type, words: Mapping[str, Any], where: str, *, kept: bool = False) -> dict[str, Any]:
    """The values of words by the parameters of a model's options, each checked; a repeatable option's as a list.

    Words with hyphens are the same as with underscores; null counts as absent. where: the file, for errors. kept:
    whether only words that a run.json keeps are known, for it may be a stranger's: none that writes or connects.
    Raises BenchmarkError: FILE: FIELD, what was expected and found.
    """
    groups = [group for field, group in options_by_field(model).items() if not kept or is_kept(field)]
    options = {name.rstrip("_"): each for group in groups for name, each in group.items()}
    ranges, values = marks(model, Range), {}
    for given, value in words.items():
        word = given.replace("-", "_")
        if word not in options:
            raise BenchmarkError(unknown_name(f"{where}: {given}", given, options).replace("a known name", "a field"))
        name = options[word].name
        if name in values:
            raise BenchmarkError(f"{where}: {given}: expected each field once, found it again")
        if value is not None:
            values[name] = _checked(options[word], value, f"{where}: {given}")
            if word in ranges:
                ranges[word].check(values[name], f"{where}: {given}")
    try:
        fields_of(model, values)
    except BenchmarkError as error:
        raise BenchmarkError(f"{where}: {error}") from None
    return values


def _checked(option: inspect.Parameter, value: Any, where: str) -> Any:
    kind, *options = get_args(option.annotation)
    is_assignments = any(getattr(each, "metavar", None) == _ASSIGNMENTS for each in options)
    if is_assignments and isinstance(value, dict):
        return [value]
    if type(value) is int and {kind, *get_args(kind)} & {str, Path}:
        value = str(value)  # as on the command line; the file's digits are those of the number, see `strict_yaml`
    if isinstance(value, str) and not value.strip():
        raise BenchmarkError(f"{where}: expected a value, found an empty one")
    try:  # from JSON, where a path is a text
        return TypeAdapter(kind, config=_STRICT).validate_json(json.dumps(value))
    except ValidationError as error:
        what = f"expected fields, or a list of {_ASSIGNMENTS} texts, found {shown(value)}"
        raise BenchmarkError(f"{where}: {what if is_assignments else mistakes(error)}") from None


def without_folders(value: Any) -> Any:
    """A text with the folders cut off absolute paths in it, which commas may separate."""
    if not isinstance(value, str):
        return value
    return ",".join(Path(each).name if os.path.isabs(os.path.expanduser(each)) else each for each in value.split(","))
