"""Suites: several benchmarks, or one under several settings, on models loaded once.

Runs of one benchmark go side by side, so that whatever does not depend on their differing settings is computed once.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from car_core import CaR, CaRConfig
from car_core.car import MODEL_FIELDS
from car_core.engine.device import as_devices, device_of_each
from car_core.engine.stage_cache import StageCache
from car_core.models.weights import load_clip
from car_core.names import AUTO
from dataset_adapters.base.adapter import find_sources
from evaluation.analysis.drawn_samples import previews
from evaluation.engines.children import Child, messages
from evaluation.engines.refining import default_workers
from evaluation.engines.signals import Interrupted, stop_request
from evaluation.engines.worker_pool import JOIN_SECONDS, WorkerError, end_if_starting
from evaluation.request.benchmark import BenchmarkError, load_benchmark
from evaluation.request.methods import able_methods, settings_by_method
from evaluation.request.options import ALL, CAR, DEFAULT_RUNS, RunOptions
from evaluation.run.prepare import prepare
from evaluation.run.runner import Run, run_side_by_side
from evaluation.suites.definitions import Suite, SuiteRun
from evaluation.suites.index_writer import EventHandler, IndexWriter, RunEvent, finished_event
from results import identity_of
from results.pages.contact_sheet import Example, contact_sheet
from support.choices import Precision
from support.console import tell
from support.drawing import save_picture
from support.files import expanded

CONTACT_SHEET = "contact-sheet.png"


@dataclass(frozen=True)
class FinishedSuite:
    """A suite's folder and its finished runs by name."""

    path: Path
    runs: Mapping[str, Run]

    @property
    def all_runs(self) -> list[Run]:
        return list(self.runs.values())


Job: TypeAlias = tuple[SuiteRun, RunOptions]
Finished: TypeAlias = tuple[Run, list[Example]]
GroupWork: TypeAlias = Callable[[EventHandler, Sequence[Job]], list[Finished]]


class Models:
    """CaR under any configuration, on models that are loaded once and cache the stages of the current images.

    remember: whether segmenters made from now on share that cache, which is of no use to a single run.
    """

    def __init__(self) -> None:
        self.remember = True
        self._load = functools.cache(load_clip)
        self._cache = StageCache()  # one for all, so that it is bounded
        self._made: dict[Hashable, CaR] = {}

    def make(self, config: CaRConfig, *, weights: Mapping[str, str], device: str, precision: Precision) -> CaR:
        """As `CaR.from_config` does."""
        key = (tuple(weights.items()), device, precision, *(getattr(config, name) for name in MODEL_FIELDS))
        if key not in self._made:
            self._made[key] = CaR.from_config(
                config, weights=weights, device=device, load=self._load, precision=precision
            )
            self._made[key].cache = self._cache
        car = self._made[key].with_config(config)
        if not self.remember:
            car.cache = None
        return car


def run_group(handle: EventHandler, jobs: Sequence[Job], models: Models | None = None) -> list[Finished]:
    """Run side by side what shares a benchmark. models: None for new ones, as in a child process."""
    models = models or Models()
    models.remember = len(jobs) > 1
    names = [entry.name for entry, _ in jobs]
    with stop_request() as stop:
        prepared = []
        for entry, options in jobs:
            stop.raise_if_asked()
            tell(entry.name)
            prepared.append(prepare(options, make_car=models.make))
        stop.raise_if_asked()
        runs = run_side_by_side(
            prepared,
            on_finish=lambda i, run: handle(finished_event(names[i], run)),
            on_start=lambda i: handle(RunEvent(names[i], prepared[i].folder)),
        )
        return [
            (run, previews(own, entry.pictures, before_each=stop.raise_if_asked))
            for run, own, (entry, _) in zip(runs, prepared, jobs, strict=True)
        ]


