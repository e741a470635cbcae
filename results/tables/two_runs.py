"""What two runs differ in, as data and as tables. Figures are in 0..1, unrounded; a difference is B minus A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from results.run_directory.schema import RunHeader
from results.tables.columns import METHOD, REMARKS, make_table, to_percent
from results.tables.render import Column, Table
from results.tables.run_notes import failures, method_label, remarks
from support.text import counted

MAX_ROWS = 15
"""Classes, and samples, that the tables show; `as_dict` has them all."""


@dataclass(frozen=True)
class Change:
    """One figure of both runs. name: of the metric, the class or the sample."""

    name: str
    figure_a: float | None
    figure_b: float | None

    @property
    def difference(self) -> float | None:
        """B minus A; None where either is undefined."""
        return None if self.figure_a is None or self.figure_b is None else self.figure_b - self.figure_a

    def as_dict(self) -> dict[str, Any]:
        """The fields and the difference."""
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True)
class SampleChange(Change):
    """A sample's own figure in both runs, with the queries that survived, and whether it failed."""

    kept_a: tuple[str, ...] = ()
    kept_b: tuple[str, ...] = ()
    status_a: str = "ok"
    status_b: str = "ok"


@dataclass(frozen=True)
class SwitchChange:
    """A value that the runs differ in, as shown."""

    name: str
    value_a: str
    value_b: str


@dataclass(frozen=True)
class Interval:
    """A paired percentile bootstrap interval of the headline figure's difference.

    low, high: in -1..1. level: its coverage. resamples: number of draws that gave a figure. seed: of the draws.
    """

    low: float
    high: float
    level: float
    resamples: int
    seed: int

    @property
    def contains_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class RunComparison:
    """Run B against run A, over the samples that both have a record of.

    names: the directories. n_only: samples with a record in only one run. headline: the metric that decides. metrics,
    classes, samples: figures of both; classes and samples by decreasing change, without unchanged samples. interval:
    None where it is undefined. switches: everything that differs in the request.
    """

    names: tuple[str, str]
    headers: tuple[RunHeader, RunHeader]
    n_common: int
    n_only: tuple[int, int]
    headline: str
    metrics: tuple[Change, ...]
    interval: Interval | None
    classes: tuple[Change, ...]
    samples: tuple[SampleChange, ...]
    switches: tuple[SwitchChange, ...]

    @property
    def headline_change(self) -> Change:
        """The headline figure of both runs."""
        return next(change for change in self.metrics if change.name == self.headline)

    def is_below(self, percent_points: float) -> bool:
        """Whether the headline figure changed by less than this, or the change is undefined."""
        difference = self.headline_change.difference
        return difference is None or 100 * difference < percent_points

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        sides = [
            {"run": name, "identity": header.identity, "method": method_label(header), "remarks": remarks(header)}
            for name, header in zip(self.names, self.headers, strict=True)
        ]
        return {
            "a": sides[0],
            "b": sides[1],
            "n_common": self.n_common,
            "n_only": list(self.n_only),
            "headline": self.headline,
            "interval": None if self.interval is None else asdict(self.interval),
            "metrics": [change.as_dict() for change in self.metrics],
            "classes": [change.as_dict() for change in self.classes],
            "samples": [change.as_dict() for change in self.samples],
            "switches": [asdict(change) for change in self.switches],
        }


_FIGURES = (
    Column("a", "A %", "percent"),
    Column("b", "B %", "percent"),
    Column("difference", "B - A", "difference"),
)


def comparison_tables(comparison: RunComparison) -> list[Table]:
    """The comparison for readers: runs, metrics, classes, samples, switches; an empty one where nothing differs."""
    changed_classes = [change for change in comparison.classes if change.difference]
    switch_columns = (Column("name", "switch"), Column("value_a", "A"), Column("value_b", "B"))
    return [
        _runs(comparison),
        _changes("Metrics", "metric", comparison.metrics, notes=(_interval_note(comparison),)),
        _changes("Classes that changed most", "class", changed_classes),
        _samples(comparison),
        make_table("What differs", switch_columns, [asdict(change) for change in comparison.switches]),
    ]


def _runs(comparison: RunComparison) -> Table:
    columns = (Column("side", ""), Column("run", "run"), METHOD, REMARKS)
    rows = [
        {
            "side": side,
            "run": name,
            "method": f"{header.benchmark.name}: {method_label(header)}",
            "remarks": "; ".join(filter(None, [remarks(header), failures(header)])),
        }
        for side, name, header in zip("AB", comparison.names, comparison.headers, strict=True)
    ]
    notes = [f"compared on {counted(comparison.n_common, 'common sample')}"]
    only = zip("AB", comparison.n_only, strict=True)
    notes += [f"left out: {counted(n, 'sample')} of {side} only" for side, n in only if n]
    return make_table("Runs", columns, rows, notes)


def _interval_note(comparison: RunComparison) -> str:
    interval = comparison.interval
    if interval is None:
        return f"{comparison.headline}: no interval (fewer than two samples, or samples that depend on each other)"
    verdict = "contains 0" if interval.contains_zero else "does not contain 0"
    return (
        f"{comparison.headline}, B - A: {100 * interval.level:.0f} % interval "
        f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}, {verdict} (paired bootstrap over samples, "
        f"{interval.resamples} resamples, seed {interval.seed})"
    )


def _changes(title: str, what: str, changes: Sequence[Change], *, notes: tuple[str, ...] = ()) -> Table:
    rows = [{"name": change.name, **_figures(change)} for change in changes[:MAX_ROWS]]
    more = len(changes) - len(rows)
    return make_table(title, (Column("name", what), *_FIGURES), rows, (*notes, *([f"and {more} more"] if more else [])))


def _samples(comparison: RunComparison) -> Table:
    def kept(queries: tuple[str, ...], status: str) -> str:
        return "failed" if status == "failed" else ", ".join(queries) or "nothing"

    columns = (Column("id", "sample"), *_FIGURES, Column("kept_a", "kept in A"), Column("kept_b", "kept in B"))
    rows = [
        {
            "id": change.name,
            **_figures(change),
            "kept_a": kept(change.kept_a, change.status_a),
            "kept_b": kept(change.kept_b, change.status_b),
        }
        for change in comparison.samples[:MAX_ROWS]
    ]
    note = f"{len(comparison.samples)} of {comparison.n_common} samples changed"
    return make_table("Samples that changed most", columns, rows, [note])


def _figures(change: Change) -> dict[str, float | None]:
    figures = {"a": change.figure_a, "b": change.figure_b, "difference": change.difference}
    return {key: to_percent(value) for key, value in figures.items()}
