"""One run: from a benchmark's name to a finished run directory."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from car_core import CaR, CaRConfig
from car_core.config import Profile
from dataset_adapters import Dataset, load
from dataset_adapters.sample import NameSet, find_sources
from evaluation.benchmark import Benchmark, BenchmarkError, Source, load_benchmark, resolve_config
from evaluation.engines.local import run_local
from evaluation.identity import environment, identity_fields, peak_rss_mib
from evaluation.progress import Progress
from evaluation.protocol import Protocol, resolve_protocol
from evaluation.scorer import Scorer
from results import (
    BenchmarkInfo,
    DatasetInfo,
    Memory,
    PaperCell,
    RunDirectory,
    RunHeader,
    SampleCounts,
    SampleRecord,
    Timings,
    WeightsInfo,
    identity_of,
)

DEFAULT_RUNS = Path("results/runs")
Status = Literal["running", "complete"]


@dataclass(frozen=True)
class RunOptions:
    """All that a run is asked for. The first block changes numbers, the second does not."""

    benchmark: str
    data_root: Path
    weights: str | Mapping[str, str] = "openai"  # tag, file or random:SEED; see car_core.weights
    profile: Profile = "released"
    settings: Mapping[str, Any] = field(default_factory=dict)  # configuration fields set by the user
    split: str | None = None  # None: the benchmark's
    places: Mapping[str, str] = field(default_factory=dict)  # where data of the user's own lie; see evaluation.own_data
    source: str | None = None  # where labels come from; None: the first source that is there
    protocol: Mapping[str, str] = field(default_factory=dict)  # see evaluation.protocol
    names: NameSet = "released"
    limit: int | None = None  # the first samples only

    device: str = "cpu"
    out: Path | None = None  # run directory; None: results/runs/<benchmark>-<profile>-<identity>
    batch_size: int = 4  # samples segmented together
    workers: int = 2  # decoding processes
    fresh: bool = False  # start anew although finished records are there
    quiet: bool = False  # no progress line


@dataclass(frozen=True)
class Run:
    """A finished run: where it is and what it found."""

    path: Path
    header: RunHeader


def evaluate(options: RunOptions) -> Run:
    """Run a benchmark, or go on with an interrupted run of the same identity.

    Set-up mistakes raise before any work, with one line naming path or field: BenchmarkError, DatasetError,
    ModelError, QueryError, StoreError. A sample that fails is recorded and the run goes on.
    """
    benchmark = load_benchmark(options.benchmark)
    config, sources = resolve_config(benchmark, options.profile, options.settings)
    protocol = resolve_protocol(benchmark, find_sources(benchmark.adapter)[0].task, config, options.protocol)
    dataset = _dataset(benchmark, protocol, options)
    _check_out(options.out or DEFAULT_RUNS)
    car = CaR.from_config(config, weights=options.weights, device=options.device)
    if dataset.label_space.queries:  # else each sample brings its own
        car.check_queries(dataset.label_space.queries)
    header = _header(benchmark, dataset, config, sources, protocol, car, options)
    path = options.out or DEFAULT_RUNS / f"{benchmark.name}-{config.profile}-{header.identity[:12]}"
    selected = _selected(dataset, options)
    with RunDirectory(path) as store:
        finished = store.start(header, fresh=options.fresh)
        scorer = Scorer(dataset.task, dataset.label_space, protocol.scoring)
        header = _segment(store, selected, finished, car, scorer, options)
    _write_tables(path)
    return Run(path, header)


def _dataset(benchmark: Benchmark, protocol: Protocol, options: RunOptions) -> Dataset:
    if options.limit is not None and options.limit < 1:
        raise BenchmarkError(f"limit: expected at least 1 sample, found {options.limit}")
    return load(
        benchmark.adapter,
        options.data_root,
        split=options.split or benchmark.split,
        source=options.source,
        names=options.names,
        options={**protocol.data, **options.places},
    )


def _check_out(path: Path) -> None:
    """Raise BenchmarkError unless the folder can be written or made: found out before models are loaded."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        found = f"{there}, which is read-only" if there.is_dir() else f"{there}, which is no folder"
        raise BenchmarkError(f"out: expected a folder that can be written, found {found}")