def run_suite(suite: Suite, *, out: str | Path | None = None, jobs: int | None = None, **common: Any) -> FinishedSuite:
    """Run every benchmark of a suite, or resume what is unfinished, and write its table and contact sheet.

    out: the suite's folder, with the runs in it by name; None: `results/runs/suite-<name>`, with the runs where
    `car eval` puts them. jobs: processes that share the runs, and the processor's cores; None for one per device.
    common: further fields of `RunOptions`, the same for all runs. Raises as `evaluate`.
    """
    end_if_starting()
    devices, runs = shared_out(suite, jobs, out=out, **common)
    jobs = len(devices)
    # CaR's runs of one benchmark go side by side, in as many groups as there are jobs; those of baselines, which share
    # nothing, run by themselves.
    indices: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, entry in enumerate(suite.runs):
        indices[(entry.benchmark,) if runs[i].method == CAR else (entry.name, runs[i].method)].append(i)
    order = [part.tolist() for own in indices.values() for part in np.array_split(own, min(jobs, len(own)))]
    groups = [[(suite.runs[i], runs[i]) for i in group] for group in order]
    with suite_writer(suite, runs, out=out, has_lines=jobs > 1) as writer:
        if jobs == 1:
            models = Models()
            results = [run_group(writer.handle, group, models) for group in groups]
        else:
            results = run_in_children(groups, devices, writer.handle)
    by_index = dict(zip(itertools.chain(*order), itertools.chain(*results), strict=True))
    finished = {entry.name: by_index[i] for i, entry in enumerate(suite.runs)}
    sections = {name: examples for name, (_, examples) in finished.items() if examples}
    if sections:
        save_picture(contact_sheet(sections), writer.path / CONTACT_SHEET)
    return FinishedSuite(writer.path, {name: run for name, (run, _) in finished.items()})


def suite_writer(
    suite: Suite, runs: Sequence[RunOptions], *, out: str | Path | None, has_lines: bool = False
) -> IndexWriter:
    """The writer of a suite's folder. runs: the options of its runs. Raises StoreError for a folder of others."""
    return IndexWriter(
        expanded(out) if out else DEFAULT_RUNS / f"suite-{suite.name}",
        {entry.name: options for entry, options in zip(suite.runs, runs, strict=True)},
        has_lines=has_lines,
        suite=suite.name,
        title=suite.title,
        kind=suite.kind,
        points={entry.name: dict(entry.point) for entry in suite.runs if entry.point is not None},
        paper={entry.name: entry.paper for entry in suite.runs if entry.paper is not None},
    )


def shared_out(suite: Suite, jobs: int | None, **common: Any) -> tuple[list[str], list[RunOptions]]:
    """The device of each process that shares the runs of a suite, and the options of the runs.

    jobs, common: as for `run_suite`. Raises ModelError.
    """
    device = common.get("device", RunOptions.device)
    devices = device_of_each([device] if device == AUTO else as_devices(device), jobs, "jobs")
    if len(devices) > 1:
        common["live"] = False  # lines of several processes would overwrite each other
        if common.get("refine_workers") is None:
            common["refine_workers"] = default_workers(len(devices))
    return devices, suite.options(**common)


def run_methods(options: RunOptions) -> FinishedSuite:
    """Run one benchmark with every method that can do its task, or resume what is unfinished, and write one table.

    options: of all runs; a setting goes to the methods that have such a field. ``method``: names with commas between
    them; `all` stands for CaR and the baselines, of which one that needs further models (ProxyCLIP's DINO) takes part
    if settings name them. Without `out` the suite's folder is `results/runs/methods-<benchmark>`, with a hash of the
    names unless they are `all`, and with the runs where `car eval` puts them. Each run has its own process, so that
    memory is measured separately. Raises as `evaluate`.
    """
    end_if_starting()
    benchmark, runs, finished = load_benchmark(options.benchmark), options_by_method(options), dict[str, Run]()
    with methods_writer(options, runs) as writer:
        for method, own in runs.items():
            job = SuiteRun(benchmark=benchmark.file or benchmark.name, variant=method), own
            [[(finished[method], _)]] = run_in_children([[job]], [own.device], writer.handler_for(method))
    return FinishedSuite(writer.path, finished)


