"""One run: from a benchmark's name to a finished run directory."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from car_core import CaR, CaRConfig
from car_core.config import Config, Precision, Profile
from car_core.memory import StageMemory
from dataset_adapters import Dataset, DatasetError, is_embedded, load
from dataset_adapters.images import max_pixels, set_max_pixels
from dataset_adapters.sample import NameSet, find_sources
from evaluation.benchmark import CAR, Benchmark, BenchmarkError, Source, load_benchmark
from evaluation.carry import Left, what_is_left
from evaluation.clock import Clock
from evaluation.engines.local import run_local
from evaluation.engines.ray import Cluster, Equipment, Job, run_ray
from evaluation.engines.refining import Refiners, default_workers
from evaluation.identity import environment, identity_fields, peak_rss_mib
from evaluation.inputs import Inputs, resolve_inputs, with_own_models
from evaluation.interrupts import StopRequest, stop_request
from evaluation.merge import SHARD
from evaluation.methods import find_method
from evaluation.preflight import DEFAULT_RUNS, check_limit, check_out
from evaluation.progress import Progress
from evaluation.protocol import Protocol, resolve_protocol
from evaluation.recompute import figures_of, own_records
from evaluation.saving import Saving
from evaluation.scorer import Scorer
from evaluation.segmenter import ConfiguredSegmenter, Unrefining, smaller_passes
from evaluation.telling import tell
from results import (
    BenchmarkInfo,
    DatasetInfo,
    Memory,
    PaperCell,
    RunDirectory,
    RunHeader,
    SampleRecord,
    Timings,
    WeightsInfo,
    identity_of,
)
from results.facts import partial_data
from results.render import counted

Status = Literal["complete", "incomplete"]
EngineName = Literal["local", "ray"]
CarMaker = Callable[..., CaR]  # with the signature of CaR.from_config
# Bytes of memory for samples of one image that follow one another: some seven photographs for ViT-B/16.
_AT_HAND = 2**27


@dataclass(frozen=True)
class RunOptions:
    """All that a run is asked for. The first block changes numbers, the second does not."""

    benchmark: str
    data_root: Path | None = None  # None: data/, or the miniature's; see evaluation.inputs
    weights: str | Mapping[str, str | None] | None = None  # see car_core.weights; None: the embedded miniature's
    method: str = CAR  # see evaluation.methods
    profile: Profile | None = None  # None: the benchmark's
    settings: Mapping[str, Any] = field(default_factory=dict)  # configuration fields set by the user
    split: str | None = None  # None: the benchmark's
    places: Mapping[str, str] = field(default_factory=dict)  # where data of the user's own lie; see evaluation.own_data
    source: str | None = None  # where labels come from; None: the first source that is there
    protocol: Mapping[str, str] = field(default_factory=dict)  # see evaluation.protocol
    names: NameSet = "released"
    precision: Precision = "float32"  # what the image encoders multiply in
    limit: int | None = None  # the first samples only
    shard: tuple[int, int] | None = None  # (i, n): part i of n of those, 1 first; see evaluation.merge

    device: str = "cpu"
    out: Path | None = None  # run directory; None: results/runs/<benchmark>-<profile>-<identity>
    batch_size: int = 4  # samples segmented together
    workers: int = 2  # decoding processes
    refine_workers: int | None = None  # refining processes; None: the cores but one
    sample_timeout: float | None = 300.0  # seconds to decode or refine a sample in such a process; None: no limit
    max_pixels: int | None = None  # of an image or mask; None: see dataset_adapters.images
    fresh: bool = False  # start anew although finished records are there
    quiet: bool = False  # no progress lines
    live: bool = True  # at a terminal a live line; else plain ones, as in a log
    engine: EngineName = "local"
    cluster: Cluster = field(default_factory=Cluster)  # of the engine ray
    saving: Saving = field(default_factory=Saving)  # files kept beside the records


@dataclass(frozen=True)
class Run:
    """A finished run: where it is and what it found."""

    path: Path
    header: RunHeader

    @property
    def all_runs(self) -> list[Run]:
        """The run alone, as a suite has several."""
        return [self]


@dataclass(frozen=True)
class Prepared:
    """A benchmark with everything that segments and scores its samples.

    dataset: the whole split. selected: the samples of it that the run takes. sources: who set each field of the
    configuration, which is `car.config`.
    """

    benchmark: Benchmark
    inputs: Inputs
    protocol: Protocol
    dataset: Dataset
    selected: Dataset
    car: ConfiguredSegmenter
    sources: Mapping[str, Source]

    @property
    def scorer(self) -> Scorer:
        """Counts predictions against the data set's targets."""
        return Scorer(self.dataset.task, self.dataset.label_space, self.protocol.scoring)


