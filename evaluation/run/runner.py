"""One run: from a benchmark's name to a finished run directory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluation.engines.refining import Refiners
from evaluation.engines.signals import stop_request
from evaluation.request.options import RunOptions
from evaluation.run.clock import Clock
from evaluation.run.dispatch import Beside, Work
from evaluation.run.header import header_of
from evaluation.run.identity import peak_rss_mib
from evaluation.run.prepare import Prepared, carries_queries, prepare, require_unchanged
from evaluation.run.progress import Progress
from evaluation.run.recompute import figures_of, own_records
from evaluation.run.resume import Left, what_is_left
from results import Memory, RunDirectory, RunHeader, Timings
from results.tables.run_notes import partial_data
from support.console import tell
from support.text import counted

Status = Literal["complete", "incomplete"]


@dataclass(frozen=True)
class Run:
    """A finished run: where it is and what it found."""

    path: Path
    header: RunHeader

    @property
    def all_runs(self) -> list[Run]:
        """The run alone, as a suite has several."""
        return [self]


def evaluate(options: RunOptions) -> Run:
    """Run a benchmark, or go on with an interrupted run of the same identity.

    Data or weights that were not named are replaced as `evaluation.request.inputs` says, with a line on standard error.
    Set-up mistakes raise before any work, with one line naming path or field: BenchmarkError, DatasetError,
    ModelError, QueryError, StoreError. A sample that fails is recorded and the run goes on.
    """
    return run_prepared(prepare(options))


def run_prepared(prepared: Prepared) -> Run:
    """As `evaluate`, from where `prepare` ends."""
    [run] = run_side_by_side([prepared])
    return run


def run_side_by_side(
    prepared: Sequence[Prepared],
    on_finish: Callable[[int, Run], None] = lambda i, run: None,
    on_start: Callable[[int], None] = lambda i: None,
) -> list[Run]:
    """These runs, each batch of samples in all of them before the next.

    What their models remember of the samples at hand is so of use to the next run. on_start: called with each place
    once the folders of all runs have taken them, before any sample. on_finish: called with each finished run and its
    place. Raises as `evaluate`; the others are then closed as an interrupted run is.
    """
    runs: dict[int, Run] = {}

    def finish(i: int, steps: Generator[int, None, Run]) -> Generator[int, None, None]:
        runs[i] = yield from steps
        if runs[i].header.status == "complete":
            on_finish(i, runs[i])

    with stop_request() as stop, Refiners() as refiners, ExitStack() as stack:
        beside = Beside(stop, refiners)
        going = [stack.enter_context(closing(finish(i, _steps(own, beside)))) for i, own in enumerate(prepared)]
        at = {steps: next(steps) for steps in going}
        for i in range(len(prepared)):
            on_start(i)
        while at:
            behind = min(at, key=lambda steps: at[steps])
            batch = next(behind, None)
            if batch is None:
                del at[behind]
            else:
                at[behind] = batch
        stop.raise_if_asked()
    return [runs[i] for i in range(len(prepared))]


def _steps(prepared: Prepared, beside: Beside) -> Generator[int, None, Run]:
    """One run, giving before each sample the number of its batch of the data set; one number at least."""
    options, path, header = prepared.options, prepared.folder, header_of(prepared)
    own = replace(prepared.scorer, folder=path, saving=options.saving)
    with RunDirectory(path) as store:
        finished = store.start(header, fresh=options.fresh)
        records = own_records(store, own, prepared.selected.ids)
        # A sample without the files that are wanted now is done again.
        finished = {id_: record for id_, record in finished.items() if own.is_kept(id_)}
        left = what_is_left(prepared.selected, finished, carried=carries_queries(prepared.car.config))
        if left.positions:
            _keep_figures(store, len(prepared.selected) - len(records))
            store.go_on(header)
        announcement = options.saving.announcement(prepared.selected, path)
        for notice in filter(None, (_earlier(left, path), announcement, partial_data(header))):
            tell(f"notice: {notice}")
        if left.positions or store.read_header().status != "complete":
            yield from _segment(store, Work(prepared, own, left, beside))
        else:
            yield 0
        header = store.read_header()
    if header.status == "complete":
        _write_tables(path)
    return Run(path, header)


def _earlier(left: Left, path: Path) -> str | None:
    """What earlier starts have done, in words; None for nothing."""
    if not left.kept:
        return None
    if not left.positions:
        return f"{path.name}: all samples are done already, none is run again"
    whole = counted(len(left.kept) + len(left.positions), "sample")
    return f"{path.name}: {len(left.kept)} of {whole} are done already, going on with the rest"


def _keep_figures(store: RunDirectory, n_gone: int) -> None:
    """Keep the run.json of a finished run that has lost records: whether the rest was edited cannot be told."""
    if n_gone and store.read_header().status == "complete":
        kept, n = store.keep_header(), counted(n_gone, "record")
        tell(f"notice: this finished run has lost {n}: done again, its run.json kept as {kept.name}")


def _segment(store: RunDirectory, work: Work) -> Generator[int, None, None]:
    """Segment what is left and close the header, also when interrupted; gives numbers as `_steps` does."""
    status: Status = "incomplete"
    clock = Clock()
    try:
        if (yield from _segment_rest(store, work, clock)):
            require_unchanged(work.prepared)
            status = "complete"
    finally:
        _close(store, work, status, clock.seconds)


def _segment_rest(store: RunDirectory, work: Work, clock: Clock) -> Generator[int, None, bool]:
    """Segment what is left, appending each record as it comes. Returns whether all samples have a record now.

    clock: paused for the runs beside this one.
    """
    batches = [position // work.prepared.options.batch_size for position in work.left.positions]
    n_done = 0
    with clock.paused():
        yield batches[0] if batches else 0
    with _progress(store, work) as progress, closing(work.records()) as records:
        for record in records:
            store.append(record)
            progress.add(record)
            n_done += 1
            if n_done < len(batches):
                with clock.paused():
                    yield batches[n_done]
    return n_done == len(batches)


def _progress(store: RunDirectory, work: Work) -> Progress:
    prepared, options = work.prepared, work.prepared.options
    n_samples, name = len(prepared.selected), store.path.name
    return Progress(n_samples, work.scorer, work.left.kept, name=name, quiet=options.quiet, live=options.live)


def _close(store: RunDirectory, work: Work, status: Status, seconds: float) -> None:
    """Compute the metrics from the records on disk and write the header; time and memory go on from earlier starts'."""
    header = store.read_header()
    records, figures = figures_of(store, work.scorer)
    stages: dict[str, float] = defaultdict(float)
    for record in records.values():
        for stage, spent in record.seconds.items():
            stages[stage] += spent
    peaks = [peak for peak in (header.memory.peak_rss_mib, peak_rss_mib()) if peak is not None]
    changes = {
        "status": status,
        **figures,
        "timings": Timings(wall_seconds=header.timings.wall_seconds + seconds, seconds_by_stage=dict(stages)),
        "memory": Memory(
            peak_rss_mib=max(peaks, default=None), smaller_passes=sorted(work.shrunk | {*header.memory.smaller_passes})
        ),
    }
    store.write_header(header.model_copy(update=changes))


def _write_tables(path: Path) -> None:
    from results.tables.run import write_tables

    write_tables(path)
