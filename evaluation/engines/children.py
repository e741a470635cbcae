"""Parts of the work in child processes, each a new Python with its own device, threads and memory.

A child never gets SIGINT, so Ctrl-C at a terminal reaches only the parent, which decides when its children stop; Ctrl-Z
stops all of them. A child ends with its parent, whatever ended that.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeAlias

from evaluation.engines.signals import FORWARDED, stop_request
from evaluation.engines.worker_pool import JOIN_SECONDS, how_it_ended
from support.console import TRACES, show_traces, tell_log
from support.errors import RunError, UserError
from support.files import open_regular

Send: TypeAlias = Callable[[Any], None]
_POLL_SECONDS = 0.2  # between two looks at whether to stop, and at processes that died
# The working folder, which may have files named like modules, is on the path only if it is on this process's.
_START = "import sys; sys.path[:] = sys.argv[1:]; from evaluation.engines.children import main; main()"


class Child:
    """A process that calls ``work(send, *arguments)``.

    What it sends, and at last what it returns or raises, comes by `messages`. threads: of torch. log: gets what it
    prints; None for the streams of this process. Raises FileKindError where the log is not a regular file.
    """

    def __init__(self, work: Callable[..., Any], *arguments: Any, threads: int, log: Path | None = None) -> None:
        task = pickle.dumps((work, arguments, threads, log is not None, TRACES.isEnabledFor(logging.DEBUG)))
        self.pipe, theirs = multiprocessing.Pipe()
        with closing(theirs), open_regular(log, "ab", follow=False) if log else nullcontext() as file:
            command = [sys.executable, "-c", _START, *sys.path]
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it inherits this
            try:
                self.process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=file, stderr=file)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        with suppress(OSError):  # it died
            self.pipe.send_bytes(task)

    def ask_to_stop(self) -> None:
        """The first time after the samples in progress, the second time at once."""
        self.process.send_signal(FORWARDED)

    def receive(self) -> Any:
        """Its next message; None without one, or where its end or a signal here cut it short."""
        with suppress(Exception):
            return self.pipe.recv() if self.pipe.poll() else None
        return None

    def end(self, *, patience: float = 0.0) -> str:
        """Kill it unless it ends by itself within `patience` seconds; how it ended, in words."""
        try:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        finally:  # a signal can land here
            self.process.kill()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(JOIN_SECONDS)
            self.pipe.close()
        return how_it_ended(self.process.returncode)


def messages(children: Iterable[Child]) -> Iterator[tuple[Child, Any]]:
    """What children have to say within a fraction of a second, one message each; None from one that has ended."""
    children = list(children)
    ready = wait([child.pipe for child in children], _POLL_SECONDS)
    for child in children:
        # What a dead process had started may hold its end of the pipe open.
        if child.pipe in ready or child.process.poll() is not None:
            yield child, child.receive()


def main() -> None:
    """Work as a child does. Standard input is the pipe to the parent."""
    pipe = Connection(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    task = pipe.recv_bytes()  # before anything slow is imported, so that the parent does not wait

    def end_with_parent() -> None:
        with suppress(EOFError, OSError):
            pipe.recv_bytes()
        os._exit(1)  # finished samples are on disk

    threading.Thread(target=end_with_parent, daemon=True).start()
    work, arguments, threads, has_log, wants_traces = pickle.loads(task)
    import torch

    torch.set_num_threads(threads)
    tell_log()
    show_traces(has_log or wants_traces)
    with stop_request(of_child=True):
        try:
            pipe.send(work(pipe.send, *arguments))
        except BaseException as error:  # whatever ends the work, the parent has to learn of it
            if has_log and not isinstance(error, (OSError, RunError, UserError, KeyboardInterrupt)):
                traceback.print_exc()
            try:
                failure = pickle.dumps(ExceptionWithTraceback(error, error.__traceback__))
                pickle.loads(failure)
            except Exception:  # some cannot be sent
                failure = pickle.dumps(RuntimeError("".join(traceback.format_exception_only(error)).strip()))
            pipe.send_bytes(failure)
            sys.exit(1)
