"""Errors that a user can fix: one line that names what was expected and what was found. `car` prints it and exits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from support.text import did_you_mean, shortened


class UserError(Exception):
    """A request, or a file that it names, cannot be used; the message says what to fix."""


class RunError(Exception):
    """A run broke off through no fault of the request, such as a killed worker; the message says why."""


class AllFailedError(RunError):
    """Every sample of a run failed; the message names the first one and the reason."""


class ImageError(UserError, ValueError):
    """An image cannot be used. reason: what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_EXPECTED = {
    "bool": "true or false",
    "dict": "an object, as in {a: b}",
    "finite": "a finite number",
    "float": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int": "an integer",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list": "a list, as in [a, b]",
    "literal": "{expected}",
    "mapping": "an object, as in {a: b}",
    "missing": "a value",
    "model": "an object, as in {a: b}",
    "string": "text",
    "string_pattern_mismatch": "text like {pattern}",
    "string_too_short": "text",
    "too_short": "at least {min_length} of them",
    "tuple": "a list, as in [a, b]",
}
"""The expected value of a field, by the type of pydantic's error or its first word."""


def mistakes(error: Any, known: Iterable[str] = ()) -> str:
    """A `pydantic.ValidationError` on one line, in our words: "FIELD: expected X, found Y; ...".

    known: names of fields, for near matches of an unknown one.
    """
    parts: dict[tuple[str, str], str] = {}
    for item in error.errors(include_url=False):
        # The branches of a union, as in `templates.literal['imagenet']`, are not fields.
        field = ".".join(str(part) for part in item["loc"] if not re.fullmatch(r"[\w-]*\[.*\]", str(part)))
        kind, values = item["type"], item.get("ctx", {})
        found = "none" if kind == "missing" else shown(item["input"])
        what = (
            _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0]) or item["msg"].removeprefix("Input should be ")
        )
        for name, value in values.items():
            what = what.replace(f"{{{name}}}", f"{value:g}" if isinstance(value, float) else str(value))
        text = f"expected {what.removeprefix('Input should be ')}"
        if kind == "extra_forbidden":
            text = f"no such field{did_you_mean(field, known)}"
        elif kind == "value_error":  # of a validator of ours
            text = str(values["error"])
        says_found = kind == "extra_forbidden" or "found " in text or (kind == "value_error" and not field)
        key = (field, "" if says_found else f", found {found}")
        parts[key] = f"{parts[key]} or {text.removeprefix('expected ')}" if key in parts else text
    return "; ".join(f"{field}: {text}{found}" if field else text + found for (field, found), text in parts.items())


def shown(value: object) -> str:
    """A value in an error, cut to 80 characters."""
    try:
        return shortened(repr(value))
    except ValueError:  # an integer of over 4300 digits
        return "an integer of thousands of digits"
