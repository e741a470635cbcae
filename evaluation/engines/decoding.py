"""Decoding of samples, in processes of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from dataset_adapters import Dataset, Sample, SampleError
from evaluation.engines.processes import LossCounter, Processes, ProcessLost
from support.console import TRACES
from support.text import unwrapped

STAGE = "decoding"
"""Stands in an error in place of the file where no file is to blame."""


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
    losses = LossCounter(STAGE)
    for item in _decoded_ahead(dataset, positions, min(workers, len(positions)), ahead, time_limit):
        losses.count(item.lost, item.sample)
        yield item


def _decoded_ahead(
    dataset: Dataset, positions: Sequence[int], workers: int, ahead: int, time_limit: float | None
) -> Iterator[Decoded]:
    processes: Processes[int, Decoded] = Processes(partial(_read, dataset), workers, time_limit)
    pending: deque[tuple[int, Future[Decoded]]] = deque()
    try:
        for position in positions:
            pending.append((position, processes.submit(position)))
            if len(pending) > ahead:
                yield _answer(dataset, *pending.popleft())
        while pending:
            yield _answer(dataset, *pending.popleft())
    finally:
        processes.close()


def _answer(dataset: Dataset, position: int, future: Future[Decoded]) -> Decoded:
    try:
        return future.result()
    except ProcessLost as loss:
        return Decoded(SampleError(dataset.ids[position], STAGE, str(loss)), loss.seconds, lost=True)


def _read(dataset: Dataset, position: int) -> Decoded:
    start = time.perf_counter()
    try:
        sample: Sample | SampleError = dataset[position]
    except SampleError as error:
        sample = error
    except Exception as error:  # e.g. no memory for the pixels: the other samples must still be read
        TRACES.debug("%s:", dataset.ids[position], exc_info=error)
        sample = SampleError(dataset.ids[position], STAGE, described(error))
    return Decoded(sample, time.perf_counter() - start)


def described(error: Exception) -> str:
    """An exception on one line: its type, and its message if it has one."""
    return ": ".join(filter(None, [type(error).__name__, unwrapped(error)]))
