"""The local engine: samples are decoded and refined in worker processes, and segmented in batches in this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, Sample, SampleError
from evaluation.engines.decoding import Decoded, decoded, described
from evaluation.engines.processes import LossCounter, ProcessLost
from evaluation.engines.refining import STAGE, PendingSegmentation, ReadySegmentation, RefinementError, Refiner
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import Segmenter
from evaluation.tasks.video_state import QueryCarrier
from results import SampleRecord


def run_local(
    dataset: Dataset,
    positions: Sequence[int],
    segmenter: Segmenter,
    scorer: Scorer,
    *,
    batch_size: int,
    workers: int,
    sample_timeout: float | None = None,
    carrier: QueryCarrier | None = None,
    refiner: Refiner | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[SampleRecord, None, None]:
    """Records of the samples at ``positions``, in order, as they finish.

    workers: decoding processes; 0 decodes in this process. sample_timeout: seconds that decoding a sample may take, in
    a decoding process; None for no limit. carrier: given where a frame of a video starts with the queries that
    survived the one before; frames are then segmented and refined one by one. refiner: where samples are refined; None
    for this process. should_stop: asked before each batch; if true, only the samples in flight still get records. A
    sample that cannot be read, segmented or refined gives a failed record, and the run continues.
    """
    refiner = refiner or Refiner()
    queue = _SampleQueue(segmenter, scorer, refiner, most=2 * (refiner.workers + batch_size))
    ahead = 2 * (workers + batch_size)
    with closing(decoded(dataset, positions, workers=workers, ahead=ahead, time_limit=sample_timeout)) as items:
        for batch in _batches(items, batch_size):
            if should_stop():
                break
            if carrier is None:
                queue.submit(batch)
                yield from queue.drain_ready()
            else:
                yield from (_next_frame(item, queue, carrier) for item in batch)
        yield from queue.drain()


def _batches(items: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


@dataclass(frozen=True)
class _InFlightSample:
    """A sample without a record yet. found: its pending segmentation, or why there is none."""

    item: Decoded
    found: PendingSegmentation | ReadySegmentation | str

    def is_ready(self) -> bool:
        return isinstance(self.found, str) or self.found.is_ready()


class _SampleQueue:
    """Takes samples from their segmentation to their record, in order. most: how many may wait for refinement."""

    def __init__(self, segmenter: Segmenter, scorer: Scorer, refiner: Refiner, *, most: int) -> None:
        self.scorer = scorer
        self._segmenter, self._refiner, self._most = segmenter, refiner, most
        self._in_flight: deque[_InFlightSample] = deque()
        self._losses = LossCounter(STAGE)

    def submit(self, batch: Sequence[Decoded]) -> None:
        """Run the models on a batch."""
        readable = [item for item in batch if isinstance(item.sample, Sample)]
        segmented = iter(self._segment(readable))
        for item in batch:
            error = item.sample if isinstance(item.sample, SampleError) else None
            unread = _InFlightSample(item, f"{error.path}: {error.reason}") if error else None
            self._in_flight.append(unread or next(segmented))

    def drain_ready(self) -> Iterator[SampleRecord]:
        """The records that are ready, and as many more as keep the queue within its bound."""
        while self._in_flight and (self._in_flight[0].is_ready() or len(self._in_flight) > self._most):
            yield self._record(self._in_flight.popleft())

    def drain(self) -> Iterator[SampleRecord]:
        """All remaining records."""
        while self._in_flight:
            yield self._record(self._in_flight.popleft())

    def _segment(self, items: Sequence[Decoded]) -> list[_InFlightSample]:
        samples = [item.sample for item in items if isinstance(item.sample, Sample)]
        try:
            scorer = self.scorer
            found = self._refiner.segment(samples, self._segmenter, scorer.label_space, trace=scorer.saving.proposals)
        except Exception as error:  # any failure of a sample becomes its record; work on the others must go on
            if len(items) > 1:
                return [one for item in items for one in self._segment([item])]
            return [_InFlightSample(item, f"segmentation: {described(error)}") for item in items]
        return [_InFlightSample(item, own) for item, own in zip(items, found, strict=True)]

    def _record(self, in_flight: _InFlightSample) -> SampleRecord:
        found = in_flight.found if isinstance(in_flight.found, str) else self._await(in_flight.found, in_flight.item)
        sample = in_flight.item.sample
        if isinstance(found, str) or isinstance(sample, SampleError):
            return self.scorer.failed(sample.id, str(found), sample.target)
        return self.scorer.scored(sample, found, in_flight.item.seconds)

    def _await(self, found: PendingSegmentation | ReadySegmentation, item: Decoded) -> Segmentation | str:
        try:
            segmentation = found.result()
        except ProcessLost as loss:
            reason = f"{STAGE}: {loss}"
            self._losses.count(True, f"{item.sample.id}: {reason}")
            return reason
        except RefinementError as error:
            return f"segmentation: {error}"
        except Exception as error:  # raised while the masks are merged: a failure of the sample, not of the run
            return f"segmentation: {described(error)}"
        self._losses.count(False, "")
        return segmentation


def _next_frame(item: Decoded, queue: _SampleQueue, carrier: QueryCarrier) -> SampleRecord:
    """The record of the next frame of its sequence."""
    frame = carrier.start(item.sample) if isinstance(item.sample, Sample) else None
    if frame and not frame.queries:
        record = queue.scorer.scored(frame, Segmentation.of_nothing(*frame.image.shape[:2]), item.seconds)
    else:
        queue.submit([replace(item, sample=frame) if frame else item])
        [record] = queue.drain()
    if frame:
        carrier.take(frame, record)
    return record
