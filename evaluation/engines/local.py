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
from evaluation.engines.refining import STAGE, Coming, RefinementError, Refiner, There
from evaluation.run.resume import QueryCarrier
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import Segmenter
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
    for here. should_stop: asked before each batch; true ends the records behind those at hand. A sample that cannot be
    read, segmented or refined gives a failed record and the run goes on.
    """
    refiner = refiner or Refiner()
    at_work = _AtWork(segmenter, scorer, refiner, most=2 * (refiner.workers + batch_size))
    ahead = 2 * (workers + batch_size)
    with closing(decoded(dataset, positions, workers=workers, ahead=ahead, time_limit=sample_timeout)) as items:
        for batch in _batches(items, batch_size):
            if should_stop():
                break
            if carrier is None:
                at_work.begin(batch)
                yield from at_work.finished()
            else:
                yield from (_next_frame(item, at_work, carrier) for item in batch)
        yield from at_work.all()


def _batches(items: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


@dataclass(frozen=True)
class _Begun:
    """A sample whose record is to come. found: its segmentation to come, or why there is none."""

    item: Decoded
    found: Coming | There | str

    def is_there(self) -> bool:
        return isinstance(self.found, str) or self.found.is_there()


def _unread(item: Decoded, error: SampleError) -> _Begun:
    return _Begun(item, f"{error.path}: {error.reason}")


class _AtWork:
    """Samples from their segmentation to their record, in order. most: how many may wait for their refinement."""

    def __init__(self, segmenter: Segmenter, scorer: Scorer, refiner: Refiner, *, most: int) -> None:
        self.scorer = scorer
        self._segmenter, self._refiner, self._most = segmenter, refiner, most
        self._begun: deque[_Begun] = deque()
        self._losses = LossCounter(STAGE)

    def begin(self, batch: Sequence[Decoded]) -> None:
        """Do the model's part of a batch."""
        readable = [item for item in batch if isinstance(item.sample, Sample)]
        segmented = iter(self._segment(readable))
        for item in batch:
            self._begun.append(_unread(item, item.sample) if isinstance(item.sample, SampleError) else next(segmented))

    def finished(self) -> Iterator[SampleRecord]:
        """The records that are there, and those without which too many samples would wait."""
        while self._begun and (self._begun[0].is_there() or len(self._begun) > self._most):
            yield self._record(self._begun.popleft())

    def all(self) -> Iterator[SampleRecord]:
        """The records of all that was begun."""
        while self._begun:
            yield self._record(self._begun.popleft())

    def _segment(self, items: Sequence[Decoded]) -> list[_Begun]:
        samples = [item.sample for item in items if isinstance(item.sample, Sample)]
        try:
            scorer = self.scorer
            found = self._refiner.segment(samples, self._segmenter, scorer.label_space, trace=scorer.saving.proposals)
        except Exception as error:  # any failure of a sample becomes its record; work on the others must go on
            if len(items) > 1:
                return [begun for item in items for begun in self._segment([item])]
            return [_Begun(item, f"segmentation: {described(error)}") for item in items]
        return [_Begun(item, own) for item, own in zip(items, found, strict=True)]

    def _record(self, begun: _Begun) -> SampleRecord:
        found = begun.found if isinstance(begun.found, str) else self._await(begun.found, begun.item)
        sample = begun.item.sample
        if isinstance(found, str) or isinstance(sample, SampleError):
            return self.scorer.failed(sample.id, str(found), sample.target)
        return self.scorer.scored(sample, found, begun.item.seconds)

    def _await(self, found: Coming | There, item: Decoded) -> Segmentation | str:
        try:
            segmentation = found.result()
        except ProcessLost as loss:
            reason = f"{STAGE}: {loss}"
            self._losses.count(True, f"{item.sample.id}: {reason}")
            return reason
        except RefinementError as error:
            return f"segmentation: {error}"
        except Exception as error:  # of what is done with the masks; it is the sample's
            return f"segmentation: {described(error)}"
        self._losses.count(False, "")
        return segmentation


def _next_frame(item: Decoded, at_work: _AtWork, carrier: QueryCarrier) -> SampleRecord:
    """The record of the next frame of its sequence."""
    frame = carrier.start(item.sample) if isinstance(item.sample, Sample) else None
    if frame and not frame.queries:
        record = at_work.scorer.scored(frame, Segmentation.of_nothing(*frame.image.shape[:2]), item.seconds)
    else:
        at_work.begin([replace(item, sample=frame) if frame else item])
        [record] = at_work.all()
    if frame:
        carrier.take(frame, record)
    return record
