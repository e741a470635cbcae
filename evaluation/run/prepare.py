"""Open the data and load the models for a resolved run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from car_core import CaR, CaRConfig
from car_core.config import Config
from car_core.engine.device import as_devices, device_of_each
from car_core.engine.precision import dtype_of
from car_core.engine.stage_cache import StageCache
from car_core.names import AUTO
from dataset_adapters import Dataset, DatasetError, is_embedded
from dataset_adapters.formats.images import max_pixels, set_max_pixels
from dataset_adapters.user_data.proof import prove
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.methods import CarMaker, find_method
from evaluation.request.options import CAR, DEFAULT_RUNS, SHARD, RunOptions
from evaluation.request.predicted import PredictedConfig
from evaluation.request.resolve import ResolvedRun, resolve
from evaluation.request.vocabulary import Vocabulary
from evaluation.run.environment import package_versions
from evaluation.run.identity import code_digest, ids_digest, of_identity
from evaluation.run.predictions import PredictionReader, open_predictions
from evaluation.run.trackers import find_tracker
from evaluation.tasks.scorer import Scorer
from evaluation.tasks.segmenter import Segmenter
from results import identity_of
from results.tables.run_notes import name_of_run
from support.arrays import Int64Array
from support.choices import Precision
from support.console import tell

# Bytes kept for consecutive samples of one image: about seven photographs for ViT-B/16.
_MEMORY_BYTES = 2**27


@dataclass(frozen=True)
class Prepared(ResolvedRun):
    """A resolved run with everything that segments and scores its samples.

    dataset: the whole split. selected: the samples that the run takes. segmenter: its configuration counts.
    devices: of each process that segments; a single one is this process. file_states: of `selected` at the start.
    """

    dataset: Dataset
    selected: Dataset
    segmenter: Segmenter
    devices: Sequence[str]
    file_states: Int64Array = field(repr=False, compare=False)

    @property
    def scorer(self) -> Scorer:
        """Counts predictions against the data set's targets."""
        return Scorer(self.dataset.task, self.dataset.label_space, self.protocol.scoring, metrics=self.metrics)

    @cached_property
    def plugin_records(self) -> list[dict[str, str | None]]:
        """What run.json and the identity say of each plugin."""
        return [plugin.record() for plugin in self.plugins]

    @cached_property
    def identity_fields(self) -> dict[str, Any]:
        """The JSON-ready fields that the identity of the run hashes."""
        options, names, shard = self.options, self.options.names, self.options.shard
        plugins: dict[str, dict[str, Any]] = {}  # by kind and name, so that what differs can be named
        for record in self.plugin_records:
            entry = {key: value for key, value in record.items() if key not in ("kind", "name")}
            plugins.setdefault(str(record["kind"]), {})[str(record["name"])] = entry
        optional = {
            "plugins": plugins,
            "names": names.sha256 if isinstance(names, Vocabulary) else None,
            "metrics": {each.name: each.metric.version for each in self.metrics},
            SHARD: "{}/{}".format(*shard) if shard else None,
        }
        return {
            "benchmark": self.benchmark.name,
            "dataset": {
                "adapter": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "samples": ids_digest(self.dataset.ids[: options.limit]),
            },
            "protocol": self.protocol.as_dict(),
            "label_space": self.dataset.label_space.as_dict(),
            "config": of_identity(self.segmenter.config),
            "weights": [
                {"role": record.role, "architecture": record.model_sha256, "weights": record.sha256 or record.name}
                for record in self.segmenter.weights
            ],
            "dtype": options.precision,
            "packages": package_versions(self.segmenter.weights),
            "code": code_digest(),
            **{key: value for key, value in optional.items() if value},
        }

    def fields_of_first(self, n: int) -> dict[str, Any]:
        """The identity fields of the same run with ``--limit n``: its records are the first of this one's."""
        fields, n = self.identity_fields, min(n, self.options.limit or n)
        if self.options.shard:  # a shard of fewer samples holds others
            return fields
        ids = self.dataset.ids[:n]
        first = {**fields, "dataset": {**fields["dataset"], "samples": ids_digest(ids)}}
        if isinstance(self.segmenter, PredictionReader):
            first["config"] = {**fields["config"], "predictions_sha256": self.segmenter.sha256_of(ids)}
        return first

    @cached_property
    def identity(self) -> str:
        """What distinguishes the run from others: 64 hex digits."""
        return identity_of(self.identity_fields)

    @property
    def on_miniature(self) -> bool:
        """Whether a benchmark of photos reads the miniature's scenes."""
        return is_embedded(self.data_root) and not self.benchmark.embedded

    @property
    def folder(self) -> Path:
        """Where the run is, or will be."""
        variant = getattr(self.segmenter.config, "profile", None) or getattr(self.segmenter.config, "method", CAR)
        name = name_of_run(self.benchmark.name, variant, self.identity, on_miniature=self.on_miniature)
        return self.options.out or DEFAULT_RUNS / name


