"""The live line of a run: samples, images a second, time left, running figure, failures."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType

from tqdm import tqdm

from evaluation.scorer import Scorer
from results import SampleRecord


class Progress:
    """A tqdm line on standard error; quiet where that is no terminal, or on request."""

    def __init__(self, total: int, scorer: Scorer, finished: Iterable[SampleRecord], *, quiet: bool) -> None:
        self._running = scorer.running()
        self._failed = 0
        done = list(finished)
        for record in done:
            self._running.add(record)
        self._bar = tqdm(
            total=total, initial=len(done), unit="image", disable=quiet or not sys.stderr.isatty(), dynamic_ncols=True
        )

    def add(self, record: SampleRecord) -> None:
        """Count a record in and refresh the line."""
        self._running.add(record)
        self._failed += record.status == "failed"
        figure = self._running.figure()
        shown = {self._running.name: "-" if figure is None else f"{100 * figure:.1f}"}
        self._bar.set_postfix({**shown, **({"failed": self._failed} if self._failed else {})}, refresh=False)
        self._bar.update()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
