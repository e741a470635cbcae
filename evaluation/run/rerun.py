"""A run's request again, from its run.json, and what would be different now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from car_core.config import CaRConfig
from car_core.names import MINIATURE, ROLES, SUFFIXES
from dataset_adapters import DatasetError, holds
from dataset_adapters.base.adapter import find_sources
from evaluation.request.benchmark import Benchmark, BenchmarkError, built_in, is_file, load_benchmark, of_file
from evaluation.request.inputs import DEFAULT_DATA, weights_by_role
from evaluation.request.options import CAR, OWN_NAMES, SHARD, RunOptions, parse_shard
from evaluation.request.user_data import data_options, is_own, kind_of
from evaluation.request.vocabulary import Vocabulary
from evaluation.request.words import request_of, words_of_request
from results import RunHeader, differences
from results.tables.run_notes import is_car, is_scored
from support.choices import NameSet
from support.files import expanded
from support.plugins import Kind, plugins

if TYPE_CHECKING:
    from evaluation.run.prepare import Prepared


def request_of_run(header: RunHeader) -> RunOptions:
    """What a run was asked for, without the places of its files, which run.json does not hold.

    Runs of older versions kept no request: theirs is inferred from configuration and identity. Raises BenchmarkError
    for a request that this version does not know, DatasetError for texts that the data set does not have.
    """
    if header.request:
        options = request_of(words_of_run(header), "run.json: request", kept=True)
        benchmark, names = benchmark_of(header) or options.benchmark, vocabulary_of(header) or options.names
        return replace(options, benchmark=benchmark, names=names)
    config, dataset, fields = header.config, header.benchmark.dataset, header.identity_fields
    n_total, shard = header.counts.n_total, fields.get(SHARD)
    is_part = header.status == "complete" and not shard and n_total < dataset.n_samples
    return RunOptions(
        benchmark=header.benchmark.name,
        weights={entry.role: entry.name for entry in header.weights if entry.role in ROLES},
        method=config.get("method", CAR),
        profile=config.get("profile"),
        settings={key: config[key] for key, source in header.config_sources.items() if source == "user"},
        split=dataset.split,
        source=dataset.name.partition("/")[2] or None,
        protocol={k: v for k, v in (fields.get("protocol") or {}).items() if k not in CaRConfig.model_fields},
        names=vocabulary_of(header) or _names(header),
        precision=fields.get("dtype", "float32"),
        limit=n_total if is_part else None,
        shard=parse_shard(str(shard)) if shard else None,
    )


def benchmark_of(header: RunHeader) -> Benchmark | None:
    """The benchmark of a YAML file, which may have moved or changed since the run; None where the run has another.

    Raises BenchmarkError for fields that are none. Fields of a configuration may import the code that they name.
    """
    fields, file = header.benchmark.fields, str(header.request.get("benchmark") or "")
    if not (fields and is_file(file)):
        return None
    if "base" in fields:  # a run records it merged; a stranger's would be looked up, and so imported
        raise BenchmarkError(f"run.json: benchmark.fields.base: expected none, found {fields['base']!r}")
    return of_file(fields, file)


def is_embedded_run(header: RunHeader) -> bool:
    """Whether its benchmark has the miniature's data unless others are named."""
    known = built_in(header.benchmark.name)
    return known.embedded if known else (header.benchmark.fields or {}).get("embedded") is True


def vocabulary_of(header: RunHeader) -> Vocabulary | None:
    """The texts of the run's own, which need no file; None where the data set's were asked for."""
    if (names := header.benchmark.names) is None:
        return None
    words = None if names.background is None else tuple(names.background)
    classes = {name: tuple(texts) for name, texts in names.classes.items()}
    return Vocabulary(names.name, classes, words, is_own=header.request.get("names") == OWN_NAMES)


