"""Validation of query texts."""

from __future__ import annotations

from collections.abc import Sequence

from car_core.errors import QueryError
from support.text import clip_words, find_twins


def check_texts(name: str, texts: Sequence[str], *, start: int = 0) -> tuple[str, ...]:
    """The texts as a tuple. Raises QueryError unless they are non-blank texts, distinct to CLIP.

    start: number of the first text: errors say ``name[1]`` where it is 0, the index, and else ``name 2``.
    """

    def at(index: int) -> str:
        return f"{name} {index + start}" if start else f"{name}[{index}]"

    checked = tuple(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in checked):
        raise QueryError(f"{name}: expected a sequence of texts, found {type(texts).__name__}")
    for index, text in enumerate(checked):
        if not clip_words(text):
            raise QueryError(f"{at(index)}: expected a text, found a blank one")
    if twins := find_twins(checked):
        first, second = (checked[index] for index in twins)
        found = f"{second!r} again" if first == second else f"{second!r}, which CLIP reads as {first!r}"
        raise QueryError(f"{at(twins[1])}: expected each text once, found {found}")
    return checked


def require_any(**queries: Sequence[str]) -> None:
    """Raise QueryError, naming the argument, if one holds no text."""
    for name, texts in queries.items():
        if not texts:
            raise QueryError(f"{name}: expected at least one text, found none")