def methods_writer(options: RunOptions, runs: Mapping[str, RunOptions]) -> IndexWriter:
    """The writer of the folder of several methods. runs: as of `options_by_method`. Raises as `suite_writer`."""
    benchmark = load_benchmark(options.benchmark).name
    suffix = "" if options.method == ALL else f"-{identity_of(dict.fromkeys(runs))[:8]}"
    name, title = f"methods-{benchmark}{suffix}", f"Methods on {benchmark}"
    return IndexWriter(options.out or DEFAULT_RUNS / name, runs, suite=name, title=title, kind="methods")


def options_by_method(options: RunOptions) -> dict[str, RunOptions]:
    """The options of a run with each method, by its name.

    Raises before any work: BenchmarkError for what one of them refuses, ModelError for a further model that is not
    available. CLIP weights are the same for all, so the first run finds out about them.
    """
    benchmark = load_benchmark(options.benchmark)
    task = find_sources(benchmark.adapter)[0].task
    able = able_methods(options.method, task, options.settings)
    if len(able) < 2:
        raise BenchmarkError(f"method: {options.method}: expected a benchmark of a task that two can do, found {task}")
    settings, runs = settings_by_method(options.settings, able.values()), {}
    for asked, method in able.items():
        profile = options.profile if method.name == CAR else None
        config, _ = method.resolve(benchmark, task, profile, settings[method.name])
        method.check_precision(options.precision)
        if method.baseline:
            method.baseline.load_extra_models(config)
        out = options.out / method.name if options.out else None
        own, weights = settings[method.name], options.weights if method.roles else None
        runs[method.name] = replace(options, method=asked, profile=profile, settings=own, weights=weights, out=out)
    return runs


def run_in_children(
    groups: Sequence[Sequence[Job]], devices: Sequence[str], handle: EventHandler, work: GroupWork = run_group
) -> list[list[Finished]]:
    """The results of each group, in order; each has a child process, and one per entry of `devices` is at work there.

    A failing group, or a signal, ends the others after their current samples; a second signal at once, and a third one
    kills them. handle: gets the events of the runs; if it fails, they end as well. work: in each process. Raises the
    first failure, or Interrupted.
    """
    threads = max(1, torch.get_num_threads() // len(devices))
    waiting, running, idle = deque(enumerate(groups)), dict[Child, tuple[int, str]](), deque(devices)
    results, failures = dict[int, list[Finished]](), list[BaseException]()

    def listen() -> None:
        for child, message in messages(running):
            if isinstance(message, RunEvent):
                try:
                    handle(message)
                except Exception as error:  # e.g. a full disk
                    failures.append(error)
            elif isinstance(message, BaseException):
                failures.append(message)
            elif message is not None:
                results[running[child][0]] = message
            else:
                how = child.end(patience=JOIN_SECONDS).removeprefix("its process ")
                index, device = running.pop(child)
                idle.append(device)
                if index not in results:
                    failures.append(WorkerError(f"jobs: a process of the suite {how}; finished samples are kept"))

    with stop_request() as stop:
        try:
            with suppress(Interrupted):
                while (waiting or running) and not (failures or stop.asked):
                    while waiting and idle:
                        (index, group), device = waiting.popleft(), idle.popleft()
                        there = [(entry, replace(options, device=device)) for entry, options in group]
                        running[Child(work, there, threads=threads)] = index, device
                    listen()
            for ask in (Child.ask_to_stop, Child.ask_to_stop, lambda child: child.process.kill()):
                with suppress(Interrupted):
                    for child in running:
                        ask(child)
                    while running:
                        listen()
                    break
        finally:
            for child in running:
                child.end()
        stop.raise_if_asked()
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(groups))]
