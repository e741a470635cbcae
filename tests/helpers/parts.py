"""Stand-ins for the work of child processes, in a module that those import quickly: without models."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from evaluation.engines.children import Send
from evaluation.engines.signals import FORWARDED, stop_request
from results import StoreError

if TYPE_CHECKING:
    from evaluation.suites.index_writer import EventHandler


def slow_or_failing(handle: EventHandler, tasks: Sequence[Any]) -> list[Any]:
    """The part with eta 0.4 ends when it is asked to and the file `.end` is there; any other fails once that has begun.

    Files lie in the folder of the suite: `begun`, `asked` and `ended` say how far the slow part is; with `.deaf` it
    hears no signal from then on.
    """
    [(entry, options)] = tasks
    folder = Path(options.out).parent
    if entry.settings["eta"] != 0.4:
        _until((folder / "begun").exists)
        raise StoreError("no such luck")
    with stop_request() as stop:
        (folder / "begun").touch()
        _until(lambda: stop.asked)
        if (folder / ".deaf").exists():
            signal.signal(FORWARDED, signal.SIG_IGN)
        (folder / "asked").touch()
        _until((folder / ".end").exists)
        (folder / "ended").touch()
        stop.raise_if_asked()
    return []


def telling(handle: EventHandler, tasks: Sequence[Any]) -> list[Any]:
    """A part that tells of its start and ends when it is asked to; `ended` next to its folder says so."""
    from evaluation.suites.index_writer import RunEvent

    [(entry, options)] = tasks
    with stop_request() as stop:
        handle(RunEvent(entry.name, options.out))
        _until(lambda: stop.asked)
        options.out.with_name("ended").touch()
        stop.raise_if_asked()
    return []


def devices(handle: EventHandler, tasks: Sequence[Any]) -> list[Any]:
    """A part that says where it would run."""
    return [options.device for _, options in tasks]


def killed(handle: EventHandler, tasks: Sequence[Any]) -> list[Any]:
    """A part that is killed, as by the kernel for its memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def _until(true: Any) -> None:
    for _ in range(12000):  # a bound on failures alone
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited for nothing")


def equipment_that_fails() -> Any:
    """As a library ends a process."""
    print("no such luck\n", file=sys.stderr, flush=True)
    os._exit(7)


class UnsendableError(Exception):
    """Made of two texts, but pickled with one."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}: {second}")


def about_itself(send: Send, given: str) -> tuple[Any, ...]:
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C at a terminal sends it to every process
    send(given)
    return os.getpgid(0), torch.get_num_threads(), sys.path, sys.stdin.read()


def raises(send: Send, kind: type[Exception], *arguments: str) -> None:
    raise kind(*arguments)


def stays(send: Send, deaf: bool = False) -> None:
    """Work that never ends by itself; deaf: nor when it is asked to."""
    if deaf:
        signal.signal(FORWARDED, signal.SIG_IGN)
    send("begun")
    time.sleep(600)
