"""The remaining samples of a run, and the engines that segment them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from dataset_adapters.formats.images import max_pixels
from evaluation.engines.local import Equipment, Job, Pace, Survivors, run_local
from evaluation.engines.ray import run_ray
from evaluation.engines.refining import Refiner, default_workers
from evaluation.engines.several_processes import run_parallel
from evaluation.engines.signals import StopRequest, stop_request
from evaluation.request.options import RunOptions
from evaluation.run.prepare import Prepared, carries_queries, prepare
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import CoarseSegmenter, smaller_passes
from results import SampleRecord
from support.console import tell


def pending_frames(
    ids: Sequence[str], sequences: Sequence[str], finished: Mapping[str, SampleRecord]
) -> tuple[list[int], Survivors]:
    """The positions of the frames to segment, and the state after the frames before them.

    ids, sequences: of every frame, in order. finished: records by id in the order of writing. A record counts only if
    all earlier frames of its sequence have one and it was written after theirs: once a frame is done again (it had
    failed), those after it started from another state.
    """
    written = {sample_id: number for number, sample_id in enumerate(finished)}
    pending: list[int] = []
    last: dict[str, int] = {}  # of each sequence: when the record of its last valid frame was written
    survivors: Survivors = {}
    broken: set[str] = set()
    for position, (sample_id, sequence) in enumerate(zip(ids, sequences, strict=True)):
        if sequence in broken or written.get(sample_id, -1) <= last.get(sequence, -1):
            broken.add(sequence)
            pending.append(position)
            continue
        last[sequence] = written[sample_id]
        survivors[sequence] = finished[sample_id].queries_kept
    return pending, survivors


@dataclass(frozen=True)
class SharedResources:
    """What runs side by side share: a request to stop, and processes that refine masks, by number and time limit."""

    stop: StopRequest
    refiner: Callable[[int, float | None], Refiner]


@contextmanager
def shared_resources() -> Iterator[SharedResources]:
    """Those of the runs within; a refiner starts when it is first needed, and ends with them."""
    with stop_request() as stop, ExitStack() as started:
        refiner = cache(lambda workers, time_limit: started.enter_context(Refiner(workers, time_limit=time_limit)))
        yield SharedResources(stop, refiner)


@dataclass(frozen=True)
class Work:
    """The remaining work of a run.

    scorer: with the run's folder, so that the wanted files of a prediction are written there. positions: of the samples
    that need a record. kept: the records that stay. survivors: after those; None where no queries are carried. shrunk:
    receives what ran in smaller passes.
    """

    prepared: Prepared
    scorer: Scorer
    shared: SharedResources
    positions: Sequence[int]
    kept: Sequence[SampleRecord]
    survivors: Survivors | None
    shrunk: set[str] = field(default_factory=set)

    @classmethod
    def after(
        cls, finished: Mapping[str, SampleRecord], prepared: Prepared, scorer: Scorer, shared: SharedResources
    ) -> Work:
        """The samples without a record, and those to be done again. finished: as for `pending_frames`."""
        ids, survivors = prepared.selected.ids, None
        positions = [position for position, sample_id in enumerate(ids) if sample_id not in finished]
        if carries_queries(prepared.segmenter.config):
            positions, survivors = pending_frames(ids, prepared.selected.sequences, finished)
        pending = {ids[position] for position in positions}
        kept = [record for id_, record in finished.items() if id_ not in pending]
        return cls(prepared, scorer, shared, positions, kept, survivors)

    def records(self) -> Generator[SampleRecord, None, None]:
        """One record per remaining sample, as it comes; fewer where a stop is requested."""
        prepared, options, devices = self.prepared, self.prepared.options, self.prepared.devices
        selected, positions = prepared.selected, self.positions

        def should_stop() -> bool:
            return self.shared.stop.asked

        # Refining processes: none where refinement takes no time or runs on the device.
        crf, refine_workers = getattr(prepared.segmenter.config, "crf", None), 0
        if crf and crf.implementation == "pydensecrf" and isinstance(prepared.segmenter, CoarseSegmenter):
            asked = options.refine_workers
            refine_workers = default_workers(len(devices)) if asked is None else asked
        if len(devices) > 1:
            logs = self.scorer.folder if prepared.plugins else None  # their authors want to see what they print
            jobs = [_job(prepared, folder=self.scorer.folder, device=name, processes=1) for name in devices]
            try:
                yield from run_parallel(
                    jobs,
                    devices,
                    selected,
                    positions,
                    refine_workers=refine_workers,
                    survivors=self.survivors,
                    should_stop=should_stop,
                    shrunk=self.shrunk,
                    logs=logs,
                )
            finally:
                if logs and any(log.stat().st_size for log in logs.glob("process-*.log")):
                    tell(f"notice: {logs}: what the processes printed is in process-*.log")
        elif options.engine == "ray":
            job = _job(prepared, device=devices[0])
            yield from run_ray(
                job,
                options.cluster,
                selected,
                positions,
                self.scorer,
                survivors=self.survivors,
                should_stop=should_stop,
                shrunk=self.shrunk,
            )
        else:
            own = Equipment(selected, prepared.segmenter, self.scorer, prepared.identity_fields)
            refiner = self.shared.refiner(refine_workers, options.sample_timeout)
            try:
                yield from run_local(
                    own, positions, _pace(options), survivors=self.survivors, refiner=refiner, should_stop=should_stop
                )
            finally:
                self.shrunk.update(smaller_passes(prepared.segmenter))


def _job(prepared: Prepared, folder: Path | None = None, **changes: Any) -> Job:
    """What another process does; folder: of the run, where it writes files of predictions; changes: of its options."""
    options = prepared.options
    return Job(
        partial(equip, replace(options, max_pixels=max_pixels(), **changes), folder),
        prepared.identity_fields,
        os.getcwd(),
        _pace(options),
    )


def _pace(options: RunOptions) -> Pace:
    return Pace(options.batch_size, options.workers, options.sample_timeout)


def equip(options: RunOptions, folder: Path | None) -> Equipment:
    """What a process or actor works with, built where it is; raises as `prepare`. folder: as for `Work`'s scorer."""
    # It writes no run directory, needs no cluster, and reports to no tracker.
    prepared = prepare(replace(options, engine="local", track=(), out=Path(tempfile.gettempdir())))
    scorer = replace(prepared.scorer, folder=folder, saving=options.saving)
    return Equipment(prepared.selected, prepared.segmenter, scorer, prepared.identity_fields)