@dataclass(frozen=True)
class Beside:
    """What runs that go side by side share: a request to stop, and the processes that refine masks."""

    stop: StopRequest
    refiners: Refiners


def evaluate(options: RunOptions) -> Run:
    """Run a benchmark, or go on with an interrupted run of the same identity.

    Data or weights that were not named are replaced as `evaluation.inputs` says, with a line on standard error.
    Set-up mistakes raise before any work, with one line naming path or field: BenchmarkError, DatasetError,
    ModelError, QueryError, StoreError. A sample that fails is recorded and the run goes on.
    """
    return run_prepared(prepare(options), options)


def run_prepared(prepared: Prepared, options: RunOptions) -> Run:
    """The run that was prepared with the same options."""
    [run] = run_side_by_side([(prepared, options)])
    return run


def run_side_by_side(
    tasks: Sequence[tuple[Prepared, RunOptions]],
    on_finish: Callable[[int, Run], None] = lambda i, run: None,
    on_start: Callable[[int], None] = lambda i: None,
) -> list[Run]:
    """The runs that were prepared with these options, each batch of samples in all of them before the next.

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
        going = [stack.enter_context(closing(finish(i, _steps(*task, beside)))) for i, task in enumerate(tasks)]
        at = {steps: next(steps) for steps in going}
        for i in range(len(tasks)):
            on_start(i)
        while at:
            behind = min(at, key=lambda steps: at[steps])
            batch = next(behind, None)
            if batch is None:
                del at[behind]
            else:
                at[behind] = batch
        stop.raise_if_asked()
    return [runs[i] for i in range(len(tasks))]


def _steps(prepared: Prepared, options: RunOptions, beside: Beside) -> Generator[int, None, Run]:
    """One run, giving the number of each batch of the data set before it goes on with it; one at least."""
    header = _header(prepared, options)
    path = _folder_of(header, options)
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
        for notice in filter(None, (announcement, partial_data(header))):
            tell(f"notice: {notice}")
        if left.positions or store.read_header().status != "complete":
            yield from _segment(store, prepared, own, left, options, beside)
        else:
            yield 0
        header = store.read_header()
    if header.status == "complete":
        _write_tables(path)
    return Run(path, header)


def run_folder(prepared: Prepared, options: RunOptions) -> Path:
    """Where the run that was prepared with these options is, or will be."""
    return _folder_of(_header(prepared, options), options)


def _folder_of(header: RunHeader, options: RunOptions) -> Path:
    setting = header.config.get("profile") or header.config["method"]
    return options.out or DEFAULT_RUNS / f"{header.benchmark.name}-{setting}-{header.identity[:12]}"


def _keep_figures(store: RunDirectory, n_gone: int) -> None:
    """Keep the run.json of a finished run that has lost records: whether the rest was edited cannot be told."""
    if n_gone and store.read_header().status == "complete":
        kept, n = store.keep_header(), counted(n_gone, "record")
        tell(f"notice: this finished run has lost {n}: done again, its run.json kept as {kept.name}")


def prepare(options: RunOptions, *, make_car: CarMaker = CaR.from_config) -> Prepared:
    """Read the benchmark, open its data and build its models; raises as `evaluate`, before any sample is read.

    make_car: builds CaR as `CaR.from_config` does, for callers that keep models.
    """
    check_out(options.out or DEFAULT_RUNS)
    check_limit(options.limit)
    set_max_pixels(options.max_pixels or max_pixels())
    if options.engine == "ray":
        options.cluster.check(options.device)
    benchmark = load_benchmark(options.benchmark)
    method, task = find_method(options.method), find_sources(benchmark.adapter)[0].task
    config, sources = method.resolve(benchmark, task, options.profile, options.settings)
    protocol = resolve_protocol(benchmark, task, config, options.protocol)
    inputs = resolve_inputs(benchmark, options.data_root, options.weights, method.roles)
    for notice in inputs.notices:
        tell(f"notice: {notice}")
    dataset = _dataset(benchmark, protocol, inputs.data_root, options)
    if carries_queries(config) and not dataset.sequences:
        raise BenchmarkError(f"carry_queries: expected a data set of videos, found {dataset.name}")
    config, sources = with_own_models(config, sources, inputs.weights)
    # With actors this process only needs to know what the models are.
    local = options.engine == "local"
    device, precision = (options.device, options.precision) if local else ("cpu", "float32")
    options.saving.check(dataset)
    car = method.build(config, weights=inputs.weights, device=device, precision=precision, make_car=make_car)
    if dataset.label_space.queries:  # else each sample brings its own
        car.check_queries(dataset.label_space.queries)
    selected = _selected(dataset, options)
    if isinstance(car, CaR) and car.memory is None and selected.shared_images:
        car.memory = StageMemory(_AT_HAND)
    return Prepared(benchmark, inputs, protocol, dataset, selected, car, sources)


def carries_queries(config: Config) -> bool:
    """Whether a frame starts with the queries that survived the one before."""
    return isinstance(config, CaRConfig) and config.carry_queries


def _dataset(benchmark: Benchmark, protocol: Protocol, root: Path, options: RunOptions) -> Dataset:
    return load(
        benchmark.adapter,
        root,
        split=options.split or benchmark.split,
        source=options.source,
        names=options.names,
        options={**protocol.data, **options.places},
    )


def _selected(dataset: Dataset, options: RunOptions) -> Dataset:
    whole = _limited(dataset, options)
    if options.shard is None:
        return whole
    part, count = options.shard
    pieces = {"sequences": whole.sequences, "images": whole.shared_images, "samples": whole.ids}
    noun, most = next((noun, len(set(own))) for noun, own in pieces.items() if own)
    if count > most:
        raise BenchmarkError(f"shard: expected at most as many shards as {noun}, {most}, found {part}/{count}")
    return whole.shard(part - 1, count)


def _limited(dataset: Dataset, options: RunOptions) -> Dataset:
    return dataset if options.limit is None else dataset[: options.limit]


def _header(prepared: Prepared, options: RunOptions) -> RunHeader:
    benchmark, dataset, car = prepared.benchmark, prepared.dataset, prepared.car
    config = car.config
    whole = _limited(dataset, options)
    fields = identity_fields(benchmark.name, whole, config, car.weights, prepared.protocol.as_dict(), options.precision)
    if options.shard:
        fields[SHARD] = "{}/{}".format(*options.shard)
    return RunHeader(
        status="running",
        benchmark=BenchmarkInfo(
            name=benchmark.name,
            task=dataset.task,
            label_space=dataset.label_space.as_dict(),
            dataset=DatasetInfo(
                name=dataset.name,
                split=dataset.split,
                fingerprint=dataset.fingerprint,
                n_samples=len(dataset),
            ),
            protocol_changed=[f"{k}={v}" for k, v in options.protocol.items() if benchmark.protocol.get(k) != v],
            **_paper_fields(prepared),
        ),
        config=config.model_dump(mode="json"),
        config_sources=dict(prepared.sources),
        identity=identity_of(fields),
        identity_fields=fields,
        weights=[_weights_info(asdict(record)) for record in car.weights],
        environment=environment(
            options.device, car.weights, precision=options.precision, at_hand=options.engine == "local"
        ),
    )


def _paper_fields(prepared: Prepared) -> dict[str, Any]:
    """The paper's column to stand beside, or why none may."""
    paper, remark = prepared.benchmark.paper, prepared.inputs.remark
    if paper is None or is_embedded(prepared.inputs.data_root):
        return {"not_comparable": remark}
    sentences = getattr(prepared.car.config, "sentences", "single")
    size = {"paper_split": paper.split, "paper_samples": paper.n_samples(sentences, len(prepared.dataset))}
    if remark:
        return {"not_comparable": remark, **size}
    return {"paper": PaperCell(table=paper.table, column=paper.column), **size}


