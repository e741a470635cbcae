"""Where a run belongs in the paper's tables: as its benchmark says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.analysis.summary import placed_run


def header(benchmark: str, table: str | None = None, column: str = "") -> Any:
    """What `placed_run` reads of a run's header."""
    cell = SimpleNamespace(table=table, column=column) if table else None
    return SimpleNamespace(benchmark=SimpleNamespace(name=benchmark, paper=cell))


@pytest.mark.parametrize(
    ("benchmark", "table", "column", "places", "variant"),
    [
        ("voc20", "table1", "voc20", [("table1", "voc20", None), ("tableJ", "voc20", None)], None),
        ("context59", "table1", "pc59", [("table1", "pc59", None), ("tableJ", "pc59", None)], None),
        ("context60", "table1", "pc60", [("table1", "pc60", None)], None),
        (
            "ref-davis17-temporal",
            "table8",
            "j_and_f",
            [("table8", "j_and_f", None), ("table8", "j", "j"), ("table8", "f", "f")],
            "queries carried from frame to frame",
        ),
        ("voc20", "table1", "voc21", [("table1", "voc21", None)], None),  # a file of another version
        ("no-such", "table1", "voc21", [("table1", "voc21", None)], None),
        ("own-folders", None, "", [], None),
        ("grefcoco-testA", None, "", [], None),
    ],
)
def test_places(benchmark: str, table: str | None, column: str, places: list[Any], variant: str | None) -> None:
    run = placed_run(header(benchmark, table, column))
    assert [tuple(place) for place in run.places] == places
    assert run.variant == variant
