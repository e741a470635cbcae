"""Errors of the library. All are ``ValueError``: what was passed in cannot be worked with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ConfigError(ValueError):
    """A configuration has an unknown field or an impossible value. One line: field, expected, found.

    ``errors()`` lists the mistakes as pydantic does: ``loc``, ``msg``, ``input`` and ``type`` of each.
    """

    def __init__(self, message: str, errors: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self._errors = list(errors)

    def errors(self) -> list[Any]:
        return self._errors


class QueryError(ValueError):
    """The text queries cannot be segmented: none, blank, given twice, or too long for the text encoder."""


class ImageError(ValueError):
    """The image is not a uint8 [H, W, 3] array or a PIL image with at least one pixel."""


class ModelError(ValueError):
    """A CLIP model or its weights cannot be used: unknown name, missing or mismatched file, unsupported tower."""
