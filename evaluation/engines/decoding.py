"""Decoding of samples in processes of their own: one that dies or hangs costs its sample, not the run.

torch's DataLoader ends with its first dead worker and knows no time limit a sample, so each process here has its own
pipe and is started again alone.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue

from dataset_adapters import Dataset, Sample, SampleError

STAGE = "decoding"
"""Stands in an error in place of the file where no file is to blame."""
MAX_LOST_IN_A_ROW = 10
"""Samples lost one after the other after which it is not the samples: a disk that is gone, a broken installation."""
_JOIN_SECONDS = 5  # a process that waits for a dead disk cannot be killed, and is left behind


class WorkerError(RuntimeError):
    """Working processes die or hang, and not because of one sample; the samples finished before are kept."""


@dataclass(frozen=True)
class Decoded:
    """A sample, or why it could not be read, and how long that took. lost: its process died or hung."""

    sample: Sample | SampleError
    seconds: float
    lost: bool = False


def decoded(
    dataset: Dataset, positions: Sequence[int], *, workers: int, ahead: int, time_limit: float | None = None
) -> Generator[Decoded, None, None]:
    """The samples at ``positions``, in order, up to ``ahead`` of them decoded before they are asked for.

    workers: processes; 0 decodes in this one, without a time limit. time_limit: seconds a sample; None for no limit.
    A sample that cannot be read, takes longer, or ends its process is an item with its reason. Close the iterator to
    end the processes. Raises WorkerError after `MAX_LOST_IN_A_ROW` processes were lost with nothing read in between.
    """
    if not workers:
        yield from (_read(dataset, position) for position in positions)
        return
    lost_in_a_row = 0
    for item in _decoded_ahead(dataset, positions, min(workers, len(positions)), ahead, time_limit):
        lost_in_a_row = lost_in_a_row + 1 if item.lost else 0
        if lost_in_a_row == MAX_LOST_IN_A_ROW:
            raise WorkerError(
                f"workers: {lost_in_a_row} decoding processes in a row were lost, the last at {item.sample}; "
                "finished samples are kept"
            )
        yield item


def _decoded_ahead(
    dataset: Dataset, positions: Sequence[int], workers: int, ahead: int, time_limit: float | None
) -> Iterator[Decoded]:
    readers = [_Reader(dataset, time_limit) for _ in range(workers)]
    idle: SimpleQueue[_Reader] = SimpleQueue()
    for reader in readers:
        idle.put(reader)

    def read(position: int) -> Decoded:
        reader = idle.get()
        try:
            return reader.read(position)
        finally:
            idle.put(reader)

    # The threads only wait for their processes.
    threads = ThreadPoolExecutor(max(1, workers))
    pending: deque[Future[Decoded]] = deque()
    try:
        for position in positions:
            pending.append(threads.submit(read, position))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for reader in readers:
            reader.stop()
        threads.shutdown()


class _Reader:
    """One decoding process, started when it is first needed and again after it was lost."""

    # One start at a time: a process that inherits another's pipe would keep it open.
    _starting = threading.Lock()

    def __init__(self, dataset: Dataset, time_limit: float | None) -> None:
        self._dataset, self._time_limit = dataset, time_limit
        self._running: tuple[multiprocessing.Process, Connection] | None = None

    def read(self, position: int) -> Decoded:
        """Decode one sample there; if its process dies or takes too long, the reason in place of the sample."""
        start = time.perf_counter()
        process, pipe = self._ready()
        late = False
        with suppress(OSError, EOFError):  # the process died
            pipe.send(position)
            ready = wait([pipe, process.sentinel], self._time_limit)
            if pipe in ready:
                found: Decoded = pipe.recv()
                return found
            late = not ready
        if not late:
            process.join(_JOIN_SECONDS)
        reason = f"took longer than {self._time_limit:g} seconds" if late else _how_it_ended(process.exitcode)
        self.stop()
        error = SampleError(self._dataset.ids[position], STAGE, reason)
        return Decoded(error, time.perf_counter() - start, lost=True)

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._running:
            process, pipe = self._running
            self._running = None
            process.kill()
            process.join(_JOIN_SECONDS)
            pipe.close()

    def _ready(self) -> tuple[multiprocessing.Process, Connection]:
        if self._running and not self._running[0].is_alive():
            self.stop()  # ended between two samples: no fault of the next one
        if not self._running:
            self._running = self._start()
        return self._running

    def _start(self) -> tuple[multiprocessing.Process, Connection]:
        with self._starting:
            pipe, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=_serve, args=(theirs, self._dataset), daemon=True)
            process.start()
            theirs.close()
        return process, pipe


def _serve(pipe: Connection, dataset: Dataset) -> None:
    """Answer positions with what is read there, until the other end or the parent is gone."""
    # Ctrl-C reaches every process of a terminal; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    with suppress(EOFError, OSError):
        while pipe in wait([pipe, parent.sentinel]):
            pipe.send(_read(dataset, pipe.recv()))


def _read(dataset: Dataset, position: int) -> Decoded:
    start = time.perf_counter()
    try:
        sample: Sample | SampleError = dataset[position]
    except SampleError as error:
        sample = error
    except Exception as error:  # e.g. no memory for the pixels: the other samples must still be read
        reason = ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))
        sample = SampleError(dataset.ids[position], STAGE, reason)
    return Decoded(sample, time.perf_counter() - start)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"its process was killed by {signal.Signals(-exit_code).name}"
    return f"its process ended with status {exit_code}"
