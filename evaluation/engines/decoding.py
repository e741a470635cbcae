"""Decoding of samples, in processes of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice

from dataset_adapters import Dataset, Sample, SampleError
from evaluation.engines.worker_pool import LossCounter, Processes, ProcessLost
from support.console import TRACES
from support.text import described

DECODING = "decoding"
"""Stands in an error in place of the file where no file is to blame."""


@dataclass(frozen=True)
class Decoded:
    """A sample, or why it could not be read, and how long that took in seconds."""

    sample: Sample | SampleError
    seconds: float


def decoded(
    dataset: Dataset, positions: Sequence[int], *, workers: int, ahead: int, time_limit: float | None = None
) -> Generator[Decoded, None, None]:
    """The samples at ``positions``, in order, up to ``ahead`` of them decoded before they are asked for.

    workers: processes; 0 decodes in this one, without a time limit. time_limit: seconds per sample; None for no limit.
    A sample that cannot be read, takes longer, or ends its process is an item with its reason. Close the iterator to
    end the processes. Raises WorkerError after `MAX_LOST_IN_A_ROW` processes were lost with nothing read in between.
    """
    if not workers:
        yield from (_read(dataset, position) for position in positions)
        return
    losses = LossCounter(DECODING)
    pending: deque[tuple[int, Future[Decoded]]] = deque()
    remaining = iter(positions)
    with closing(Processes(partial(_read, dataset), min(workers, len(positions)), time_limit)) as processes:
        while True:
            for position in islice(remaining, ahead + 1 - len(pending)):
                pending.append((position, processes.submit(position)))
            if not pending:
                return
            position, future = pending.popleft()
            try:
                item = future.result()
            except ProcessLost as loss:
                reason = SampleError(dataset.ids[position], DECODING, str(loss))
                item = Decoded(reason, loss.seconds)
                losses.count(True, reason)
            else:
                losses.count(False, "")
            yield item


def _read(dataset: Dataset, position: int) -> Decoded:
    start = time.perf_counter()
    try:
        sample: Sample | SampleError = dataset[position]
    except SampleError as error:
        sample = error
    except Exception as error:  # e.g. no memory for the pixels: the other samples must still be read
        TRACES.debug("%s:", dataset.ids[position], exc_info=error)
        sample = SampleError(dataset.ids[position], DECODING, described(error))
    return Decoded(sample, time.perf_counter() - start)
