"""Resolves a request as far as possible without a model: user errors are reported before torch is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from car_core.config import PROMPT_PLUGINS, CaRConfig, Config
from car_core.names import MINIATURE, check_device_name, device_names, random_seed, weights_file
from dataset_adapters import Dataset, is_embedded, load, option_choices
from dataset_adapters.base.adapter import Adapter, configured, data_set_plugin, find_sources, first_present
from evaluation.request.benchmark import Benchmark, BenchmarkError, load_benchmark, refuse_fields, resolve_config
from evaluation.request.inputs import find_data, find_weights, weights_by_role, with_own_models
from evaluation.request.methods import Method, find_method
from evaluation.request.options import ALL, DEFAULT_RUNS, OWN_NAMES, CarOptions, Range, RunOptions, marks, parse_shard
from evaluation.request.predicted import PredictedMethod
from evaluation.request.vocabulary import NoTextsError, Vocabulary, find_vocabulary
from evaluation.tasks.extra_metrics import NamedMetric, find_metrics
from evaluation.tasks.task import TASKS, find_task
from support.choices import NameSet, SetBy
from support.files import expanded
from support.plugins import Plugin
from support.text import unknown_name

NOT_COMPARABLE = "miniature: not comparable with the paper"


@dataclass(frozen=True)
class Protocol:
    """How targets are built, and where masks are compared; both are part of a run's identity.

    data: options of the adapter. scoring: options of the task's metrics.
    """

    data: Mapping[str, str]
    scoring: Mapping[str, str]

    def as_dict(self) -> dict[str, str]:
        """Both in one mapping; their names never collide."""
        return {**self.data, **self.scoring}


@dataclass(frozen=True)
class ResolvedRun:
    """A run of which everything is known except the contents of its files.

    set_by: who set each field of `config`. weights: name or file by role. options: with the vocabulary in place of its
    name, also of a method's own. metrics: in addition to the task's. plugins: what other packages and files contribute.
    """

    options: RunOptions
    benchmark: Benchmark
    config: Config
    set_by: Mapping[str, SetBy]
    protocol: Protocol
    data_root: Path
    weights: Mapping[str, str]
    metrics: tuple[NamedMetric, ...]
    plugins: tuple[Plugin, ...]

    @property
    def not_comparable(self) -> str | None:
        """Why the figures are not comparable with the paper's; None where they are."""
        of_miniature = MINIATURE in self.weights.values() or is_embedded(self.data_root)
        return NOT_COMPARABLE if self.benchmark.embedded or of_miniature else None

    def load_data(self) -> Dataset:
        """The whole split, without its samples. Raises DatasetError."""
        names = self.options.names
        dataset = load(
            self.benchmark.adapter,
            self.data_root,
            split=self.options.split or self.benchmark.split,
            source=self.options.source,
            names="dataset" if names == "dataset" else "released",
            options={**self.protocol.data, **self.options.places},
        )
        if isinstance(names, Vocabulary):
            return replace(dataset, label_space=names.label_space(dataset.label_space))
        return dataset

    def select(self, dataset: Dataset) -> Dataset:
        """The samples that the run takes of the whole split. Raises BenchmarkError for too many shards."""
        selected = dataset if self.options.limit is None else dataset[: self.options.limit]
        if self.options.shard:
            part, count = self.options.shard
            pieces = {"sequences": selected.sequences, "images": selected.images_by_sample, "samples": selected.ids}
            noun, most = next((noun, len(set(own))) for noun, own in pieces.items() if own)
            if count > most:
                raise BenchmarkError(f"shard: expected at most as many shards as {noun}, {most}, found {part}/{count}")
            selected = selected.shard(part - 1, count)
        return selected


@dataclass(frozen=True)
class ResolvedCar:
    """CaR for user-supplied images. weights: by role."""

    config: CaRConfig
    weights: Mapping[str, str]
    device: str


