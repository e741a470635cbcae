"""The local engine: samples are decoded in worker processes and segmented in batches in this one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch.utils.data import DataLoader

# The base class only matters to type checkers; DataLoader asks for __getitem__ and __len__.
from torch.utils.data import Dataset as TorchDataset

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, Sample, SampleError
from evaluation.carry import QueryCarrier
from evaluation.scorer import Scorer
from evaluation.segmenter import Segmenter, segment_samples
from results import SampleRecord


class WorkerError(RuntimeError):
    """A decoding process was killed or crashed; the samples finished before are kept."""


@dataclass(frozen=True)
class _Decoded:
    """A sample, or why it could not be read, and how long that took."""

    sample: Sample | SampleError
    seconds: float


class _Decoding(TorchDataset[_Decoded]):
    """A data set whose items never raise SampleError: an exception would end the worker's loop."""

    def __init__(self, dataset: Dataset, positions: Sequence[int]) -> None:
        self._dataset = dataset
        self._positions = positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, item: int) -> _Decoded:
        start = time.perf_counter()
        try:
            sample: Sample | SampleError = self._dataset[self._positions[item]]
        except SampleError as error:
            sample = error
        return _Decoded(sample, time.perf_counter() - start)


def run_local(
    dataset: Dataset,
    positions: Sequence[int],
    segmenter: Segmenter,
    scorer: Scorer,
    *,
    batch_size: int,
    workers: int,
    carrier: QueryCarrier | None = None,
) -> Iterator[SampleRecord]:
    """Records of the samples at ``positions``, in order, as they finish.

    carrier: given where a frame of a video starts with the queries that survived the one before; frames are then
    segmented one by one.
    workers: decoding processes; 0 decodes in this process. A sample that cannot be read or segmented gives a failed
    record and the run goes on.
    """
    loader = DataLoader(
        _Decoding(dataset, positions), batch_size=batch_size, num_workers=min(workers, len(positions)), collate_fn=list
    )
    for batch in _batches(loader):
        if carrier is None:
            yield from _records(batch, segmenter, scorer)
        else:
            yield from (_next_frame(item, segmenter, scorer, carrier) for item in batch)


def _batches(loader: Iterable[list[_Decoded]]) -> Iterator[list[_Decoded]]:
    """The loader's batches. Raises WorkerError if a decoding process was killed or crashed."""
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = " ".join(str(error).split())
            raise WorkerError(f"workers: a decoding process died ({reason}); finished samples are kept") from None
        yield batch


def _records(batch: Sequence[_Decoded], segmenter: Segmenter, scorer: Scorer) -> Iterator[SampleRecord]:
    readable = [item for item in batch if isinstance(item.sample, Sample)]
    segmented = iter(_segment(readable, segmenter, scorer))
    for item in batch:
        if isinstance(item.sample, SampleError):
            error = item.sample
            yield scorer.failed(error.id, f"{error.path}: {error.reason}", error.target)
        else:
            yield next(segmented)


def _next_frame(item: _Decoded, segmenter: Segmenter, scorer: Scorer, carrier: QueryCarrier) -> SampleRecord:
    """The record of the next frame of its sequence."""
    if isinstance(item.sample, SampleError):
        return next(_records([item], segmenter, scorer))
    frame = carrier.start(item.sample)
    if frame.queries:
        record = next(_records([replace(item, sample=frame)], segmenter, scorer))
    else:
        record = scorer.scored(frame, Segmentation.of_nothing(*frame.image.shape[:2]), item.seconds)
    carrier.take(frame, record)
    return record


def _segment(items: Sequence[_Decoded], segmenter: Segmenter, scorer: Scorer) -> list[SampleRecord]:
    samples = [item.sample for item in items if isinstance(item.sample, Sample)]
    try:
        found = segment_samples(samples, segmenter, scorer.label_space)
    except Exception as error:  # any failure of a sample becomes its record; work on the others must go on
        if len(items) > 1:
            return [record for item in items for record in _segment([item], segmenter, scorer)]
        reason = f"segmentation: {type(error).__name__}: {' '.join(str(error).split())}"
        return [scorer.failed(sample.id, reason, sample.target) for sample in samples]
    return [
        scorer.scored(sample, segmentation, item.seconds)
        for sample, segmentation, item in zip(samples, found, items, strict=True)
    ]
