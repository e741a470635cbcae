"""What a run is asked for, and the benchmark with everything that segments and scores its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from car_core import CaR, CaRConfig
from car_core.config import Config, Precision, Profile
from car_core.engine.stage_cache import StageCache
from dataset_adapters import Dataset, DatasetError, load
from dataset_adapters.base.sample import NameSet, find_sources
from dataset_adapters.formats.images import max_pixels, set_max_pixels
from evaluation.engines.ray import Cluster
from evaluation.request.benchmark import CAR, Benchmark, BenchmarkError, Source, load_benchmark
from evaluation.request.checks import DEFAULT_RUNS, check_limit, check_out
from evaluation.request.inputs import Inputs, resolve_inputs, with_own_models
from evaluation.request.methods import find_method
from evaluation.request.protocol import Protocol, resolve_protocol
from evaluation.run.identity import identity_fields
from evaluation.run.merge import SHARD
from evaluation.tasks.artifacts import Saving
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import ConfiguredSegmenter
from results import identity_of
from support.console import tell

EngineName = Literal["local", "ray"]
CarMaker = Callable[..., CaR]  # with the signature of CaR.from_config
# Bytes of memory for samples of one image that follow one another: some seven photographs for ViT-B/16.
_AT_HAND = 2**27


@dataclass(frozen=True)
class RunOptions:
    """All that a run is asked for. The first block changes numbers, the second does not."""

    benchmark: str
    data_root: Path | None = None  # None: data/, or the miniature's; see evaluation.request.inputs
    weights: str | Mapping[str, str | None] | None = None  # see car_core.models.weights; None: the embedded miniature's
    method: str = CAR  # see evaluation.request.methods
    profile: Profile | None = None  # None: the benchmark's
    settings: Mapping[str, Any] = field(default_factory=dict)  # configuration fields set by the user
    split: str | None = None  # None: the benchmark's
    places: Mapping[str, str] = field(default_factory=dict)  # where the user's own data lie; see evaluation.request
    source: str | None = None  # where labels come from; None: the first source that is there
    protocol: Mapping[str, str] = field(default_factory=dict)  # see evaluation.request.protocol
    names: NameSet = "released"
    precision: Precision = "float32"  # what the image encoders multiply in
    limit: int | None = None  # the first samples only
    shard: tuple[int, int] | None = None  # (i, n): part i of n of those, 1 first; see evaluation.run.merge

    device: str = "cpu"
    out: Path | None = None  # run directory; None: results/runs/<benchmark>-<profile>-<identity>
    batch_size: int = 4  # samples segmented together
    workers: int = 2  # decoding processes
    refine_workers: int | None = None  # refining processes; None: the cores but one
    sample_timeout: float | None = 300.0  # seconds to decode or refine a sample in such a process; None: no limit
    max_pixels: int | None = None  # of an image or mask; None: see dataset_adapters.formats.images
    fresh: bool = False  # start anew although finished records are there
    quiet: bool = False  # no progress lines
    live: bool = True  # at a terminal a live line; else plain ones, as in a log
    engine: EngineName = "local"
    cluster: Cluster = field(default_factory=Cluster)  # of the engine ray
    saving: Saving = field(default_factory=Saving)  # files kept beside the records


@dataclass(frozen=True)
class Prepared:
    """A benchmark with everything that segments and scores its samples.

    dataset: the whole split. selected: the samples of it that the run takes. sources: who set each field of the
    configuration, which is `car.config`.
    """

    options: RunOptions
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

    @cached_property
    def identity_fields(self) -> dict[str, Any]:
        """What the identity of the run hashes."""
        whole, options = _limited(self.dataset, self.options), self.options
        fields = identity_fields(
            self.benchmark.name, whole, self.car.config, self.car.weights, self.protocol.as_dict(), options.precision
        )
        if options.shard:
            fields[SHARD] = "{}/{}".format(*options.shard)
        return fields

    @property
    def folder(self) -> Path:
        """Where the run is, or will be."""
        setting = getattr(self.car.config, "profile", self.options.method)
        identity = identity_of(self.identity_fields)
        return self.options.out or DEFAULT_RUNS / f"{self.benchmark.name}-{setting}-{identity[:12]}"


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
    if isinstance(car, CaR) and car.cache is None and selected.images_by_sample:
        car.cache = StageCache(_AT_HAND)
    return Prepared(options, benchmark, inputs, protocol, dataset, selected, car, sources)


def require_unchanged(prepared: Prepared) -> None:
    """Raise DatasetError if the data set is not the one of the start any more: records of the two would be mixed."""
    try:
        now = _dataset(prepared.benchmark, prepared.protocol, prepared.inputs.data_root, prepared.options).fingerprint
    except DatasetError:  # a file is gone: its sample has a record, of before or failed
        return
    if now != prepared.dataset.fingerprint:
        raise DatasetError(
            f"{prepared.dataset.root}: expected the files that were there at the start, found that files changed "
            "during the run; --fresh evaluates them as they are now"
        )


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
    pieces = {"sequences": whole.sequences, "images": whole.images_by_sample, "samples": whole.ids}
    noun, most = next((noun, len(set(own))) for noun, own in pieces.items() if own)
    if count > most:
        raise BenchmarkError(f"shard: expected at most as many shards as {noun}, {most}, found {part}/{count}")
    return whole.shard(part - 1, count)


def _limited(dataset: Dataset, options: RunOptions) -> Dataset:
    return dataset if options.limit is None else dataset[: options.limit]
