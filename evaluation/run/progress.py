"""The progress of a run: samples, images per second, time left, running figure, failures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable

from tqdm import tqdm

from evaluation.tasks.scorer import Scorer
from results import SampleRecord
from results.run_directory.found import bytes_in
from support.console import is_terminal, tell
from support.text import duration, mebibytes

_SECONDS_BETWEEN_LINES = 60.0
_SECONDS_MEASURED = 10.0  # before a long run says how long it will take
_TRIAL = 100


class Progress:
    """A live line on standard error; where that is not a terminal, as in a job's log, one plain line per minute.

    name: of the run, shown before each plain line, because a sweep has several. label: what it does, shown before the
    live line. quiet: neither. live: whether a terminal has the live line; it too has plain ones where several processes
    would write over each other's. Where the environment variable CI is set there are no plain lines. A run that will
    take more than a minute says so once, with the size of its folder. clock: monotonic seconds.
    """

    def __init__(
        self,
        total: int,
        scorer: Scorer,
        finished: Iterable[SampleRecord],
        *,
        name: str,
        quiet: bool,
        live: bool = True,
        label: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accumulator, self._words = scorer.accumulator(), scorer.words
        self.running: dict[str, float] = {}
        """After a record: done, failed, and running_<headline metric> in 0..1 where it is defined."""
        self._failed = self._added = 0
        done = list(finished)
        for record in done:
            self._accumulator.add(record)
        is_live = live and is_terminal(sys.stderr)
        self._name, self._total, self._finished, self._clock = name, total, len(done), clock
        self._start = self._last_line = clock()
        self._first: tuple[float, int] | None = None
        self._folder, self._is_forecast = scorer.folder, quiet or bool(os.environ.get("CI"))
        self._has_lines = not (quiet or is_live or os.environ.get("CI"))
        self._bar = tqdm(
            total=total, initial=len(done), desc=label, unit="image", disable=quiet or not is_live, dynamic_ncols=True
        )

    def add(self, record: SampleRecord) -> None:
        """Count a record in and refresh the line, or print the next one where it is time."""
        self._accumulator.add(record)
        self._added += 1
        self._failed += record.status == "failed"
        figure = self._accumulator.running_figure()
        shown = "-" if figure is None else f"{100 * figure:.1f}"
        self.running = {"done": self._finished + self._added, "failed": self._failed}
        if figure is not None:
            self.running[f"running_{self._words.headline}"] = float(figure)
        failed = {"failed": self._failed} if self._failed else {}
        self._bar.set_postfix({self._words.heading: shown, **failed}, refresh=False)
        self._bar.update()
        # Once: how long the run will take and how large its folder will be, from the samples after the first ones:
        # those also wait for the texts.
        now, done = self._clock(), self._finished + self._added
        if self._first is None or now - self._first[0] < 1:
            self._first = (self._first[0] if self._first else now, self._added)  # a batch arrives at once
        seconds, n_measured = now - self._first[0], self._added - self._first[1]
        if not self._is_forecast and seconds >= _SECONDS_MEASURED:
            self._is_forecast = True
            if (left := seconds / n_measured * (self._total - done)) > _SECONDS_BETWEEN_LINES:
                size = bytes_in(self._folder) * self._total / done if self._folder else 0
                self._bar.clear()
                tell(
                    f"{self._name}: about {duration(left)} for {self._total - done} images, {mebibytes(size)} on disk"
                    + (f"; --limit {_TRIAL} for a trial" if self._total > 2 * _TRIAL else "")
                )
        if self._has_lines and self._clock() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = self._clock()
            pace = self._added / (self._last_line - self._start)
            eta = tqdm.format_interval((self._total - done) / pace)
            tell(
                f"{self._name}: {done}/{self._total} images, {pace:.3g} images/s, ETA {eta}, "
                f"{self._words.heading} {shown}, {self._failed} failed"
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
