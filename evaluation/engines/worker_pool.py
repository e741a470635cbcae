"""Work in processes of their own: one that dies or hangs costs its current task, not the run.

Pools of the standard library and torch's DataLoader end with their first dead worker and have no time limit per task,
so each process here has its own pipe and is restarted by itself.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from support.errors import RunError

MAX_LOST_IN_A_ROW = 10
"""Samples lost one after the other after which it is not the samples: a disk that is gone, a broken installation."""
JOIN_SECONDS = 5
"""To wait for the end of a process that was killed: one that waits for a dead disk cannot be, and is left behind."""
_MAIN_GUARD = (
    "; where processes are spawned they import the main module: a script must call this below if __name__ == '__main__'"
)

TaskT = TypeVar("TaskT")
Answer = TypeVar("Answer")


class WorkerError(RunError):
    """Working processes die or hang, and not because of one sample; the samples finished before are kept."""


def end_if_starting() -> None:
    """End a spawned process that runs the program's main module again, before it begins the same work once more."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(1)


class ProcessLost(Exception):  # noqa: N818 (what happened to a task, for its caller to judge)
    """The process at work on a task died or took too long. seconds: how long it was at work."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class LossCounter:
    """Ends a run whose processes are lost one after the other. work: what they do, for the message."""

    def __init__(self, work: str) -> None:
        self._work, self._in_a_row = work, 0

    def count(self, lost: bool, reason: object) -> None:
        """Count one sample. Raises WorkerError at the `MAX_LOST_IN_A_ROW`-th lost with none finished in between."""
        self._in_a_row = self._in_a_row + 1 if lost else 0
        if self._in_a_row == MAX_LOST_IN_A_ROW:
            raise WorkerError(
                f"workers: {self._in_a_row} {self._work} processes in a row were lost, the last at {reason}; "
                "finished samples are kept"
            )


class Processes(Generic[TaskT, Answer]):
    """A number of processes that each do one task at a time.

    work: a task's answer; it must not raise. time_limit: seconds per task; None for no limit. Processes start with
    their first task, or all at once with `start`, and end with `close`. Raises WorkerError, from `start` or a task,
    where one ends before it is ready: it could not import the main module.
    """

    def __init__(self, work: Callable[[TaskT], Answer], count: int, time_limit: float | None = None) -> None:
        # One byte in this pipe, which nobody takes out, asks them all to end. Closing a pipe would not do: a process
        # that was forked later holds the ends of the earlier ones' open.
        self._leave, self._ask = multiprocessing.Pipe(duplex=False)
        self._processes = [_Process(work, self._leave, time_limit) for _ in range(count)]
        self._idle: SimpleQueue[_Process[TaskT, Answer]] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        # The threads only wait for their processes.
        self._threads = ThreadPoolExecutor(max(1, count))

    def start(self) -> None:
        """Start every process now, e.g. before other threads are at work that a fork should not cut in two."""
        for process in self._processes:
            process.launch()
        for process in self._processes:
            process.wait_until_ready()

    def submit(self, task: TaskT) -> Future[Answer]:
        """The answer to come; it raises ProcessLost where its process died or took too long."""

        def do() -> Answer:
            process = self._idle.get()
            try:
                return process.do(task)
            finally:
                self._idle.put(process)

        return self._threads.submit(do)

    def close(self, patience: float = 2.0) -> None:
        """End the processes; tasks that have not begun never do.

        They are asked first, and killed after `patience` seconds: one that is killed leaves behind what it shares with
        others by name, such as locks. A signal while they end has all of them killed.
        """
        self._threads.shutdown(wait=False, cancel_futures=True)
        try:
            self._ask.send_bytes(b"-")
            last = time.monotonic() + patience
            for process in self._processes:
                process.stop(patience=max(0.0, last - time.monotonic()))
        finally:  # nothing is left to stop unless this was cut short
            for process in self._processes:
                process.stop()
            self._threads.shutdown()
            self._ask.close()
            self._leave.close()


class _Process(Generic[TaskT, Answer]):
    """One process, started when it is first needed and again after it was lost."""

    # One start at a time: a process that inherits another's pipe would keep it open.
    _starting = threading.Lock()

    def __init__(self, work: Callable[[TaskT], Answer], leave: Connection, time_limit: float | None) -> None:
        self._work, self._leave, self._time_limit = work, leave, time_limit
        self._running: tuple[multiprocessing.Process, Connection] | None = None
        self._is_ready = False

    def do(self, task: TaskT) -> Answer:
        """The answer to a task from there. Raises ProcessLost if the process dies or takes too long."""
        began = time.perf_counter()
        process, pipe = self.wait_until_ready()
        is_late = False
        with suppress(OSError, EOFError):  # the process died
            pipe.send(task)
            left = math.inf if self._time_limit is None else self._time_limit
            ready: list[Any] = []
            # Second by second: time in which this process was stopped (Ctrl-Z), as then its children were, is not over.
            while not ready and left > 0:
                ready, left = wait([pipe, process.sentinel], min(left, 1.0)), left - 1.0
            if pipe in ready:
                answer: Answer = pipe.recv()
                return answer
            is_late = not ready
        if not is_late:
            process.join(JOIN_SECONDS)
        reason = f"took longer than {self._time_limit:g} seconds" if is_late else how_it_ended(process.exitcode)
        self.stop()
        raise ProcessLost(reason, time.perf_counter() - began)

    def launch(self) -> None:
        """Start the process unless it runs, without waiting for what it imports where processes are spawned."""
        if self._running and not self._running[0].is_alive():
            self.stop()  # ended between two tasks: no fault of the next one
        if not self._running:
            with self._starting:
                pipe, theirs = multiprocessing.Pipe()
                process = multiprocessing.Process(target=_serve, args=(theirs, self._leave, self._work), daemon=True)
                process.start()
                theirs.close()
            self._running, self._is_ready = (process, pipe), False

    def wait_until_ready(self) -> tuple[multiprocessing.Process, Connection]:
        """The process and the pipe to it, which waits for tasks. Raises WorkerError if it ends before."""
        self.launch()
        assert self._running
        process, pipe = self._running
        if not self._is_ready:
            wait([pipe, process.sentinel])
            with suppress(EOFError, OSError):
                self._is_ready = pipe.poll() and pipe.recv()
            if not self._is_ready:
                process.join(JOIN_SECONDS)
                raise WorkerError(f"workers: {how_it_ended(process.exitcode)} before it was ready{_MAIN_GUARD}")
        return process, pipe

    def stop(self, *, patience: float = 0.0) -> None:
        """End the process, if there is one, once it has had `patience` seconds to end by itself."""
        if self._running:
            process, pipe = self._running
            self._running = None
            try:
                process.join(patience)
            finally:  # a signal can land here
                process.kill()
                process.join(JOIN_SECONDS)
                pipe.close()


def _serve(pipe: Connection, leave: Connection, work: Callable[[TaskT], Answer]) -> None:
    """Answer tasks until `leave` has something to read, or the other end or the parent is gone."""
    # A terminal and some schedulers signal every process of a program, and the parent decides when to stop. A handler,
    # unlike SIG_IGN, is not passed on to programs that the work starts.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: None)
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(EOFError, OSError):
        pipe.send(True)  # ready
        while wait([pipe, leave, parent.sentinel]) == [pipe]:
            pipe.send(work(pipe.recv()))


def how_it_ended(exit_code: int | None) -> str:
    """What ended a process, by its exit code."""
    if exit_code is not None and exit_code < 0:
        try:
            return f"its process was killed by {signal.Signals(-exit_code).name}"
        except ValueError:  # a real-time signal
            return f"its process was killed by signal {-exit_code}"
    return f"its process ended with status {exit_code}"
