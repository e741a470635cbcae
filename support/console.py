"""Lines for people, which no file name or message can steer the terminal with."""

from __future__ import annotations

import logging
import sys

from support.text import visible

_LONGEST = 4000  # characters: an error may list all names that are known


def tell(line: str) -> None:
    """Print a line on standard error; control characters and direction marks are shown as their code points."""
    print(visible(line, _LONGEST), file=sys.stderr)


def say(line: str) -> None:
    """Print a line on standard output: at a terminal as `tell` does, to a pipe as it is, for it may hold a path."""
    print(visible(line, _LONGEST) if sys.stdout.isatty() else line)


class _Teller(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


_TELLER = _Teller()


def tell_log() -> None:
    """From now on tell what `car_core` logs, such as the beginning of a download."""
    log = logging.getLogger("car_core")
    log.setLevel(logging.INFO)
    log.addHandler(_TELLER)  # once: the second time it is there already
