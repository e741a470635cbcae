"""YAML from strangers: only the values that JSON has, no references, and every error one line."""

from __future__ import annotations

import json
from typing import Any

import yaml

from support.strict_json import require_json
from support.text import broken_text, shortened

_MOST_CHARACTERS = 2**24


class _Loader(yaml.SafeLoader):
    """Without aliases: a few lines of them stand for more values than a memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"an alias, *{self.peek_event().anchor}, which is not read")
        return super().compose_node(parent, index)


def loads(text: str) -> Any:
    """The value of a YAML text, made of what JSON has.

    Raises ValueError, one line, for dates, other tags, NaN, infinity, keys that are no text, aliases, errors of syntax,
    and more than 16 million characters.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"expected at most {_MOST_CHARACTERS} characters of YAML, found {len(text)}")
    try:
        value = yaml.load(text, _Loader)  # a SafeLoader
        require_json(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except Exception as error:  # PyYAML's constructors raise errors of many types
        raise ValueError(shortened(" ".join(str(error).split()), 200) or type(error).__name__) from None
    if near := broken_text(json.dumps(value, ensure_ascii=False)):
        raise ValueError(near)
    return value
