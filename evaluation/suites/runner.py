"""Suites: several benchmarks, or one under several settings, on models loaded once.

Runs of one benchmark go side by side, and what depends on none of the settings that differ is computed once.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from car_core import CaR, CaRConfig
from car_core.car import MODEL_FIELDS
from car_core.config import Precision
from car_core.engine.stage_cache import StageCache
from car_core.models.weights import load_clip
from dataset_adapters.base.sample import find_sources
from evaluation.analysis.gallery import previews
from evaluation.engines.processes import WorkerError
from evaluation.engines.signals import (
    Interrupted,
    StopRequest,
    be_pool_process,
    kill_pool,
    pass_on,
    starting_pool,
    stop_request,
)
from evaluation.request.benchmark import ALL, CAR, BenchmarkError, load_benchmark
from evaluation.request.checks import DEFAULT_RUNS
from evaluation.request.methods import METHODS, settings_by_method
from evaluation.run.identity import code_digest
from evaluation.run.prepare import RunOptions, prepare
from evaluation.run.runner import Run, run_side_by_side
from evaluation.suites.definitions import Suite, SuiteRun
from evaluation.suites.index_writer import News, SuiteBook, Tell, ignore
from results import SuiteIndex, identity_of
from results.pages.contact_sheet import Example, contact_sheet
from support.console import tell, tell_log
from support.drawing import save_picture

CONTACT_SHEET = "contact-sheet.png"
# Fields of `RunOptions` that change numbers.
_OF_FIGURES = (
    *("benchmark", "data_root", "weights", "method", "profile", "settings", "split", "places", "source", "protocol"),
    *("names", "precision", "limit", "shard"),
)
_POLL_SECONDS = 0.2  # between two looks at whether to stop
_tell_parent: Tell = ignore  # in a process of a pool: passes news on to the suite's


@dataclass(frozen=True)
class FinishedSuite:
    """A suite's folder and its finished runs by name."""

    path: Path
    runs: Mapping[str, Run]

    @property
    def all_runs(self) -> list[Run]:
        """Its runs, in order."""
        return list(self.runs.values())


Task: TypeAlias = tuple[SuiteRun, RunOptions]
Finished: TypeAlias = tuple[Run, list[Example]]


def run_suite(suite: Suite, *, out: Path | None = None, jobs: int = 1, **common: Any) -> FinishedSuite:
    """Run every benchmark of a suite, or go on with what is unfinished, and write its table and contact sheet.

    out: the suite's folder, with the runs in it by name; None: `results/runs/suite-<name>`, the runs where
    `car eval` puts them. jobs: processes that share the runs, and the processor's cores. common: further fields of
    `RunOptions`, the same for all runs. Raises as `evaluate`.
    """
    path = out or DEFAULT_RUNS / f"suite-{suite.name}"
    tasks = [(entry, _options(entry, out, jobs, common)) for entry in suite.runs]
    about = {
        "suite": suite.name,
        "title": suite.title,
        "points": {entry.name: dict(entry.point) for entry in suite.runs if entry.point is not None},
        "paper": {entry.name: entry.paper for entry in suite.runs if entry.paper is not None},
    }
    with _book(path, {entry.name: own for entry, own in tasks}, has_lines=jobs > 1, **about) as book:
        finished = dict(zip((entry.name for entry in suite.runs), _run_all(tasks, jobs, book.take), strict=True))
    sections = {name: examples for name, (_, examples) in finished.items() if examples}
    if sections:
        save_picture(contact_sheet(sections), path / CONTACT_SHEET)
    return FinishedSuite(path, {name: run for name, (run, _) in finished.items()})


def run_methods(options: RunOptions) -> FinishedSuite:
    """Run one benchmark with every method that can do its task, or go on with what is unfinished, and write one table.

    options: of all runs; ``method`` is not used, and a setting goes to the methods that have such a field. A method
    that needs a further model (ProxyCLIP's DINO) takes part where a setting names it. out: the
    suite's folder, with the runs in it; None: `results/runs/methods-<benchmark>`, the runs where `car eval` puts them.
    Each run has a process of its own, so that its memory is its own. Raises as `evaluate`.
    """
    name, asked = f"methods-{options.benchmark}", _by_method(options)
    path = options.out or DEFAULT_RUNS / name
    tasks = {each.method: (SuiteRun(benchmark=options.benchmark, variant=each.method), each) for each in asked}
    about = {"suite": name, "title": f"Methods on {options.benchmark}", "kind": "methods"}
    with _book(path, {each.method: each for each in asked}, has_lines=False, **about) as book:
        finished = {method: _in_own_process(task, book.take_as(method))[0] for method, task in tasks.items()}
    return FinishedSuite(path, finished)


