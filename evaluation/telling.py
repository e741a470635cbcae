"""Lines for people, which no file name or message can steer the terminal with."""

from __future__ import annotations

import sys

_LONGEST = 4000  # characters: an error may list all names that are known


def tell(line: str) -> None:
    """Print a line on standard error; control characters and direction marks are shown as their code points."""
    print(_visible(line), file=sys.stderr)


def say(line: str) -> None:
    """Print a line on standard output: at a terminal as `tell` does, to a pipe as it is, for it may hold a path."""
    print(_visible(line) if sys.stdout.isatty() else line)


def _visible(line: str) -> str:
    from results.render import visible  # pydantic: `car --help` does without

    return visible(line, limit=_LONGEST)
