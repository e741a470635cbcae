"""What is told of a suite while its runs are made: suite.json on disk, and a line for each finished run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from tqdm import tqdm

from evaluation.metrics import metrics_for
from evaluation.runner import Run
from evaluation.telling import tell
from results import StoreError, write_suite, write_suite_index


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
    metric = metrics_for(header.benchmark.task).headline
    value = header.metrics[metric]
    shown = "-" if value is None else f"{100 * value:.1f}"
    spent = tqdm.format_interval(header.timings.wall_seconds)
    return f"{metric} {shown}, {header.counts.n_total} images, {header.counts.n_failed} failed, {spent}"


class SuiteBook:
    """The folder of a suite at work; a context that closes it as complete, or as incomplete where an error ends it.

    folders: of the runs by name, None where it is known only once the run has begun. index: further arguments of
    `write_suite`. has_lines: whether a line is printed for each run that finishes; in CI there is none.
    Nothing is written before the first run begins, so that a mistake of the user's leaves no folder.
    """

    def __init__(self, path: Path, folders: Mapping[str, Path | None], *, has_lines: bool, **index: Any) -> None:
        self.path, self._folders, self._index = path, dict(folders), index
        self._has_lines = has_lines and not os.environ.get("CI")
        self._finished = 0
        self._begun = False

    def take(self, news: News) -> None:
        """Keep what has happened to a run, and tell it. What is finished stands in the runs' own files."""
        if news.figure:
            self._finished += 1
            if self._has_lines:
                tell(f"{self._finished}/{len(self._folders)} {news.name}: {news.figure}")
        else:
            self._begun = True
            self._folders[news.name] = news.folder
            write_suite_index(self.path, runs=self._folders, status="running", **self._index)

    def take_as(self, name: str) -> Tell:
        """What takes the news of a run that goes by this name here."""
        return lambda news: self.take(replace(news, name=name))

    def __enter__(self) -> SuiteBook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            write_suite(self.path, runs=self._folders, **self._index)
        elif self._begun:
            with suppress(OSError, StoreError):  # what ended the suite is what is told
                write_suite(self.path, runs=self._folders, status="incomplete", **self._index)
