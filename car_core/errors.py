"""Errors of the library. All are ``ValueError``: what was passed in cannot be worked with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.errors import UserError


class ConfigError(UserError, ValueError):
    """A configuration has an unknown field or an impossible value. One line: field, expected, found.

    ``errors()`` lists the mistakes as pydantic does: ``loc``, ``msg``, ``input`` and ``type`` of each.
    """

    def __init__(self, message: str, errors: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self._errors = list(errors)

    def errors(self) -> list[Any]:
        return self._errors


class QueryError(UserError, ValueError):
    """The text queries cannot be segmented: none, blank, given twice, or too long for the text encoder."""


class ModelError(UserError, ValueError):
    """A CLIP model or its weights cannot be used: unknown name, missing or mismatched file, unsupported tower."""
