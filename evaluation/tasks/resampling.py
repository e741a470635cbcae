"""One figure a sample, and the headline figure of resamples, for tasks whose headline is a mean over samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from evaluation.tasks.records import Record
from support.arrays import Float64Array, Int64Array


class RunningFigure(Protocol):
    """A headline figure that grows with the records; `figure` is None while it is undefined."""

    name: str

    def add(self, record: Record) -> None: ...
    def figure(self) -> float | None: ...


def sample_figures(records: Sequence[Record], start: Callable[[], RunningFigure]) -> Float64Array:
    """The headline figure of each record alone, float64 [n]; NaN where it is undefined. start: an empty figure."""
    return np.array([_figure_of(record, start()) for record in records], np.float64)


def resampled_means(running: Callable[..., RunningFigure]) -> Callable[..., Float64Array]:
    """What `TaskMetrics.resampled_figures` wants, for a headline figure that is a mean over samples."""

    def resampled(records: Sequence[Record], weights: Int64Array, **options: Any) -> Float64Array:
        figures = sample_figures(records, lambda: running(**options))
        known = ~np.isnan(figures)
        totals, sums = weights @ known, weights @ np.where(known, figures, 0.0)
        means: Float64Array = np.divide(sums, totals, out=np.full(len(weights), np.nan), where=totals > 0)
        return means

    return resampled


def _figure_of(record: Record, running: RunningFigure) -> float:
    running.add(record)
    figure = running.figure()
    return np.nan if figure is None else figure