def prepare(options: RunOptions, *, make_car: CarMaker | None = None) -> Prepared:
    """Resolve what a run is asked for and load what it needs; raises as `resolve` and `build`."""
    return build(resolve(options), make_car=make_car)


def build(run: ResolvedRun, *, make_car: CarMaker | None = None) -> Prepared:
    """Open the data and load the models of a run.

    make_car: builds CaR in place of `CaR.from_config`, for callers that keep models. Raises before any sample is read:
    BenchmarkError, DatasetError, ModelError, PluginError, QueryError.
    """
    options = run.options
    for name in options.track:
        find_tracker(name)
    # An actor without a share of a GPU has none.
    local, devices = options.engine == "local", ["cpu" if options.device == AUTO else options.device]
    if local:
        compared = options.method == CAR and not getattr(run.config, "sam", None)
        devices = as_devices(options.device, compared=compared)
        devices = device_of_each(devices, options.processes, "processes")
        dtype_of(options.precision, torch.device(devices[0]))
    set_max_pixels(options.max_pixels or max_pixels())
    dataset = run.load_data()
    for notice in dataset.notices:
        tell(f"notice: {notice}")
    if carries_queries(run.config) and not dataset.sequences:
        raise BenchmarkError(f"carry_queries: expected a data set of videos, found {dataset.name}")
    for metric in run.metrics:
        metric.try_out(dataset.task, dataset.label_space)
    options.saving.check(dataset)
    selected = run.select(dataset)
    for notice in prove(dataset):  # all of it: a trial of a few samples would hide a list that does not fit
        tell(f"notice: {notice}")
    # Next to actors and processes, this one only needs to know what the models are.
    device, precision = (devices[0], options.precision) if local and len(devices) == 1 else ("cpu", "float32")
    segmenter = build_segmenter(run, dataset, device, precision, make_car=make_car)
    for texts in (dataset.label_space.queries, getattr(run.config, "background", ())):
        if texts:  # else each sample has its own, or there is no background
            segmenter.check_queries(texts)
    names = options.names
    if isinstance(names, Vocabulary) and names.background is not None and "background" not in run.set_by:
        tell(f"notice: names {names.name}: {options.method} has no field background; its background words are ignored")
    if isinstance(names, Vocabulary) and names.settings["synonyms"] and "synonyms" not in run.set_by:
        n_unused = sum(len(texts) - 1 for texts in names.classes.values())
        tell(
            f"notice: names {names.name}: {options.method} reads only the first text of each class; {n_unused} "
            "synonyms are ignored"
        )
    return Prepared(
        **vars(run),
        dataset=dataset,
        selected=selected,
        segmenter=segmenter,
        devices=devices,
        file_states=selected.file_states(),
    )


def build_segmenter(
    run: ResolvedRun, dataset: Dataset, device: str, precision: Precision, *, make_car: CarMaker | None = None
) -> Segmenter:
    """What segments the samples of a data set, on a device. Raises as `build`."""
    options = run.options
    if options.predictions:
        assert isinstance(run.config, PredictedConfig)
        # Those of all shards: they are parts of one run.
        return open_predictions(options.predictions, run.config, dataset[: options.limit])
    segmenter = find_method(options.method).build(
        run.config,
        weights=run.weights,
        device=device,
        task=dataset.task,
        time_limit=options.sample_timeout,
        precision=precision,
        make_car=make_car,
    )
    if isinstance(segmenter, CaR) and segmenter.cache is None and dataset.images_by_sample:
        segmenter.cache = StageCache(_MEMORY_BYTES)
    return segmenter


def require_unchanged(prepared: Prepared) -> None:
    """Raise DatasetError if the data set is not the one of the start any more: records of the two would be mixed."""
    try:
        is_changed = prepared.load_data().fingerprint != prepared.dataset.fingerprint
    except DatasetError:  # a file is gone: its sample has a record, of before or failed; only the others are compared
        before, now = prepared.file_states, prepared.selected.file_states()
        is_there = (before >= 0).all(axis=2) & (now >= 0).all(axis=2)
        is_changed = bool(((before != now).any(axis=2) & is_there).any())
    if is_changed:
        raise DatasetError(
            f"{prepared.dataset.root}: expected the files as they were at the start, found that files changed "
            "during the run; --fresh evaluates them as they are now"
        )


def carries_queries(config: Config) -> bool:
    """Whether a frame starts with the queries that survived the one before."""
    return isinstance(config, CaRConfig) and config.carry_queries
