"""How long a run was at work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Wall seconds since it was made, without those in which it was paused."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The seconds within do not count."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - start
