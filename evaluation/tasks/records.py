"""What the tasks share: reading records of a run, and figures that may be undefined."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol


class Record(Protocol):
    """What `summarize` reads of one sample's record."""

    @property
    def id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def counts(self) -> dict[str, Any]: ...


def split_by_status(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """The ok records and the failed ones. Raises ValueError for a repeated id and for any other status."""
    by_status: dict[str, list[Record]] = {"ok": [], "failed": []}
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise ValueError(f"two records have the id {record.id!r}")
        seen.add(record.id)
        if record.status not in by_status:
            raise ValueError(f"record {record.id!r}: status is {record.status!r}, expected 'ok' or 'failed'")
        by_status[record.status].append(record)
    return by_status["ok"], by_status["failed"]


def sample_counts(ok: Sequence[Record], failed: Sequence[Record]) -> dict[str, Any]:
    """How many samples stand behind a run's figures, and which failed: JSON-ready, failed ones by id."""
    return {
        "n_total": len(ok) + len(failed),
        "n_scored": len(ok),
        "n_failed": len(failed),
        "failed": [
            {"id": record.id, "error": record.error, "counted_as_empty": bool(record.counts)}
            for record in sorted(failed, key=lambda record: record.id)
        ],
    }


class RunningMean:
    """The mean of a value of each record so far, for the progress line; a record without counts is left out."""

    def __init__(self, name: str, value: Callable[[Record], float]) -> None:
        self.name, self._value = name, value
        self._sum, self._n = 0.0, 0

    def add(self, record: Record) -> None:
        """Count one record in."""
        if record.counts:
            self._sum += self._value(record)
            self._n += 1

    def figure(self) -> float | None:
        """The mean; None while there is no record."""
        return ratio(self._sum, self._n)


def mean(values: Sequence[float]) -> float | None:
    """Their mean; None for no values."""
    # fsum: the same bits in any order.
    return ratio(math.fsum(values), len(values))


def ratio(numerator: float, denominator: float) -> float | None:
    """Their quotient; None for a zero denominator."""
    return numerator / denominator if denominator else None