def resolve(options: RunOptions) -> ResolvedRun:
    """Settle what a run is asked for; only the settings of a baseline need torch.

    Raises BenchmarkError, ClusterError, DatasetError and ModelError, one line each.
    """
    check_out(options.out or DEFAULT_RUNS)
    check_ranges(options)
    device_names(options.device)
    if options.shard:  # from Python, unchecked; the data set counts parts from 0
        parse_shard("/".join(map(str, options.shard)))
    if options.engine == "ray":
        options.cluster.check(options.device)
        if options.processes is not None:
            raise BenchmarkError(f"processes: expected --actors with --engine ray, found {options.processes}")
    method = PredictedMethod.of(options.predictions) if options.predictions else find_method(options.method)
    benchmark = load_benchmark(options.benchmark)
    sources = find_sources(benchmark.adapter, options.source)
    if sources[0].task not in TASKS:
        raise BenchmarkError(unknown_name(f"task of {benchmark.adapter}", sources[0].task, TASKS))
    metrics = find_metrics(options.metrics, sources[0].task)
    if options.shard and (of_file := [each.name for each in metrics if each.plugin and not each.plugin.package]):
        raise BenchmarkError(
            f"shard: expected metrics of installed packages, which car merge recomputes, found {of_file[0]}"
        )
    method.check_precision(options.precision)
    names, of_names = _names(options.names, method, benchmark, configured(sources[0], options.places))
    config, set_by = method.resolve(benchmark, sources[0].task, options.profile, {**of_names, **options.settings})
    set_by |= {field: "user" if field in options.settings else "names" for field in of_names}
    protocol = resolve_protocol(benchmark, sources[0].task, config, options.protocol)
    if not method.roles and (named := next(filter(None, weights_by_role(options.weights).values()), None)):
        raise BenchmarkError(f"weights: expected none, since {method.name} names its own (--set), found {named!r}")
    data_root = find_data(benchmark, options.data_root)
    adapters = [configured(adapter, {**protocol.data, **options.places}) for adapter in sources]
    _check_data(adapters, expanded(data_root).absolute(), None if options.places else options.split)
    if options.places:
        adapters[0].label_space("released")  # reads the list of classes
    weights = find_weights(options.weights, method.roles, embedded=benchmark.embedded)
    check_weights(weights)
    config, set_by = with_own_models(config, set_by, weights)
    prompts: list[Plugin | None] = []
    if isinstance(config, CaRConfig):
        drawn = {*config.prompts, *(config.stuff_prompts or ())}
        prompts = [PROMPT_PLUGINS.get(name) for name in sorted(drawn)]
    data = [benchmark.brought_by, data_set_plugin(sources[0].name)]
    provided = tuple(filter(None, [method.plugin, *data, *prompts, *(each.plugin for each in metrics)]))
    options = replace(options, names=names)
    return ResolvedRun(options, benchmark, config, set_by, protocol, data_root, weights, metrics, provided)


def resolve_protocol(benchmark: Benchmark, task: str, config: Config, given: Mapping[str, str]) -> Protocol:
    """The protocol of a run: the defaults, updated with the benchmark's values, then with the user's ``given``.

    An option of the data set that has the name of a configuration field takes that field's value; for a method without
    that field, CaR's value in this benchmark is the default, so that all methods have the same samples. Raises
    BenchmarkError for an unknown option or value, and for such a field in ``given``.
    """
    data, scoring = option_choices(benchmark.adapter), find_task(task).choices
    switches = {name: str(getattr(config, name)) for name in data if name in type(config).model_fields}
    choices = {name: values for name, values in {**data, **scoring}.items() if name not in switches}
    own = benchmark.protocol_of(getattr(config, "profile", None))
    of_car = vars(resolve_config(benchmark, benchmark.profile, {})[0])
    defaults = {name: str(of_car.get(name, values[0])) for name, values in choices.items()}
    chosen = {**defaults, **own, **given}
    for name, value in chosen.items():
        where = f"protocol: {name}" if name in given else f"benchmark {benchmark.name}: protocol.{name}"
        if name in switches:
            raise BenchmarkError(f"{where}: this is a switch of the configuration; use --set {name}={value}")
        if not choices:
            raise BenchmarkError(f"{where}: {benchmark.name} has no protocol options")
        if name not in choices:
            raise BenchmarkError(f"{where}: expected an option of {', '.join(choices)}")
        if value not in choices[name]:
            raise BenchmarkError(f"{where}: expected one of {', '.join(choices[name])}, found {value!r}")
    return Protocol(
        data={name: {**chosen, **switches}[name] for name in data}, scoring={name: chosen[name] for name in scoring}
    )


