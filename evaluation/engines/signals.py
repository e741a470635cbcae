"""A run that is asked to stop finishes the samples in progress first."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

# A hangup is how a closed terminal and some schedulers end a program.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
FORWARDED = getattr(signal, "SIGUSR1", signal.SIGTERM)
"""What a parent sends a child that is to stop (see `children`). Windows has none: there a child ends at once."""
_NOTICE = b"\nstopping after the samples in progress; press again to stop at once\n"


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end. number: which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class StopRequest:
    """The signal that asked for an end, if any, which `raise_if_asked` raises as Interrupted."""

    number: int | None = None

    @property
    def asked(self) -> bool:
        return self.number is not None

    def raise_if_asked(self) -> None:
        if self.number is not None:
            raise Interrupted(self.number)


_current: StopRequest | None = None


@contextmanager
def stop_request(*, of_child: bool = False) -> Iterator[StopRequest]:
    """Within, the first SIGINT, SIGTERM or SIGHUP is kept as a request, and the second raises Interrupted.

    A signal that was ignored before stays so. One context inside another has the request of the outer one. Only a main
    thread can take signals; elsewhere nothing changes. of_child: signals are requests, too, but only the second one
    that the parent forwarded raises: some schedulers also signal every process of a program themselves.
    """
    global _current
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    if _current:
        yield _current
        return
    request = _current = StopRequest()
    counting = (FORWARDED,) if of_child else _SIGNALS

    def take(number: int, frame: FrameType | None) -> None:
        had_one = request.number in counting
        if had_one and number in counting:
            request.raise_if_asked()
        if not had_one:  # also after one that does not count
            request.number = number
        if not of_child:
            with suppress(OSError):  # closed
                os.write(2, _NOTICE)  # a handler may not use a buffered stream, which may be at work

    before = {number: signal.getsignal(number) for number in {*_SIGNALS, *counting}}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, take)
    try:
        yield request
    finally:
        _current = None
        for number in taken:
            signal.signal(number, before[number])