def _weights_info(record: Mapping[str, Any]) -> WeightsInfo:
    return WeightsInfo(**{key: record[key] for key in WeightsInfo.model_fields})


def _segment(
    store: RunDirectory,
    prepared: Prepared,
    scorer: Scorer,
    left: Left,
    options: RunOptions,
    beside: Beside,
) -> Generator[int, None, None]:
    """Segment what is left and close the header, also when interrupted."""
    status: Status = "incomplete"
    clock, shrunk = Clock(), set[str]()
    try:
        with clock.paused():  # for runs beside this one
            yield left.positions[0] // options.batch_size if left.positions else 0
        if (yield from _segment_rest(store, prepared, scorer, left, options, beside, clock, shrunk)):
            _require_unchanged(prepared, options)
            status = "complete"
    finally:
        _close(store, scorer, status, clock.seconds, shrunk)


def _segment_rest(
    store: RunDirectory,
    prepared: Prepared,
    scorer: Scorer,
    left: Left,
    options: RunOptions,
    beside: Beside,
    clock: Clock,
    shrunk: set[str],
) -> Generator[int, None, bool]:
    """Segment what is left, appending each record as it comes; gives numbers as `_steps` does.

    shrunk: gets what ran in smaller passes. Returns whether all samples have a record now.
    """
    rest, n_samples = left.positions, len(prepared.selected)
    state = {"carrier": left.carrier, "should_stop": lambda: beside.stop.asked}
    work = _ENGINES[options.engine](prepared, options, rest, scorer, shrunk, beside.refiners, **state)
    n_done, batches = 0, [position // options.batch_size for position in rest]
    with (
        Progress(
            n_samples, scorer, left.kept, name=store.path.name, quiet=options.quiet, live=options.live
        ) as progress,
        closing(work) as records,
    ):
        for record in records:
            store.append(record)
            progress.add(record)
            n_done += 1
            if n_done < len(rest) and batches[n_done] != batches[n_done - 1]:
                with clock.paused():  # for runs beside this one
                    yield batches[n_done]
    return n_done == len(rest)


def _refine_workers(prepared: Prepared, options: RunOptions) -> int:
    """Refining processes of a run: none where refinement takes no time or is the device's."""
    crf = getattr(prepared.car.config, "crf", None)
    if crf is None or crf.implementation != "pydensecrf" or not isinstance(prepared.car, Unrefining):
        return 0
    return default_workers() if options.refine_workers is None else options.refine_workers


def _on_this_machine(
    prepared: Prepared,
    options: RunOptions,
    positions: Sequence[int],
    scorer: Scorer,
    shrunk: set[str],
    refiners: Refiners,
    **state: Any,
) -> Generator[SampleRecord, None, None]:
    try:
        yield from run_local(
            prepared.selected,
            positions,
            prepared.car,
            scorer,
            batch_size=options.batch_size,
            workers=options.workers,
            sample_timeout=options.sample_timeout,
            refiner=refiners.of(_refine_workers(prepared, options), options.sample_timeout),
            **state,
        )
    finally:
        shrunk.update(smaller_passes(prepared.car))


def _on_a_cluster(
    prepared: Prepared,
    options: RunOptions,
    positions: Sequence[int],
    scorer: Scorer,
    shrunk: set[str],
    refiners: Refiners,
    **state: Any,
) -> Generator[SampleRecord, None, None]:
    """refiners: not used, for actors refine themselves."""
    job = Job(
        partial(equip, replace(options, max_pixels=max_pixels())),
        _header(prepared, options).identity_fields,
        os.getcwd(),
        batch_size=options.batch_size,
        workers=options.workers,
        sample_timeout=options.sample_timeout,
    )
    return run_ray(job, options.cluster, prepared.selected, positions, scorer, shrunk=shrunk, **state)


_ENGINES: Mapping[EngineName, Callable[..., Generator[SampleRecord, None, None]]] = {
    "local": _on_this_machine,
    "ray": _on_a_cluster,
}


def equip(options: RunOptions) -> Equipment:
    """What an actor works with, made on its node; raises as `prepare`."""
    # An actor writes no run directory, and models are its own matter.
    own = replace(options, engine="local", out=Path(tempfile.gettempdir()))
    prepared = prepare(own)
    scorer = replace(prepared.scorer, saving=own.saving)
    return Equipment(prepared.selected, prepared.car, scorer, _header(prepared, own).identity_fields)


def _require_unchanged(prepared: Prepared, options: RunOptions) -> None:
    """Raise DatasetError if the data set is not the one of the start any more: records of the two would be mixed."""
    try:
        now = _dataset(prepared.benchmark, prepared.protocol, prepared.inputs.data_root, options).fingerprint
    except DatasetError:  # a file is gone: its sample has a record, of before or failed
        return
    if now != prepared.dataset.fingerprint:
        raise DatasetError(
            f"{prepared.dataset.root}: expected the files that were there at the start, found that files changed "
            "during the run; --fresh evaluates them as they are now"
        )


def _close(store: RunDirectory, scorer: Scorer, status: Status, seconds: float, shrunk: set[str]) -> None:
    """Compute the metrics from the records on disk and write the header; time and memory go on from earlier starts'."""
    header = store.read_header()
    records, figures = figures_of(store, scorer)
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
            peak_rss_mib=max(peaks, default=None), smaller_passes=sorted(shrunk | {*header.memory.smaller_passes})
        ),
    }
    store.write_header(header.model_copy(update=changes))


def _write_tables(path: Path) -> None:
    from results.tables import write_tables

    write_tables(path)
