"""A run that is asked to stop finishes the samples in progress first."""

from __future__ import annotations

import multiprocessing
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

# A hangup is how a closed terminal and some schedulers end a program.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PASSED_ON = getattr(signal, "SIGUSR1", signal.SIGTERM)  # Windows has none: there a pool ends at once
# What a process of a pool listens to. Ctrl-C, and schedulers with SIGTERM, reach every process of a program, besides
# what the parent passes on: only that counts twice.
_SIGNALS_OF_A_POOL = (*_SIGNALS[1:], _PASSED_ON)
_pool_process = False
_asked_before: int | None = None  # a process of a pool that was asked to stop begins nothing more
_NOTICE = b"\nstopping after the samples in progress; press again to stop at once\n"


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
    """Within, the first SIGINT, SIGTERM or SIGHUP is kept as a request, and the second raises Interrupted.

    A signal that was ignored before stays so. Only a main thread can take signals; elsewhere nothing changes. In a
    process of a pool (see `be_pool_process`) it is the parent's signal that counts.
    """
    request = StopRequest(_asked_before)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    counting = (_PASSED_ON,) if _pool_process else _SIGNALS

    def take(number: int, frame: FrameType | None) -> None:
        if number in counting and request.number in counting:
            request.raise_if_asked()
        if request.number not in counting:
            request.number = number
        if _pool_process:
            _keep(number)
        else:
            with suppress(OSError):  # closed
                os.write(2, _NOTICE)  # a handler may not use a buffered stream, which may be at work

    signals = _SIGNALS_OF_A_POOL if _pool_process else _SIGNALS
    before = {number: signal.getsignal(number) for number in signals}
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, take)
    try:
        yield request
    finally:
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def starting_pool() -> Iterator[None]:
    """Within, SIGINT waits, and processes that are started never get it: they would show where in their imports.

    What is passed on ends one that is still importing.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # as it starts it lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def be_pool_process() -> None:
    """Make this process one of a pool whose parent decides when to stop, and says so by `pass_on`.

    It ends with its parent, whatever ended that: a pool's processes hold each other's pipes open, so that none sees it.
    """
    global _pool_process
    _pool_process = True
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(_PASSED_ON, lambda number, frame: _keep(number))  # between two runs there is nothing to finish


def _keep(number: int) -> None:
    global _asked_before
    _asked_before = number


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # finished samples are on disk


def pass_on() -> None:
    """Ask this process's children, those of a pool, to stop: first after the samples in progress, then at once."""
    for child in multiprocessing.active_children():
        with suppress(ProcessLookupError):
            os.kill(child.pid or 0, _PASSED_ON)


def kill_pool() -> None:
    """End this process's children, those of a pool, in the midst of their work."""
    for child in multiprocessing.active_children():
        child.kill()
