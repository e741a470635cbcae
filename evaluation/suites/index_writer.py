"""What is reported of a suite while its runs are made: suite.json on disk, and a line for each finished run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from evaluation.request.options import RunOptions, sets_figures
from evaluation.run.identity import code_digest
from evaluation.run.runner import Run
from results import StoreError, SuiteIndex, identity_of, write_suite, write_suite_index
from results.run_directory.suite import SuiteStatus, find_suite_to_resume
from results.tables.task_words import words_of
from support.console import tell


@dataclass(frozen=True)
class RunEvent:
    """A run has begun in a folder or, with `figure`, has finished. Small, so that a pipe takes it as a whole."""

    name: str
    folder: Path
    figure: str = ""


EventHandler: TypeAlias = Callable[[RunEvent], None]


def finished_event(name: str, run: Run) -> RunEvent:
    """A finished run, with ``miou 54.3, 48 images, 0 failed, 01:12``; the time is the sum over all its starts."""
    header = run.header
    metric = words_of(header.benchmark.task).headline
    value = header.metrics[metric]
    shown = "-" if value is None else f"{100 * value:.1f}"
    spent = tqdm.format_interval(header.timings.wall_seconds)
    counts = header.counts
    return RunEvent(name, run.path, f"{metric} {shown}, {counts.n_total} images, {counts.n_failed} failed, {spent}")


class IndexWriter:
    """Writes the folder of a suite in progress; a context that marks it complete, or incomplete after an error.

    runs: the options of each run by name. has_lines: whether to print a line for each run that finishes (never in CI).
    about: the other fields of `SuiteIndex`. If the folder holds a suite of the same request, its runs are known from
    there; suite.json of another one stays until all runs have begun, as some may find other runs in their folders.
    Nothing is written before a run has begun, so that a user error leaves no folder. Raises StoreError as
    `find_suite_to_resume`.
    """

    def __init__(self, path: Path, runs: Mapping[str, RunOptions], *, has_lines: bool = False, **about: Any) -> None:
        # What the figures depend on, as far as it is known before models are loaded.
        asked = {name: {k: v for k, v in vars(options).items() if sets_figures(k)} for name, options in runs.items()}
        request = identity_of({"runs": json.dumps(asked, sort_keys=True, default=str), "code": code_digest()})
        self.path, self._index = path, SuiteIndex(runs=dict.fromkeys(runs), request=request, **about)
        self._runs, self._waits_for_all = self._index.runs, False
        if existing := find_suite_to_resume(path, self._index):
            if existing.request == request:
                self._runs = {name: existing.runs.get(name) for name in runs}
            else:
                self._waits_for_all = any(options.out and not options.fresh for options in runs.values())
        self._has_lines = has_lines and not os.environ.get("CI")
        self._finished = 0
        self._begun: set[str] = set()

    def handle(self, event: RunEvent) -> None:
        """Record what has happened to a run and report it. Figures of finished runs are in their own folders."""
        if event.figure:
            self._finished += 1
            if self._has_lines:
                tell(f"{self._finished}/{len(self._runs)} {event.name}: {event.figure}")
        else:
            self._begun.add(event.name)
            self._runs[event.name] = os.path.relpath(event.folder, self.path)
            if self._owns_folder():
                write_suite_index(self.path, self._index_now("running"))

    def handler_for(self, name: str) -> EventHandler:
        """A handler of the events of a run that has this name here."""
        return lambda event: self.handle(replace(event, name=name))

    def _index_now(self, status: SuiteStatus) -> SuiteIndex:
        return self._index.model_copy(update={"runs": self._runs, "status": status})

    def _owns_folder(self) -> bool:
        return self._begun == self._runs.keys() if self._waits_for_all else bool(self._begun)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            write_suite(self.path, self._index_now("complete"))
        elif self._owns_folder():
            with suppress(OSError, StoreError):  # report the original error, not this one
                write_suite(self.path, self._index_now("incomplete"))
