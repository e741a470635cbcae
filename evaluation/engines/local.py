"""The local engine: samples are decoded in worker processes and segmented in batches in this one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from car_core.segmentation import Segmentation
from dataset_adapters import Dataset, Sample, SampleError
from evaluation.carry import QueryCarrier
from evaluation.engines.decoding import Decoded, decoded
from evaluation.scorer import Scorer
from evaluation.segmenter import Segmenter, segment_samples
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
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[SampleRecord, None, None]:
    """Records of the samples at ``positions``, in order, as they finish.

    workers: decoding processes; 0 decodes in this process. sample_timeout: seconds that decoding a sample may take, in
    a decoding process; None for no limit. carrier: given where a frame of a video starts with the queries that
    survived the one before; frames are then segmented one by one. should_stop: asked before each batch; true ends the
    records there. A sample that cannot be read or segmented gives a failed record and the run goes on.
    """
    ahead = 2 * (workers + batch_size)
    with closing(decoded(dataset, positions, workers=workers, ahead=ahead, time_limit=sample_timeout)) as items:
        for batch in _batches(items, batch_size):
            if should_stop():
                return
            if carrier is None:
                yield from _records(batch, segmenter, scorer)
            else:
                yield from (_next_frame(item, segmenter, scorer, carrier) for item in batch)


def _batches(items: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _records(batch: Sequence[Decoded], segmenter: Segmenter, scorer: Scorer) -> Iterator[SampleRecord]:
    readable = [item for item in batch if isinstance(item.sample, Sample)]
    segmented = iter(_segment(readable, segmenter, scorer))
    for item in batch:
        if isinstance(item.sample, SampleError):
            error = item.sample
            yield scorer.failed(error.id, f"{error.path}: {error.reason}", error.target)
        else:
            yield next(segmented)


def _next_frame(item: Decoded, segmenter: Segmenter, scorer: Scorer, carrier: QueryCarrier) -> SampleRecord:
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


def _segment(items: Sequence[Decoded], segmenter: Segmenter, scorer: Scorer) -> list[SampleRecord]:
    samples = [item.sample for item in items if isinstance(item.sample, Sample)]
    try:
        found = segment_samples(samples, segmenter, scorer.label_space, trace=scorer.saving.proposals)
    except Exception as error:  # any failure of a sample becomes its record; work on the others must go on
        if len(items) > 1:
            return [record for item in items for record in _segment([item], segmenter, scorer)]
        reason = f"segmentation: {type(error).__name__}: {' '.join(str(error).split())}"
        return [scorer.failed(sample.id, reason, sample.target) for sample in samples]
    return [
        scorer.scored(sample, segmentation, item.seconds)
        for sample, segmentation, item in zip(samples, found, items, strict=True)
    ]
