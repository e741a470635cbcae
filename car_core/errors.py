"""Errors of the library. All are ``ValueError``: what was passed in cannot be worked with."""

from __future__ import annotations


class QueryError(ValueError):
    """The text queries cannot be segmented: none, blank, given twice, or too long for the text encoder."""


class ImageError(ValueError):
    """The image is not a uint8 [H, W, 3] array or a PIL image with at least one pixel."""


class ModelError(ValueError):
    """A CLIP model or its weights cannot be used: unknown name, missing or mismatched file, unsupported tower."""
