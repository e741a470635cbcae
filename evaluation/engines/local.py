"""The local engine: samples are decoded and refined in worker processes, and segmented in batches in this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, Sample, SampleError
from evaluation.engines.decoding import Decoded, decoded
from evaluation.engines.refining import REFINEMENT, PendingSegmentation, Refiner
from evaluation.engines.worker_pool import LossCounter, ProcessLost, WorkerError
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import Segmenter
from results import SampleRecord, differences
from support.text import described

Survivors: TypeAlias = dict[str, Sequence[str]]
"""By sequence, the queries that survived its last segmented frame; where none did, the rest of it stays empty."""


@dataclass(frozen=True)
class Equipment:
    """What segments and scores samples, and the fields of the run's identity as they are where it was made."""

    dataset: Dataset
    segmenter: Segmenter
    scorer: Scorer
    identity_fields: Mapping[str, Any]


@dataclass(frozen=True)
class Pace:
    """How samples are read and segmented; no figure depends on it.

    workers: decoding processes; 0 decodes in this process. sample_timeout: seconds that decoding a sample may take, in
    a decoding process; None for no limit.
    """

    batch_size: int
    workers: int
    sample_timeout: float | None = None


@dataclass(frozen=True)
class Job:
    """A run as another process, or an actor on another node, gets it.

    equip: makes the equipment there; raises for what a user can fix. identity_fields: what it must match. folder:
    where relative paths start, if that node has it.
    """

    equip: Callable[[], Equipment]
    identity_fields: Mapping[str, Any]
    folder: str
    pace: Pace

    def equipped(self) -> Equipment:
        """The equipment. Raises WorkerError where it would give other figures than the run was started with."""
        equipment = self.equip()
        if changed := differences(self.identity_fields, equipment.identity_fields):
            raise WorkerError(f"expected what the run was started with, found that {changed[0]}")
        return equipment


def run_local(
    own: Equipment,
    positions: Sequence[int],
    pace: Pace,
    *,
    survivors: Survivors | None = None,
    refiner: Refiner | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[SampleRecord, None, None]:
    """Records of the samples at ``positions``, in order, as they finish.

    survivors: given where a frame of a video starts with the queries that survived the one before, and kept up to date;
    frames of a video must then come in order, and are segmented and refined one by one. refiner: where samples are
    refined; None for this process. should_stop: asked before each batch; if true, only the samples in flight still get
    records. A sample that cannot be read, segmented or refined gives a failed record, and the run continues.
    """
    refiner = refiner or Refiner()
    queue = _SampleQueue(own.segmenter, own.scorer, refiner, most=2 * (refiner.workers + pace.batch_size))
    workers, ahead = pace.workers, 2 * (pace.workers + pace.batch_size)
    with closing(
        decoded(own.dataset, positions, workers=workers, ahead=ahead, time_limit=pace.sample_timeout)
    ) as items:
        while batch := list(islice(items, pace.batch_size)):
            if should_stop():
                break
            if survivors is None:
                queue.submit(batch)
                yield from queue.drain(wait=False)
                continue
            for item in batch:
                frame = item.sample if isinstance(item.sample, Sample) else None
                if frame and frame.sequence is None:
                    raise ValueError(f"sample {frame.id!r}: expected a frame of a sequence, found a sample without one")
                if frame and frame.sequence in survivors:
                    frame = frame.with_queries(survivors[frame.sequence])
                if frame and not frame.queries:
                    nothing = Segmentation.of_nothing(*frame.image.shape[:2])
                    record = own.scorer.record_of(frame, nothing, item.seconds)
                else:
                    queue.submit([replace(item, sample=frame) if frame else item])
                    [record] = queue.drain()
                # A failed frame hands on the queries that it started with.
                if frame and frame.sequence is not None and record.status == "ok":
                    survivors[frame.sequence] = tuple(record.queries_kept)
                yield record
        yield from queue.drain()


class _SampleQueue:
    """Takes samples from their segmentation to their record, in order. most: how many may wait for refinement."""

    def __init__(self, segmenter: Segmenter, scorer: Scorer, refiner: Refiner, *, most: int) -> None:
        self._segmenter, self._scorer, self._refiner, self._most = segmenter, scorer, refiner, most
        # Each with its segmentation, done or pending, or why there is none.
        self._in_flight: deque[tuple[Decoded, PendingSegmentation | Segmentation | str]] = deque()
        self._losses = LossCounter(REFINEMENT)

    def submit(self, batch: Sequence[Decoded]) -> None:
        """Run the models on a batch."""
        samples = [item.sample for item in batch if isinstance(item.sample, Sample)]
        segmented = dict(zip(map(id, samples), self._segment(samples), strict=True))
        for item in batch:
            error = item.sample
            unread = f"{error.path}: {error.reason}" if isinstance(error, SampleError) else None
            self._in_flight.append((item, unread or segmented[id(item.sample)]))

    def _segment(self, samples: Sequence[Sample]) -> Sequence[PendingSegmentation | Segmentation | str]:
        try:
            space, trace = self._scorer.label_space, self._scorer.saving.proposals
            return self._refiner.segment(samples, self._segmenter, space, trace=trace)
        except Exception as error:  # any failure of a sample becomes its record; work on the others must go on
            if len(samples) > 1:
                return [found for sample in samples for found in self._segment([sample])]
            return [f"segmentation: {described(error)}"] * len(samples)

    def drain(self, *, wait: bool = True) -> Iterator[SampleRecord]:
        """The records of all samples, or those that are ready and as many more as keep the queue within its bound."""
        while self._in_flight:
            item, found = self._in_flight[0]
            is_pending = isinstance(found, PendingSegmentation) and not found.answer.done()
            if is_pending and not wait and len(self._in_flight) <= self._most:
                return
            self._in_flight.popleft()
            sample = item.sample
            if isinstance(found, PendingSegmentation):
                try:
                    result = found.result()
                except ProcessLost as loss:
                    found = f"{REFINEMENT}: {loss}"
                    self._losses.count(True, f"{sample.id}: {found}")
                except Exception as error:  # raised while the masks are merged: a failure of the sample, not of the run
                    found = f"segmentation: {described(error)}"
                else:
                    found = f"segmentation: {result}" if isinstance(result, str) else result
                    if not isinstance(result, str):
                        self._losses.count(False, "")
            if isinstance(found, str) or isinstance(sample, SampleError):
                yield self._scorer.failed_record(sample.id, str(found), sample.target)
            else:
                yield self._scorer.record_of(sample, found, item.seconds)