def _book(path: Path, runs: Mapping[str, RunOptions], *, has_lines: bool, **about: Any) -> SuiteBook:
    """The book of runs with these options by name; about: the other fields of its `SuiteIndex`."""
    index = SuiteIndex(runs=dict.fromkeys(runs), request=_request(runs), **about)
    may_be_refused = any(own.out and not own.fresh for own in runs.values())
    return SuiteBook(path, index, has_lines=has_lines, may_be_refused=may_be_refused)


def _request(runs: Mapping[str, RunOptions]) -> str:
    """Hash of what the figures of these runs depend on, as far as it is known before their models are loaded."""
    asked = {name: {key: getattr(options, key) for key in _OF_FIGURES} for name, options in runs.items()}
    return identity_of({"runs": json.dumps(asked, sort_keys=True, default=str), "code": code_digest()})


def _by_method(options: RunOptions) -> list[RunOptions]:
    """The options of a run with each method.

    Raises before any work: BenchmarkError for what one of them refuses, ModelError for a further model that cannot be
    had. The CLIP models are those of the first run, which finds out about them.
    """
    benchmark = load_benchmark(options.benchmark)
    task = find_sources(benchmark.adapter)[0].task
    able = [
        method
        for method in METHODS.values()
        if task in method.tasks and (not method.asks or method.asks & options.settings.keys())
    ]
    if len(able) < 2:
        raise BenchmarkError(f"--method {ALL}: expected a benchmark of a task that all can do, found {task}")
    settings, runs = settings_by_method(options.settings), []
    for method in able:
        profile = options.profile if method.name == CAR else None
        config, _ = method.resolve(benchmark, task, profile, settings[method.name])
        method.check_precision(options.precision)
        if method.load_asked:
            method.load_asked(config)
        out = options.out / method.name if options.out else None
        runs.append(replace(options, method=method.name, profile=profile, settings=settings[method.name], out=out))
    return runs


def _in_own_process(task: Task, take: Tell = ignore) -> Finished:
    [[finished]] = _run_in_processes([[task]], 1, take)
    return finished


def _options(entry: SuiteRun, out: Path | None, jobs: int, common: Mapping[str, Any]) -> RunOptions:
    folder = out / entry.name if out else None
    own = {"live": True, "refine_workers": None, **common}
    if jobs > 1:  # their live lines would write over each other, and the cores are taken
        own |= {"live": False, "refine_workers": own["refine_workers"] or 0}
    return RunOptions(entry.benchmark, settings=entry.settings, out=folder, **own)


def _run_all(tasks: Sequence[Task], jobs: int, take: Tell) -> list[Finished]:
    """What each task gives, in order; one process for all, or a pool. take: gets what happens to the runs."""
    groups = _groups(tasks, jobs)
    if jobs == 1:
        models = Models()
        found = [_run_group([tasks[i] for i in group], models, take) for group in groups]
    else:
        found = _run_in_processes([[tasks[i] for i in group] for group in groups], jobs, take)
    by_place = {
        i: own for group, results in zip(groups, found, strict=True) for i, own in zip(group, results, strict=True)
    }
    return [by_place[i] for i in range(len(tasks))]


def _groups(tasks: Sequence[Task], jobs: int) -> list[list[int]]:
    """Places of the tasks that go side by side: those of one benchmark, in as many parts as there are jobs."""
    by_benchmark: dict[str, list[int]] = defaultdict(list)
    for i, (entry, _) in enumerate(tasks):
        by_benchmark[entry.benchmark].append(i)
    parts = (np.array_split(group, min(jobs, len(group))) for group in by_benchmark.values())
    return [part.tolist() for group in parts for part in group]


