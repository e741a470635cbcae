"""What a resumed run still has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataset_adapters import Dataset
from evaluation.tasks.video_state import QueryCarrier
from results import SampleRecord


@dataclass(frozen=True)
class ResumePlan:
    """What a start has to do.

    positions: of the samples that need a record. kept: the records that stay. carrier: the state after those; None
    where no queries are carried.
    """

    positions: Sequence[int]
    kept: Sequence[SampleRecord]
    carrier: QueryCarrier | None


def plan_resume(dataset: Dataset, finished: Mapping[str, SampleRecord], *, carried: bool) -> ResumePlan:
    """The samples without a record, and those to be done again. finished: as for `pending_frames`."""
    ids, carrier = dataset.ids, None
    positions = [position for position, sample_id in enumerate(ids) if sample_id not in finished]
    if carried:
        positions, carrier = pending_frames(ids, dataset.sequences, finished)
    pending = {ids[position] for position in positions}
    return ResumePlan(positions, [record for id_, record in finished.items() if id_ not in pending], carrier)


def pending_frames(
    ids: Sequence[str], sequences: Sequence[str], finished: Mapping[str, SampleRecord]
) -> tuple[list[int], QueryCarrier]:
    """The positions of the frames to segment, and the state after the frames before them.

    ids, sequences: of every frame, in order. finished: records by id in the order of writing. A record counts only if
    all earlier frames of its sequence have one and it was written after theirs: once a frame is done again (it had
    failed), those after it started from another state.
    """
    written = {sample_id: number for number, sample_id in enumerate(finished)}
    pending: list[int] = []
    last: dict[str, int] = {}  # of each sequence: when the record of its last valid frame was written
    survivors: dict[str, Sequence[str]] = {}
    broken: set[str] = set()
    for position, (sample_id, sequence) in enumerate(zip(ids, sequences, strict=True)):
        if sequence in broken or written.get(sample_id, -1) <= last.get(sequence, -1):
            broken.add(sequence)
            pending.append(position)
            continue
        last[sequence] = written[sample_id]
        survivors[sequence] = finished[sample_id].queries_kept
    return pending, QueryCarrier(survivors)
