"""Console output, whatever standard output and error are: no file name or message can control a terminal, and no
missing, closed or narrowly encoded stream ends the work."""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from support.text import visible

_LONGEST = 4000  # characters: an error may list all known names


def tell(line: str) -> None:
    """Print a line on standard error; control characters and direction marks are shown as their code points."""
    text, stream = visible(line, _LONGEST), sys.stderr
    if stream is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        with suppress(OSError, ValueError):  # broken, closed: nobody reads it
            line = text.encode(encoding, "backslashreplace").decode(encoding) + "\n"
            print(line, end="", file=stream)  # in one call: other processes print, too


def say(line: str) -> None:
    """Print a line on standard output: as `tell` at a terminal, unchanged to a pipe, because it may hold a path."""
    print(visible(line, _LONGEST) if is_terminal(sys.stdout) else line)


def show(line: str) -> None:
    """Print a line for people on standard output, as `tell` does, also to a pipe."""
    print(visible(line, _LONGEST))


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal. A substitute for a stream, such as a logger, may lack `isatty`, or be None."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # ValueError: closed
        return False


def prepare_streams() -> None:
    """From now on standard output and error take any text: what their encoding lacks is escaped, as ``\\xe9``."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # noqa: PERF203  closed: the next file would get its number, and the output
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ANYTHING)


def _bytes_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


_ANYTHING = "car-eval"
codecs.register_error(_ANYTHING, _bytes_or_escape)


@contextmanager
def quiet_log(library: str) -> Iterator[None]:
    """Within, a library logs only errors."""
    log = logging.getLogger(library)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


TRACES = logging.getLogger("car_eval.traces")
"""Tracebacks of user-supplied code whose error is only one line of a sample's record."""


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            tell(line)


_TELLER = _Teller()


def show_traces(wanted: bool = True) -> None:
    """From now on print what is logged to `TRACES`, or no longer."""
    TRACES.setLevel(logging.DEBUG if wanted else logging.NOTSET)
    TRACES.addHandler(_TELLER)  # only once: a second call adds nothing


def tell_log() -> None:
    """From now on print what `car_core` logs, such as the start of a download."""
    log = logging.getLogger("car_core")
    log.setLevel(logging.INFO)
    log.addHandler(_TELLER)  # only once: a second call adds nothing
