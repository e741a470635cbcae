"""What is told of a suite while its runs are made: suite.json on disk, and a line for each finished run."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from tqdm import tqdm

from evaluation.run.runner import Run
from results import StoreError, SuiteIndex, is_suite, read_suite_index, write_suite, write_suite_index
from results.run_directory.suite import SuiteStatus
from results.tables.task_words import words_of
from support.console import tell


@dataclass(frozen=True)
class News:
    """A run has begun in a folder; with `figure`, it is finished. Small, so that a pipe takes it as a whole."""

    name: str
    folder: Path
    figure: str = ""

    @classmethod
    def of_finished(cls, name: str, run: Run) -> News:
        """A finished run's."""
        return cls(name, run.path, _figure(run))


Tell: TypeAlias = Callable[[News], None]


def ignore(news: News) -> None:
    """Where nobody asks what happens to a run."""


def _figure(run: Run) -> str:
    """``miou 54.3, 48 images, 0 failed, 01:12``; the time is the run's own, over all its starts."""
    header = run.header
    metric = words_of(header.benchmark.task).headline
    value = header.metrics[metric]
    shown = "-" if value is None else f"{100 * value:.1f}"
    spent = tqdm.format_interval(header.timings.wall_seconds)
    return f"{metric} {shown}, {header.counts.n_total} images, {header.counts.n_failed} failed, {spent}"


class SuiteBook:
    """The folder of a suite at work; a context that closes it as complete, or as incomplete where an error ends it.

    index: suite.json with no run begun; where the one there is of the same request, the runs begun before are known
    from it. has_lines: whether a line is printed for each run that finishes; in CI there is none. may_be_refused:
    whether runs may find others in their folders; the suite.json of another request then stays until all have begun.
    Nothing is written before a run has begun, so that a mistake of the user's leaves no folder.
    """

    def __init__(self, path: Path, index: SuiteIndex, *, has_lines: bool, may_be_refused: bool = False) -> None:
        self.path, self._index = path, index
        before = _runs_before(path, index.request)
        self._runs = {name: (before or {}).get(name) for name in index.runs}
        self._waits_for_all = may_be_refused and before is None and is_suite(path)
        self._has_lines = has_lines and not os.environ.get("CI")
        self._finished = 0
        self._begun: set[str] = set()

    def take(self, news: News) -> None:
        """Keep what has happened to a run, and tell it. What is finished stands in the runs' own files."""
        if news.figure:
            self._finished += 1
            if self._has_lines:
                tell(f"{self._finished}/{len(self._runs)} {news.name}: {news.figure}")
        else:
            self._begun.add(news.name)
            self._runs[news.name] = os.path.relpath(news.folder, self.path)
            if self._is_ours():
                write_suite_index(self.path, self._index_now("running"))

    def take_as(self, name: str) -> Tell:
        """What takes the news of a run that goes by this name here."""
        return lambda news: self.take(replace(news, name=name))

    def _index_now(self, status: SuiteStatus) -> SuiteIndex:
        return self._index.model_copy(update={"runs": self._runs, "status": status})

    def _is_ours(self) -> bool:
        """Whether the folder is this suite's to write to."""
        return self._begun == self._runs.keys() if self._waits_for_all else bool(self._begun)

    def __enter__(self) -> SuiteBook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            write_suite(self.path, self._index_now("complete"))
        elif self._is_ours():
            with suppress(OSError, StoreError):  # what ended the suite is what is told
                write_suite(self.path, self._index_now("incomplete"))


def _runs_before(path: Path, request: str | None) -> dict[str, str | None] | None:
    """The runs of the suite in a folder, where it is of this request; None where another or none is there."""
    with suppress(StoreError):
        found = read_suite_index(path)
        if found.request == request:
            return found.runs
    return None
