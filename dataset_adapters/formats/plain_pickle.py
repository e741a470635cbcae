"""Reading pickles of plain data, and of nothing else: a pickle may otherwise run any code when it is loaded."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from dataset_adapters.base.sample import DatasetError

PLAIN = "plain data (dict, list, tuple, str, bytes, int, float, bool, None)"
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


class ForbiddenError(pickle.UnpicklingError):
    """A pickle that holds something else than plain data; the message names it."""


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of plain data, written by Python 2 or 3 in protocol 0 to 5.

    Byte strings of Python 2 become str by Latin-1. Nothing that the file names is imported or called.
    Raises DatasetError if the file is absent, truncated, no pickle, or names or holds anything else.
    """
    try:
        with path.open("rb") as stream:
            content = _PlainUnpickler(stream).load()
        _require_plain(content)
    except Exception as error:  # damaged pickles raise errors of almost any type
        raise DatasetError(f"{path}: expected a pickle of {PLAIN}, found {_reason(error)}") from error
    return content


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler to which all globals but the spellings of a byte string are unknown."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="latin-1")

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a permitted name, or raise ForbiddenError with the name."""
        try:
            return _BYTE_STRINGS[module, name]
        except KeyError:
            raise ForbiddenError(f"the global {module}.{name}, which is refused") from None


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ForbiddenError(f"a byte string in the encoding {encoding!r}, which is refused")
    return text.encode("latin-1")


def _empty() -> bytes:
    return b""


# Protocols before 3 have no byte strings: Python 3 writes them as calls of these, here of the stand-ins above.
_BYTE_STRINGS: Mapping[tuple[str, str], Callable[..., bytes]] = {
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): _empty,
    ("builtins", "bytes"): _empty,
}


def _require_plain(content: Any) -> None:
    """Raise ForbiddenError for what needs no global and is not plain: sets, byte arrays, stray functions."""
    seen: set[int] = set()  # of containers: a pickle can hold one many times, or hold itself
    waiting: list[Iterator[Any]] = [iter((content,))]
    while waiting:
        for value in waiting.pop():
            if type(value) in _SCALARS or id(value) in seen:
                continue
            seen.add(id(value))
            waiting.append(_items(value))


def _items(value: Any) -> Iterator[Any]:
    if type(value) is dict:
        return chain(value.keys(), value.values())
    if type(value) in (list, tuple):
        return iter(value)
    raise ForbiddenError(f"a {type(value).__name__}, which is refused")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "nothing"
    if isinstance(error, ForbiddenError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"damage or another format: {' '.join(str(error).split()) or type(error).__name__}"