def _names(
    asked: str | Vocabulary, method: Method, benchmark: Benchmark, adapter: Adapter
) -> tuple[str | Vocabulary, dict[str, Any]]:
    """The vocabulary that names ask for, or the names themselves, and the method's fields that it sets.

    What the method's own set gives way to fields of the benchmark. Raises as `find_vocabulary`.
    """
    if isinstance(asked, str) and asked not in (OWN_NAMES, *get_args(NameSet)):
        asked = find_vocabulary(asked, adapter)
    own, fixed = None, {**benchmark.baselines.get(ALL, {}), **benchmark.baselines.get(method.name, {})}
    if isinstance(asked, str) and method.names:
        with suppress(NoTextsError):
            own = find_vocabulary(method.names, adapter)
    if isinstance(asked, Vocabulary):
        settings, fixed = asked.settings, fixed if asked.is_own else {}
    elif own is None:
        return OWN_NAMES if asked == "released" else asked, {}
    elif asked == OWN_NAMES:
        asked, settings = replace(own, is_own=True), own.settings
    else:  # the data set's queries, which name no background words: the method's are used
        settings = replace(own, classes={}).settings
    return asked, {key: value for key, value in settings.items() if key in method.fields and key not in fixed}


def resolve_car(options: CarOptions) -> ResolvedCar:
    """Settle the model for user-supplied images. Raises BenchmarkError, ConfigError and ModelError."""
    check_ranges(options)
    refuse_fields(options.settings, {"profile": "the option --profile", "mode": "the option --mode"})
    is_miniature = set(weights_by_role(options.weights).values()) == {MINIATURE}
    profile = options.profile or ("paper" if is_miniature else "released")
    config = CaRConfig(**{"profile": profile, "mode": options.mode, **options.settings})
    check_device_name(options.device)
    weights = find_weights(options.weights)
    check_weights(weights)
    set_by: dict[str, SetBy] = {
        name: "user" if name in options.settings else "default" for name in CaRConfig.model_fields
    }
    return ResolvedCar(with_own_models(config, set_by, weights)[0], weights, options.device)


def check_ranges(options: Any) -> None:
    """Raise BenchmarkError for a field of request options that is out of its range."""
    for name, bound in marks(type(options), Range).items():
        bound.check(getattr(options, name), name)


def check_weights(weights: Mapping[str, str | None]) -> None:
    """Raise ModelError for a weights file that does not exist, and for a seed that is not a number."""
    for name in filter(None, weights.values()):
        if random_seed(name) is None:
            weights_file(name)


def check_out(path: Path) -> None:
    """Raise BenchmarkError unless the folder can be written or created."""
    if str(path).startswith("~"):
        raise BenchmarkError(f"out: expected a folder, found the home of a nonexistent user, {path}")
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = f"{existing}, which is read-only" if existing.is_dir() else f"{existing}, which is not a folder"
        raise BenchmarkError(f"out: expected a folder that can be written, found {found}")


def _check_data(sources: Sequence[Adapter], root: Path, split: str | None) -> None:
    """Raise DatasetError unless the files of one of a data set's label sources are at `root` and have the split.

    split: None where it is not checked.
    """

    def listed(adapter: Adapter, folder: Path) -> None:
        if split is not None and not adapter.annotation_files(folder, split):
            adapter.rows(folder, split)

    first_present(sources, root, listed)