def outside_code(words: Mapping[str, Any]) -> list[str]:
    """The files and modules with code that a request names, by its words or fields: a stranger's may be anything."""
    settings = words.get("set") or words.get("settings") or {}
    metrics = words.get("metrics") or ()
    named = [
        *str(words.get("method") or "").split(","),
        *(metrics.split(",") if isinstance(metrics, str) else metrics),
        *(name for key in ("prompts", "stuff_prompts") for name in settings.get(key) or ()),
    ]
    files = [str(words["benchmark"])] if is_file(str(words.get("benchmark") or "")) else []
    return sorted({str(name) for name in named if ":" in str(name)} | {*files})


def words_of_run(header: RunHeader) -> dict[str, Any]:
    """`request_of_run` as words of the command line, with the benchmark among them. Raises BenchmarkError."""
    if is_scored(header):
        raise BenchmarkError("RUN: expected a run of a method, found predictions that were scored; see car score")
    for own in header.plugins:
        if own.package and own.name not in plugins(cast("Kind", own.kind)):
            raise BenchmarkError(
                f"run.json: plugins: expected {own.package} {own.version}, which provided {own.name!r} ({own.kind}), "
                "to be installed, found none"
            )
    words = header.request or words_of_request(request_of_run(header), kept=True)
    if not is_car(header) and header.benchmark.names is None:  # older versions gave all methods the released texts
        words = {"names": "released", **words}
    name = words.get("benchmark") or header.benchmark.name
    # Older versions took the miniature's weights where none were named, for any benchmark.
    is_miniature = {entry.name for entry in header.weights if entry.role in ROLES} == {MINIATURE}
    if is_miniature and not is_embedded_run(header):
        words = {"weights": MINIATURE, **words}
    # A request without a device meant cpu in older versions, and whatever was there since; a GPU is known by its model.
    if header.environment.device in ("cpu", "mps"):
        words = {"device": header.environment.device, **words}
    return {**words, "benchmark": name}


def require_places(options: RunOptions) -> None:
    """Raise BenchmarkError, naming all in one line, where files of the run are missing and were not named."""
    benchmark = load_benchmark(options.benchmark)
    named = weights_by_role(options.weights)
    files = (name for name in named.values() if name and Path(name).suffix.lower() in SUFFIXES)
    absent = dict.fromkeys(name for name in files if not expanded(name).exists())
    missing = [f"--weights ({', '.join(absent)})"] if absent else []
    if is_own(benchmark.adapter):
        has_data = bool(options.places)
    else:
        has_data = bool(options.data_root or benchmark.embedded or holds(DEFAULT_DATA, benchmark.adapter))
    if not has_data:
        missing.append(data_options(benchmark.adapter))
    if missing:
        raise BenchmarkError(
            f"{' and '.join(missing)}: expected the files of the run, which run.json names without their folders, "
            "found none"
        )


def require_data(header: RunHeader, prepared: Prepared) -> None:
    """Raise DatasetError where other data than the run's stand in for data that were not named."""
    is_other = prepared.dataset.fingerprint != header.benchmark.dataset.fingerprint
    if is_other and not (prepared.options.data_root or prepared.options.places):
        raise DatasetError(
            "data_root: expected the folder of the run's data, found none given, and other data in "
            f"{prepared.data_root}"
        )


def changes(header: RunHeader, now: RunHeader) -> list[str]:
    """What a new start of a run does not share with it: data, configuration, weights, code, packages, machine."""

    def facts(header: RunHeader) -> dict[str, Any]:
        own = header.environment.model_dump(exclude={"dtype"})  # also in the identity
        weights = {entry["role"]: entry for entry in header.identity_fields.get("weights", ())}
        return {**header.identity_fields, **own, "weights": weights}

    return differences(facts(header), facts(now))


def _names(header: RunHeader) -> NameSet:
    """Which query texts the run asked for. Raises DatasetError for texts that the data set does not have."""
    if is_own(kind_of(header.benchmark)):  # their list of classes has one text per query
        return "released"
    adapter = find_sources(load_benchmark(header.benchmark.name).adapter)[0]
    choices: tuple[NameSet, ...] = ("released", "dataset")
    for names in choices:
        if adapter.label_space(names).as_dict() == header.benchmark.label_space:
            return names
    raise DatasetError("label_space: expected that of the run, found other classes or query texts")
