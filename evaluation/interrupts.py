"""A run that is asked to stop finishes the samples at hand first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping after the samples at hand; once more to stop at once\n"


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end. number: which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class StopRequest:
    """Whether a signal has asked for an end, and which."""

    number: int | None = None

    @property
    def asked(self) -> bool:
        """Whether one has."""
        return self.number is not None

    def raise_if_asked(self) -> None:
        """Raise Interrupted if a signal has asked for an end."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Within, the first SIGINT or SIGTERM is kept as a request, and the second raises Interrupted.

    A signal that was ignored before stays so. Only a main thread can take signals; elsewhere nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def take(number: int, frame: FrameType | None) -> None:
        request.raise_if_asked()
        request.number = number
        os.write(2, _NOTICE)  # a handler may not use a buffered stream, which may be at work

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, take)
    try:
        yield request
    finally:
        for number in taken:
            signal.signal(number, before[number])
