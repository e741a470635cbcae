"""The recurrence carried through time: each frame of a video starts with the queries that survived the one before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataset_adapters import Dataset, Sample
from results import SampleRecord


class QueryCarrier:
    """The state of every sequence: the queries that survived its last segmented frame.

    Frames of one sequence must come in order; those of others may come between them. survivors: by sequence, where a
    run goes on. Where no query survived nothing is left to start with, and the rest of the sequence stays empty. A
    failed frame hands on what it was given.
    """

    def __init__(self, survivors: Mapping[str, Sequence[str]]) -> None:
        self._survivors = dict(survivors)

    def start(self, frame: Sample) -> Sample:
        """The frame with the queries that it starts with: all of them for the first of its sequence."""
        if frame.sequence is None:
            raise ValueError(f"sample {frame.id!r}: expected a frame of a sequence, found a sample without one")
        return frame.with_queries(self._survivors.get(frame.sequence, frame.queries))

    def take(self, frame: Sample, record: SampleRecord) -> None:
        """Keep what survived a frame, by its record."""
        if frame.sequence is not None:
            self.keep(frame.sequence, record)

    def keep(self, sequence: str, record: SampleRecord) -> None:
        """Keep what survived the last segmented frame of a sequence, by its record."""
        if record.status == "ok":
            self._survivors[sequence] = tuple(record.queries_kept)

    def of(self, sequence: str) -> QueryCarrier:
        """The state of one sequence alone, to be sent to another process."""
        return QueryCarrier({name: kept for name, kept in self._survivors.items() if name == sequence})


@dataclass(frozen=True)
class Left:
    """What a start has to do.

    positions: of the samples that need a record. kept: the records that stay. carrier: the state that those leave;
    None where no queries are carried.
    """

    positions: Sequence[int]
    kept: Sequence[SampleRecord]
    carrier: QueryCarrier | None


def what_is_left(dataset: Dataset, finished: Mapping[str, SampleRecord], *, carried: bool) -> Left:
    """What has no record yet, or has to be done again. finished: as `frames_to_segment` takes it."""
    ids, carrier = dataset.ids, None
    rest = [position for position, sample_id in enumerate(ids) if sample_id not in finished]
    if carried:
        rest, carrier = frames_to_segment(ids, dataset.sequences, finished)
    redone = {ids[position] for position in rest}
    return Left(rest, [record for sample_id, record in finished.items() if sample_id not in redone], carrier)


def frames_to_segment(
    ids: Sequence[str], sequences: Sequence[str], finished: Mapping[str, SampleRecord]
) -> tuple[list[int], QueryCarrier]:
    """The positions left to do, and the state that the frames before them leave.

    ids, sequences: of every frame, in order. finished: records by id in the order of their writing. A record counts
    only if all earlier frames of its sequence have one and it was written after theirs: once a frame is done anew
    (it had failed), those behind it started from another state.
    """
    written = {sample_id: number for number, sample_id in enumerate(finished)}
    rest: list[int] = []
    last: dict[str, int] = {}  # of each sequence: when the record of its last valid frame was written
    survivors: dict[str, Sequence[str]] = {}
    broken: set[str] = set()
    for position, (sample_id, sequence) in enumerate(zip(ids, sequences, strict=True)):
        if sequence in broken or written.get(sample_id, -1) <= last.get(sequence, -1):
            broken.add(sequence)
            rest.append(position)
            continue
        last[sequence] = written[sample_id]
        survivors[sequence] = finished[sample_id].queries_kept
    return rest, QueryCarrier(survivors)
