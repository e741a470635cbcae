"""YAML from untrusted sources: only JSON's values, no references, and every error one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from support.errors import UserError
from support.files import read_regular, what_is_there
from support.strict_json import require_json
from support.text import broken_text, counted, shortened

_MOST_CHARACTERS = 2**24


class _Loader(yaml.SafeLoader):
    """Without aliases, a few lines of which can stand for more values than fit in memory, and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias, *{self.peek_event().anchor}, which is not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for part, _ in node.value:
            if (key := self.construct_object(part, deep=True)) in seen:
                raise yaml.YAMLError(f"the key {key!r} twice, again in line {part.start_mark.line + 1}")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        """Without numbers that look like others: 010, which is 8, and 1:30, which is 90."""
        kind = node.tag.rpartition(":")[2]
        value, digits = getattr(self, f"construct_yaml_{kind}")(node), node.value.lstrip("+-").replace("_", "")
        if ":" in digits or (digits.isdecimal() and int(digits) != abs(value)):
            raise yaml.YAMLError(f"{node.value}, which YAML reads as {value:g}; in quotes it is text")
        return value


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


class _IntegerKeys(_Loader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        found = super().construct_mapping(node, deep)
        return {str(key) if type(key) is int else key: value for key, value in found.items()}


def loads(text: str, *, integer_keys: bool = False) -> Any:
    """The value of a YAML text, of JSON's types. integer_keys: whether keys may be integers, returned as text.

    Raises ValueError, one line, for dates, other tags, NaN, infinity, octal and sexagesimal numbers, integers of over
    64 bits, keys that are not text, repeated keys, aliases, errors of syntax, and more than 16 million characters.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"expected at most {_MOST_CHARACTERS} characters of YAML, found {len(text)}")
    try:
        value = yaml.load(text, _IntegerKeys if integer_keys else _Loader)  # a SafeLoader
        require_json(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"a mistake{where}: {shortened(str(error.problem or error.context), 200)}") from None
    except Exception as error:  # PyYAML's constructors raise errors of many types
        said = " ".join(str(error).split()).replace('in "<unicode string>", position', "at position")
        raise ValueError(shortened(said, 200) or type(error).__name__) from None
    if near := broken_text(json.dumps(value, ensure_ascii=False)):
        raise ValueError(near)
    return value


def read_fields(path: Path, file: str, fields: str, error: type[UserError]) -> dict[str, Any]:
    """The mapping in a YAML file, unchecked. file, fields: what to expect there, in messages.

    Raises `error`, naming the file, for one that cannot be read, has no YAML as of `loads`, or no fields.
    """
    try:
        found = loads(read_regular(path, most=2**24).decode("utf-8"))
    except OSError as caught:
        raise error(f"{path}: expected {file}, found {what_is_there(caught)}") from None
    except ValueError as caught:
        raise error(f"{path}: expected YAML, found {caught}") from None
    if not isinstance(found, dict) or not found:
        kind = "nothing" if not found else counted(len(found), "item") if isinstance(found, list) else repr(found)
        raise error(f"{path}: expected {fields}, found {shortened(kind)}")
    return found