def _run_in_processes(groups: Sequence[Sequence[Task]], jobs: int, take: Tell) -> list[list[Finished]]:
    """What each group gives, in order. One that fails, and a signal, end the others after their samples at hand.

    take: gets what happens to the runs; where it fails, they end as well. Raises what failed first, or Interrupted.
    """
    failure, spawn = None, get_context("spawn")
    news: SimpleQueue[News] = spawn.SimpleQueue()
    with stop_request() as stop:
        with ProcessPoolExecutor(jobs, spawn, initializer=_start_process, initargs=(jobs, news)) as pool:
            with starting_pool():
                futures = [pool.submit(_run_group, group) for group in groups]
            with suppress(Interrupted):
                failure = _first_failure(futures, stop, news, take)
            if failure or stop.asked:
                _end_early(futures, news, take)
        stop.raise_if_asked()
    if isinstance(failure, BrokenProcessPool):
        raise WorkerError(f"jobs: a process of the suite died ({failure}); finished samples are kept") from None
    if failure:
        raise failure
    return [future.result() for future in futures]


def _first_failure(
    futures: Sequence[Future[list[Finished]]], stop: StopRequest, news: SimpleQueue[News], take: Tell
) -> BaseException | None:
    """Wait for the groups: an error as soon as there is one, None once all are done or a signal asks for an end."""
    try:
        for done in _as_they_end(futures, news, take):
            if stop.asked:
                break
            for future in done:
                if failure := future.exception():
                    return failure
    except Exception as error:  # of `take`, e.g. of a full disk
        return error
    return None


def _as_they_end(
    futures: Iterable[Future[list[Finished]]], news: SimpleQueue[News], take: Tell
) -> Iterator[set[Future[list[Finished]]]]:
    """Those that have ended since the last look, several times a second until all have; passes on what they tell."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
        while not news.empty():
            take(news.get())
        yield done


def _end_early(futures: Sequence[Future[list[Finished]]], news: SimpleQueue[News], take: Tell) -> None:
    """Let no further group begin and the others end after their samples at hand; further signals hurry them."""

    def try_to_take(own: News) -> None:
        with suppress(Exception):  # what ended the suite is what is told
            take(own)

    begun = [future for future in futures if not future.cancel()]
    for ask in (pass_on, pass_on, kill_pool):
        ask()
        with suppress(Interrupted):
            for _ in _as_they_end(begun, news, try_to_take):
                pass
            break


def _start_process(jobs: int, news: SimpleQueue[News]) -> None:
    global _tell_parent
    _tell_parent = news.put
    be_pool_process()
    tell_log()
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


class Models:
    """CaR under any configuration, on models that are loaded once and remember the stages of the images at hand.

    remember: whether those made from now on do; runs that go alone have no use for it.
    """

    def __init__(self) -> None:
        self.remember = True
        self._load = functools.cache(load_clip)
        self._memory = StageCache()  # one for all, so that it is bounded
        self._made: dict[Hashable, CaR] = {}

    def make(self, config: CaRConfig, *, weights: Mapping[str, str], device: str, precision: Precision) -> CaR:
        """As `CaR.from_config` does."""
        key = (tuple(weights.items()), device, precision, *(getattr(config, name) for name in MODEL_FIELDS))
        if key not in self._made:
            self._made[key] = CaR.from_config(
                config, weights=weights, device=device, load=self._load, precision=precision
            )
            self._made[key].cache = self._memory
        car = self._made[key].with_config(config)
        if not self.remember:
            car.cache = None
        return car


def _run_group(tasks: Sequence[Task], models: Models | None = None, take: Tell | None = None) -> list[Finished]:
    models, take = models or Models(), take or _tell_parent
    models.remember = len(tasks) > 1
    names = [entry.name for entry, _ in tasks]
    with stop_request() as stop:
        prepared = []
        for entry, options in tasks:
            stop.raise_if_asked()
            tell(entry.name)
            prepared.append(prepare(options, make_car=models.make))
        stop.raise_if_asked()
        runs = run_side_by_side(
            prepared,
            on_finish=lambda i, run: take(News.of_finished(names[i], run)),
            on_start=lambda i: take(News(names[i], prepared[i].folder)),
        )
        return [
            (run, previews(own, entry.pictures, before_each=stop.raise_if_asked))
            for run, own, (entry, _) in zip(runs, prepared, tasks, strict=True)
        ]
