"""What a task is made of, and the registry of tasks.

Each task is one module, such as `semantic`, that ends with `register(Task(...))`; tables, reports, the progress line
and comparisons then support it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from results import SampleRecord
from results.tables.task_words import TaskWords, register_words
from support.arrays import Float64Array

Target: TypeAlias = npt.NDArray[Any]
"""int32 labels or bool [H, W], or bool [n, H, W], by task."""
Options: TypeAlias = Mapping[str, str]
"""Scoring options of a task with their values, some or all of `Task.choices`."""
Resampler: TypeAlias = Callable[[Float64Array], Float64Array]
"""The headline figure of B resamples of n records, [B] with NaN where undefined; of weights [B, n]: how often each
record occurs, whole numbers."""


@dataclass(frozen=True)
class Predicted(Segmentation):
    """A segmentation that carries its own prediction to score. prediction: int32 labels or bool, [H, W]."""

    prediction: Target = field(kw_only=True)


class ExactSums:
    """Named sums, exact until the division at the end: the same bits in any order."""

    def __init__(self) -> None:
        self._sums: dict[str, int | Fraction] = defaultdict(int)

    def add(self, terms: Mapping[str, float]) -> None:
        """Add a finite number to each of these sums."""
        for name, term in terms.items():
            self._sums[name] += Fraction(term) if isinstance(term, float) else term

    def count(self, name: str) -> int:
        """The sum of a name to which only integers were added."""
        return int(self._sums[name])

    def ratio(self, numerator: str, denominator: str) -> float | None:
        """One sum over another, a count; None where that is 0. A sum of floats is rounded once, as by `math.fsum`."""
        above, below = self._sums[numerator], self.count(denominator)
        return ratio(float(above) if isinstance(above, Fraction) else above, below)


class Accumulator(ABC):
    """The counts of records so far, and the figures that they give.

    The state is exact, so that any order and any sharding of the records gives the same bits. Subclasses define `count`
    and `values`, and `details` and `running_figure` where they need others.

    reductions: by metric, what it averages over, in words. reasons: by metric, why it may be undefined, in words.
    """

    def __init__(self, reductions: Mapping[str, str], reasons: Mapping[str, str]) -> None:
        self.sums = ExactSums()
        self._reductions, self._reasons = reductions, reasons
        self._ids: set[str] = set()
        self._failed: list[dict[str, Any]] = []

    def add(self, record: SampleRecord) -> None:
        """Add one record.

        A failed sample whose target is known carries the counts of an empty prediction, any other one carries none.
        Raises ValueError for a repeated id, and missing or impossible counts.
        """
        if record.id in self._ids:
            raise ValueError(f"two records have the id {record.id!r}")
        self._ids.add(record.id)
        if record.status == "failed":
            self._failed.append({"id": record.id, "error": record.error, "counted_as_empty": bool(record.counts)})
        self.count(record)

    def figures(self) -> dict[str, Any]:
        """The metrics so far, JSON-ready.

        Each metric in 0..1, unrounded, or None; `reductions` (what each averages over) and `undefined` (a reason for
        every None); `n_total`, `n_scored`, `n_failed` (samples); `failed` ({id, error, counted_as_empty} each, by id);
        and the task's own details.
        """
        values = self.values()
        return {
            **values,
            "reductions": {name: self._reductions[name] for name in values},
            "undefined": {name: self._reasons[name] for name, value in values.items() if value is None},
            "n_total": len(self._ids),
            "n_scored": len(self._ids) - len(self._failed),
            "n_failed": len(self._failed),
            "failed": sorted(self._failed, key=lambda entry: entry["id"]),
            **self.details(),
        }

    def running_figure(self) -> float | None:
        """The figure of the progress line, and of one sample by itself; None while it is undefined."""
        return next(iter(self.values().values()))

    @abstractmethod
    def count(self, record: SampleRecord) -> None:
        """Add the counts of a record that `add` has checked. Raises ValueError for missing or impossible ones."""

    @abstractmethod
    def values(self) -> dict[str, float | None]:
        """The metrics by name, the headline first."""

    def details(self) -> dict[str, Any]:
        """What else belongs to the metrics: counts, figures per class or object."""
        return {}


def sample_figures(records: Sequence[SampleRecord], empty: Callable[[], Accumulator]) -> Float64Array:
    """The running figure of each single record, float64 [n]; NaN where it is undefined."""

    figures = []
    for record in records:
        single = empty()
        single.add(record)
        figure = single.running_figure()
        figures.append(math.nan if figure is None else figure)
    return np.array(figures, np.float64)


def objects_of_pair(target: Target, prediction: Target, label_space: LabelSpace) -> dict[int, str]:
    """Names by number of the objects in a target or a prediction int32 [H, W]."""
    return {label: f"object {label}" for label in labels_in_either(target, prediction)}


def labels_in_either(target: Target, prediction: Target) -> list[int]:
    """The labels in int32 [H, W] arrays, ascending, 0 left out."""
    return sorted({int(label) for array in (target, prediction) for label in np.unique(array)} - {0})


@dataclass(frozen=True)
class Task:
    """What a task is made of.

    words: its headline figure and what tables call it.
    prediction: what of a segmentation is compared with the target, int32 labels or bool, [H, W].
    without_void: the prediction as it is counted: a task may leave out the sample's void pixels.
    count: target and prediction -> the `counts` of the sample's record, JSON-ready integers.
    accumulator: an empty one.
    choices: the scoring options with their values, the default first.
    sample_figures: the running figure of each of n single records, float64 [n], where that is faster than by an
    accumulator each.
    resample: n records -> their `Resampler`; None where samples are not independent draws. `resampled_means` serves
    means over samples.
    empty: an empty prediction for a target. target_labels: a target as the labels of a prediction of it, [H, W].
    names: names by label of what a picture of both shows, background and ignored pixels left out.
    one_mask: whether all queries of a sample mean one thing, so that a method finds one mask.
    keeps_label_maps: whether predictions are also written as label maps below the run directory.
    """

    name: str
    words: TaskWords
    prediction: Callable[[Segmentation, Sample, LabelSpace], Target]
    count: Callable[[Target, Target, LabelSpace, Options], dict[str, Any]]
    accumulator: Callable[[LabelSpace, Options], Accumulator]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sample_figures: Callable[[Sequence[SampleRecord], LabelSpace, Options], Float64Array] | None = None
    resample: Callable[[Sequence[SampleRecord], LabelSpace, Options], Resampler] | None = None
    empty: Callable[[Target], Target] = np.zeros_like
    target_labels: Callable[[Target], Target] = np.asarray
    names: Callable[[Target, Target, LabelSpace], dict[int, str]] = objects_of_pair
    one_mask: bool = False
    keeps_label_maps: bool = False
    without_void: Callable[[Target, Sample, Options], Target] = lambda prediction, sample, options: prediction


def resampled_means(
    accumulator: Callable[[LabelSpace, Options], Accumulator],
) -> Callable[[Sequence[SampleRecord], LabelSpace, Options], Resampler]:
    """`Task.resample` for a headline figure that is the mean of the samples' running figures."""

    def resampler(records: Sequence[SampleRecord], space: LabelSpace, options: Options) -> Resampler:
        figures = sample_figures(records, lambda: accumulator(space, options))
        known = ~np.isnan(figures)

        def means(weights: Float64Array) -> Float64Array:
            totals, sums = weights @ known, weights @ np.where(known, figures, 0.0)
            found: Float64Array = np.divide(sums, totals, out=np.full(len(weights), np.nan), where=totals > 0)
            return found

        return means

    return resampler


TASKS: dict[str, Task] = {}
"""The registered tasks by name."""


def register(task: Task) -> None:
    """Make a task known by its name: to runs, and its words to tables and pages."""
    TASKS[task.name] = task
    register_words(task.name, task.words)


def find_task(name: str) -> Task:
    """The task of this name. Raises ValueError naming the tasks that exist."""
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; tasks: {', '.join(TASKS)}")
    return TASKS[name]


def mean(values: Sequence[float]) -> float | None:
    """Their mean; None for no values."""
    # fsum: the same bits in any order.
    return ratio(math.fsum(values), len(values))


def ratio(numerator: float, denominator: float) -> float | None:
    """Their quotient; None for a zero denominator."""
    return numerator / denominator if denominator else None