def _selected(dataset: Dataset, options: RunOptions) -> Dataset:
    return dataset if options.limit is None else dataset[: options.limit]


def _header(
    benchmark: Benchmark,
    dataset: Dataset,
    config: CaRConfig,
    sources: Mapping[str, Source],
    protocol: Protocol,
    car: CaR,
    options: RunOptions,
) -> RunHeader:
    selected = _selected(dataset, options)
    fields = identity_fields(benchmark.name, selected, config, car.weights, protocol.as_dict())
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
            **_paper_fields(benchmark, config),
        ),
        config=config.model_dump(mode="json"),
        config_sources=dict(sources),
        identity=identity_of(fields),
        identity_fields=fields,
        weights=[_weights_info(asdict(record)) for record in car.weights],
        environment=environment(options.device),
    )


def _paper_fields(benchmark: Benchmark, config: CaRConfig) -> dict[str, Any]:
    paper = benchmark.paper
    if paper is None:
        return {}
    cell = PaperCell(table=paper.table, column=paper.column)
    return {"paper": cell, "paper_split": paper.split, "paper_samples": paper.n_samples(config.sentences)}


def _weights_info(record: Mapping[str, Any]) -> WeightsInfo:
    return WeightsInfo(**{key: record[key] for key in WeightsInfo.model_fields})


def _segment(
    store: RunDirectory,
    dataset: Dataset,
    finished: Mapping[str, SampleRecord],
    car: CaR,
    scorer: Scorer,
    options: RunOptions,
) -> RunHeader:
    """Segment what has no finished record yet and close the header, also when interrupted."""
    status: Status = "running"
    start = time.perf_counter()
    try:
        _segment_rest(store, dataset, finished, car, scorer, options)
        status = "complete"
    finally:
        _close(store, scorer, status, time.perf_counter() - start)
    return store.read_header()


def _segment_rest(
    store: RunDirectory,
    dataset: Dataset,
    finished: Mapping[str, SampleRecord],
    car: CaR,
    scorer: Scorer,
    options: RunOptions,
) -> None:
    """Segment what has no finished record yet, appending each record as it comes."""
    rest = [position for position, sample_id in enumerate(dataset.ids) if sample_id not in finished]
    with Progress(len(dataset), scorer, finished.values(), quiet=options.quiet) as progress:
        for record in run_local(dataset, rest, car, scorer, batch_size=options.batch_size, workers=options.workers):
            store.append(record)
            progress.add(record)


def _close(store: RunDirectory, scorer: Scorer, status: Status, seconds: float) -> None:
    """Compute the metrics from the records on disk and write the header; time and memory go on from earlier starts'."""
    header = store.read_header()
    records = {record.id: record for record in store.read_records()}
    failed = sum(record.status == "failed" for record in records.values())
    stages: dict[str, float] = defaultdict(float)
    for record in records.values():
        for stage, spent in record.seconds.items():
            stages[stage] += spent
    peaks = [peak for peak in (header.memory.peak_rss_mib, peak_rss_mib()) if peak is not None]
    changes = {
        "status": status,
        "metrics": scorer.summarize(records),
        "counts": SampleCounts(n_total=len(records), n_scored=len(records) - failed, n_failed=failed),
        "timings": Timings(wall_seconds=header.timings.wall_seconds + seconds, seconds_by_stage=dict(stages)),
        "memory": Memory(peak_rss_mib=max(peaks, default=None)),
    }
    store.write_header(header.model_copy(update=changes))


def _write_tables(path: Path) -> None:
    from results.tables import write_tables

    write_tables(path)
