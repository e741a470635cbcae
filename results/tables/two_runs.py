"""The differences of two runs, as data and as tables. Figures are in 0..1, unrounded; a difference is B minus A."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from results.run_directory.schema import RunHeader
from results.tables.columns import DIFFERENCE, make_table, to_percent
from results.tables.overview import asked_of
from results.tables.render import Column, Table
from results.tables.run_notes import caveats, method_label, remarks
from support.text import counted, shortened


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


_FEW_SAMPLES = 10  # resamples of fewer say little of what others would give; the interval stays in the JSON
_LONGEST_HEADING = 16  # characters of what was set, in the heading of a run's figures


_ASKED = ("names", "protocol ", "metric ", "weights, ")
"""Prefixes of switches that come only from a request: they matter even if the other run does not have them."""


def comparison_tables(comparison: RunComparison, *, most: int | None = 3) -> list[Table]:
    """The comparison for readers: what differs in the request, metrics, classes, samples; empty where nothing differs.

    most: rows of each, and one more metric; None for all. Requested metrics are always included.
    """

    # Requested switches come first, then those of both methods; settings of only one method follow from its name.
    def is_asked(change: SwitchChange) -> bool:
        return "(user)" in change.value_a + change.value_b or change.name.startswith(_ASKED)

    both = [own for own in comparison.switches if is_asked(own) or "absent" not in (own.value_a, own.value_b)]
    of_one = [change for change in comparison.switches if change not in both]
    both.sort(key=lambda change: (change.name != "method", not is_asked(change)))
    headline = comparison.headline_change
    metrics = list(comparison.metrics)
    if most is not None:  # those that say more than the headline figure does
        pair = headline.figure_a, headline.figure_b
        asked = [own for own in metrics if "/" in own.name]
        further = [own for own in metrics if own.difference and (own.figure_a, own.figure_b) != pair]
        metrics = [headline, *asked, *[own for own in further if own not in asked][: max(0, most - len(asked))]]
    a, b = (" ".join(own) if len(" ".join(own)) <= _LONGEST_HEADING else "" for own in _own_settings(comparison))
    percents = (
        Column("a", " ".join(filter(None, ["A", a, "%"])), "percent"),
        Column("b", " ".join(filter(None, ["B", b, "%"])), "percent"),
        replace(DIFFERENCE, heading="B - A"),
    )
    classes = [change for change in comparison.classes if change.difference]
    columns = (Column("name", "setting"), Column("value_a", "A"), Column("value_b", "B"))
    width = sys.maxsize if most is None else 80  # characters of a value
    switches = [{key: shortened(text, width) for key, text in asdict(own).items()} for own in both + of_one]
    figures = _changes("Metrics", "metric", percents, metrics, None, len(comparison.metrics))
    return [
        _cut("What differs", columns, switches, most and min(most, len(both)), len(switches)),
        replace(figures, notes=(_interval_note(comparison),), is_cut=most is not None),
        _changes("Classes that changed most", "class", percents, classes, most, len(classes)),
        _samples(comparison, percents, most),
    ]


def comparison_head(comparison: RunComparison) -> list[str]:
    """The lines above the tables: both runs with their own settings, their caveats, and how many samples they share."""
    a, b = ({*caveats(own, changes=False)} for own in comparison.headers)
    lines, sides = [], zip("AB", comparison.names, comparison.headers, _own_settings(comparison), strict=True)
    for (side, name, header, own), said in zip(sides, (a - b, b - a), strict=True):
        label = f"{header.benchmark.name}: {', '.join([method_label(header), *own])}"
        about = "; ".join([label, *sorted(said)])
        lines.append(f"{side}: {name} ({about})")
    only = zip("AB", comparison.n_only, strict=True)
    n_changed = f"{len(comparison.samples)} of them changed"
    common = [f"compared on {counted(comparison.n_common, 'common sample')}", n_changed, *sorted(a & b)]
    left_out = [f"left out: {counted(n, 'sample')} of {side} only" for side, n in only if n]
    return [*lines, "; ".join([*common, *left_out])]


def _own_settings(comparison: RunComparison) -> tuple[list[str], list[str]]:
    """Settings that were requested for only one of the runs: of A, of B."""
    a, b = map(asked_of, comparison.headers)
    return [own for own in a if own not in b], [own for own in b if own not in a]


def _interval_note(comparison: RunComparison) -> str:
    interval = comparison.interval
    if interval is None:
        return f"{comparison.headline}: no interval (fewer than two samples, or samples that depend on each other)"
    if comparison.n_common < _FEW_SAMPLES:
        return f"{comparison.headline}: {counted(comparison.n_common, 'sample')}, too few for an interval"
    verdict = "contains 0" if interval.low <= 0 <= interval.high else "does not contain 0"
    return (
        f"{comparison.headline}, B - A: {100 * interval.level:.0f} % interval "
        f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}, {verdict} (paired bootstrap over samples, "
        f"{interval.resamples} resamples, seed {interval.seed})"
    )


def _cut(title: str, columns: tuple[Column, ...], rows: list[dict[str, Any]], most: int | None, n_all: int) -> Table:
    """A table of the first rows; where there are more, its title says how many of all these are."""
    shown = rows[:most]
    of_all = f" ({len(shown)} of {n_all})" if len(shown) < n_all else ""
    return replace(make_table(title + of_all, columns, shown), is_cut=most is not None)


def _changes(
    title: str, what: str, percents: tuple[Column, ...], changes: Sequence[Change], most: int | None, n_all: int
) -> Table:
    rows = [{"name": change.name, **_figures(change)} for change in changes]
    return _cut(title, (Column("name", what, "word"), *percents), rows, most, n_all)


def _samples(comparison: RunComparison, percents: tuple[Column, ...], most: int | None) -> Table:
    spaces = [header.benchmark.label_space for header in comparison.headers]
    names = {  # of classes, which are shorter than the texts that stand for them
        text: space["labels"][label]
        for space in spaces
        for text, label in zip(space.get("queries", ()), space.get("query_labels", ()), strict=False)
    }

    def moved(change: SampleChange) -> str:
        failed = [side for side, status in (("A", change.status_a), ("B", change.status_b)) if status == "failed"]
        if failed:
            return f"failed in {' and '.join(failed)}"
        a, b = ({names.get(text, text): None for text in kept} for kept in (change.kept_a, change.kept_b))
        lost, gained = ([f"{sign}{name}" for name in x if name not in y] for sign, x, y in (("-", a, b), ("+", b, a)))
        return ", ".join([*lost, *gained]) or "the same"

    columns = (Column("id", "sample", "word"), *percents, Column("moved", "classes lost (-) and gained (+) in B"))
    rows = [{"id": change.name, **_figures(change), "moved": moved(change)} for change in comparison.samples[:most]]
    return _cut("Samples that changed most", columns, rows, most, len(comparison.samples))


def _figures(change: Change) -> dict[str, float | None]:
    figures = {"a": change.figure_a, "b": change.figure_b, "difference": change.difference}
    return {key: to_percent(value) for key, value in figures.items()}
