"""One figure a sample, and the headline figure of resamples, for tasks whose headline is a mean over samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evaluation.tasks.records import Record

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class RunningFigure(Protocol):
    """A headline figure that grows with the records; `figure` is None while it is undefined."""

    name: str

    def add(self, record: Record) -> None: ...
    def figure(self) -> float | None: ...


def sample_figures(records: Sequence[Record], start: Callable[[], RunningFigure]) -> FloatArray:
    """The headline figure of each record alone, float64 [n]; NaN where it is undefined. start: an empty figure."""
    return np.array([_figure_of(record, start()) for record in records], np.float64)


def resampled_means(running: Callable[..., RunningFigure]) -> Callable[..., FloatArray]:
    """What `TaskMetrics.resampled_figures` wants, for a headline figure that is a mean over samples."""

    def resampled(records: Sequence[Record], weights: IntArray, **options: Any) -> FloatArray:
        figures = sample_figures(records, lambda: running(**options))
        known = ~np.isnan(figures)
        totals, sums = weights @ known, weights @ np.where(known, figures, 0.0)
        means: FloatArray = np.divide(sums, totals, out=np.full(len(weights), np.nan), where=totals > 0)
        return means

    return resampled


def _figure_of(record: Record, running: RunningFigure) -> float:
    running.add(record)
    figure = running.figure()
    return np.nan if figure is None else figure
