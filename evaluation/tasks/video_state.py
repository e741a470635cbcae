"""The recurrence through time: each frame of a video starts with the queries that survived the frame before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataset_adapters import Sample
from results import SampleRecord


class QueryCarrier:
    """The state of every sequence: the queries that survived its last segmented frame.

    Frames of one sequence must come in order; those of others may come between them. survivors: by sequence, of a
    resumed run. Where no query survived, the rest of the sequence stays empty. A failed frame hands on the queries that
    it started with.
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

    def for_sequence(self, sequence: str) -> QueryCarrier:
        """The state of only this sequence, to be sent to another process."""
        return QueryCarrier({name: kept for name, kept in self._survivors.items() if name == sequence})
