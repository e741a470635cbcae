"""One run: from a benchmark's name to a finished run directory."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.engines.worker_pool import end_if_starting
from evaluation.request.options import RunOptions
from evaluation.run.dispatch import SharedResources, Work, shared_resources
from evaluation.run.environment import peak_rss_mib
from evaluation.run.header import header_of
from evaluation.run.prepare import Prepared, prepare, require_unchanged
from evaluation.run.progress import Progress
from evaluation.run.recompute import figures_of, require_unedited
from evaluation.run.trackers import Trackers
from results import Memory, RunDirectory, RunHeader, StoreError, Timings
from results.tables.run import write_tables
from results.tables.run_notes import all_failed, label_of, partial_data
from support.console import tell
from support.errors import AllFailedError
from support.text import counted


@dataclass(frozen=True)
class Run:
    """A finished run: where it is and what it found."""

    path: Path
    header: RunHeader

    @property
    def all_runs(self) -> list[Run]:
        """Only this run, as a suite has several."""
        return [self]


def evaluate(options: RunOptions) -> Run:
    """Run a benchmark, or resume an interrupted run of the same identity.

    Set-up mistakes raise before any work, with one line naming path or field: BenchmarkError, DatasetError,
    ModelError, QueryError, StoreError. A sample that fails is recorded and the run continues; AllFailedError where
    every one did, and then the run is incomplete.
    """
    end_if_starting()
    return run_prepared(prepare(options))


def run_prepared(prepared: Prepared) -> Run:
    """As `evaluate`, from where `prepare` ends."""
    [run] = run_side_by_side([prepared])
    if reason := why_all_failed(run):
        raise AllFailedError(reason)
    return run


def why_all_failed(run: Run) -> str:
    """That every sample of a run failed, and why the first one did, on one line; empty where one did not."""
    if not (words := all_failed(run.header)):
        return ""
    first = run.header.metrics["failed"][0]
    which = ", the first" if run.header.counts.n_failed > 1 else ","
    # Only the words of a method or prediction from outside, without the name of our exception.
    reason = re.sub("^segmentation: (OwnMethod|Prediction)Error: ", "", first["error"])
    was_raised = re.match(r"segmentation: OwnMethodError: .* \([^()]+:\d+\)$", first["error"])  # by a line of code
    traceback = "; car --debug shows the traceback" if was_raised else ""
    return f"{run.path}: {words}{which} {first['id']}: {reason}; run the same command to retry{traceback}"


def run_side_by_side(
    prepared: Sequence[Prepared],
    on_finish: Callable[[int, Run], None] = lambda i, run: None,
    on_start: Callable[[int], None] = lambda i: None,
) -> list[Run]:
    """Interleave runs: each batch goes through every run before the next starts.

    What their models cache of the samples in flight then serves the next run. on_start: called with each index once
    the folders of all runs are taken, before any sample. on_finish: called with the index of each finished run, and
    the run. Raises as `evaluate`; the others are then closed as an interrupted run is.
    """
    runs: dict[int, Run] = {}

    def finish(i: int, steps: Generator[int, None, Run]) -> Generator[int, None, None]:
        runs[i] = yield from steps
        if runs[i].header.status == "complete":
            on_finish(i, runs[i])

    with shared_resources() as shared, ExitStack() as stack:
        active = [stack.enter_context(closing(finish(i, _steps(own, shared)))) for i, own in enumerate(prepared)]
        next_batch = {steps: next(steps) for steps in active}  # of each unfinished run
        for i in range(len(prepared)):
            on_start(i)
        while next_batch:
            behind = min(next_batch, key=next_batch.__getitem__)  # the first of those at the earliest batch
            if (batch := next(behind, None)) is None:
                del next_batch[behind]
            else:
                next_batch[behind] = batch
        shared.stop.raise_if_asked()
    return [runs[i] for i in range(len(prepared))]


def _steps(prepared: Prepared, shared: SharedResources) -> Generator[int, None, Run]:
    """One run; yields before each sample the number of its batch in the data set, and one number at least."""
    options, path, header = prepared.options, prepared.folder, header_of(prepared)
    scorer = replace(prepared.scorer, folder=path, saving=options.saving)
    with RunDirectory(path) as store:
        finished = store.start(header, fresh=options.fresh, fields_of_first=prepared.fields_of_first)
        ids = prepared.selected.ids
        if store.header.identity != prepared.identity:  # the same run with a smaller --limit, which this one extends
            ids = ids[: store.header.request["limit"]]
        require_unedited(store, scorer, ids)
        # A sample without the files that are wanted now is done again.
        finished = {id_: record for id_, record in finished.items() if scorer.is_kept(id_)}
        work = Work.after(finished, prepared, scorer, shared)
        notices = store.repairs
        if work.positions:
            n_lost = len(ids) - len(store.records)
            if n_lost and store.header.status == "complete":
                # Whether the rest was edited cannot be known.
                kept, n = store.keep_header(), counted(n_lost, "record")
                notices.append(f"this finished run has lost {n}: redone, its run.json kept as {kept.name}")
            store.go_on(header)
        if work.kept and work.positions:
            whole = counted(len(prepared.selected), "sample")
            notices.append(f"{path.name}: {len(work.kept)} of {whole} are already done; resuming with the rest")
        elif work.kept:
            notices.append(f"{path.name}: all samples are already done")
        notices += filter(None, (options.saving.announcement(prepared.selected, path), partial_data(header)))
        for notice in notices:
            tell(f"notice: {notice}")
        if work.positions or store.header.status != "complete":
            yield from _segment(store, work)
        else:
            yield 0
        header = store.header
    if header.status == "complete":
        write_tables(path, header)
    return Run(path, header)


def _segment(store: RunDirectory, work: Work) -> Generator[int, None, None]:
    """Segment the remaining samples, appending each record as it comes; close the header, also when interrupted.

    Yields numbers as `_steps` does.
    """
    prepared, options = work.prepared, work.prepared.options
    batches = [position // options.batch_size for position in work.positions]
    n_done, status, trackers = 0, "incomplete", Trackers(options.track)
    start = time.perf_counter()

    @contextmanager
    def paused() -> Iterator[None]:
        """For the runs next to this one: the seconds within do not count."""
        nonlocal start
        begin = time.perf_counter()
        try:
            yield
        finally:
            start += time.perf_counter() - begin

    try:
        with paused():
            trackers.on_start(store.header)
            yield batches[0] if batches else 0
        progress = Progress(
            len(prepared.selected),
            work.scorer,
            work.kept,
            name=store.path.name,
            quiet=options.quiet,
            live=options.live,
            label=label_of(store.header),
        )
        with progress, closing(work.records()) as records:
            for record in records:
                store.append(record)
                progress.add(record)
                trackers.on_record(record, progress.running)
                n_done += 1
                if n_done < len(batches):
                    with paused():
                        yield batches[n_done]
        if n_done == len(batches):
            require_unchanged(prepared)
            status = "complete"
    finally:
        try:
            _close(store, work, status, time.perf_counter() - start)
        finally:
            trackers.on_finish(store.header)


def _close(store: RunDirectory, work: Work, status: str, seconds: float) -> None:
    """Compute the metrics from the records on disk and write the header; time and memory add to earlier starts'."""
    header = store.header
    records, figures = figures_of(store, work.scorer)
    lost = [id_ for id_ in work.prepared.selected.ids if id_ not in records] if status == "complete" else []
    status = "incomplete" if lost else status
    stages: dict[str, float] = defaultdict(float)
    for record in records.values():
        for stage, spent in record.seconds.items():
            stages[stage] += spent
    peaks = [peak for peak in (header.memory.peak_rss_mib, peak_rss_mib()) if peak is not None]
    counts = figures["counts"]
    changes = {
        "status": "incomplete" if counts.n_failed == counts.n_total else status,
        **figures,
        "timings": Timings(wall_seconds=header.timings.wall_seconds + seconds, seconds_by_stage=dict(stages)),
        "memory": Memory(
            peak_rss_mib=max(peaks, default=None), smaller_passes=sorted(work.shrunk | {*header.memory.smaller_passes})
        ),
    }
    store.write_header(header.model_copy(update=changes))
    if lost:
        raise StoreError(
            f"{store.samples_path}: expected a record of every sample, found none of {len(lost)}, first {lost[0]!r}: "
            "another program changed the file; the same command redoes them"
        )
