"""Reading pickles of plain data only: loading a pickle can otherwise run arbitrary code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from dataset_adapters.errors import DatasetError
from support.files import open_regular, what_is_there
from support.text import unwrapped

PLAIN = "plain data (dict, list, tuple, str, bytes, int, float, bool, None)"
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


class ForbiddenError(pickle.UnpicklingError):
    """A pickle that holds something other than plain data; the message names it."""


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of plain data, written by Python 2 or 3 in protocol 0 to 5.

    Byte strings of Python 2 become str by Latin-1. Nothing that the file names is imported or called.
    Raises DatasetError if the file is missing, truncated, not a pickle, or names or holds anything else.
    """
    try:
        with io.BufferedReader(open_regular(path)) as stream:
            content = _PlainUnpickler(stream, encoding="latin-1").load()
        _require_plain(content)
    except Exception as error:  # damaged pickles raise errors of almost any type
        if isinstance(error, ForbiddenError):
            found = str(error)
        elif isinstance(error, OSError):
            found = what_is_there(error)
        else:
            found = f"damage or another format: {unwrapped(error) or type(error).__name__}"
        raise DatasetError(f"{path}: expected a pickle of {PLAIN}, found {found}") from error
    return content


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for the spellings of a byte string; every other global is forbidden."""
        # Protocols before 3 have no byte strings: Python 3 writes them as calls of _codecs.encode and bytes.
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        if name == "bytes" and module in ("__builtin__", "builtins"):
            return lambda: b""
        raise ForbiddenError(f"the global {module}.{name}, which is refused")


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ForbiddenError(f"a byte string in the encoding {encoding!r}, which is refused")
    return text.encode("latin-1")


def _require_plain(content: Any) -> None:
    """Raise ForbiddenError for objects that need no global and are not plain: sets, byte arrays, stray functions."""
    seen: set[int] = set()  # ids of containers: a pickle can hold one many times, or hold itself
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if type(value) in _SCALARS or id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is dict:
            waiting += [*value.keys(), *value.values()]
        elif type(value) in (list, tuple):
            waiting += value
        else:
            raise ForbiddenError(f"a {type(value).__name__}, which is refused")
