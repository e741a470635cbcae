"""Methods beside each other and beside published figures."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from results import PaperCell, RunHeader
from results.paper.paper_tables import peer_rows
from results.tables.methods import methods_table, peer_tables
from results.tables.render import to_csv


def test_published_figures_stand_beside_runs(make_methods: dict[str, RunHeader]) -> None:
    rows = list(csv.DictReader(to_csv(methods_table("Methods", make_methods)).splitlines()))
    own = {row["method"]: row for row in rows}
    assert float(own["SCLIP"]["published"]) == 59.63
    assert float(own["SCLIP"]["difference"]) == pytest.approx(65.449 - 59.63, abs=1e-6)
    assert float(own["CaR"]["published"]) == 67.6
    assert own["NACLIP"]["published"] == ""  # published with PAMR, run without
    assert float(own["NACLIP+PAMR"]["published"]) == 64.07
    assert "grade A" in own["SCLIP (published)"]["remarks"]
    assert [row["method"] for row in rows[-4:]] == ["CaR", "SCLIP", "NACLIP", "NACLIP+PAMR"]
    assert float(own["CaR"]["memory"]) == 2346
    [table] = peer_tables(make_methods.values()).values()
    values = [float(row["percent"]) for row in csv.DictReader(to_csv(table).splitlines())]
    assert values == sorted(values)
    assert len(values) == len(peer_rows("voc21")) + 4
    assert peer_rows("ade847") == []


def test_without_published_figures_there_are_no_columns_for_them(make_methods: dict[str, RunHeader]) -> None:
    embedded = {
        name: header.model_copy(update={"benchmark": header.benchmark.model_copy(update={"paper": None})})
        for name, header in make_methods.items()
    }
    assert not {"published", "difference"} & {column.key for column in methods_table("Methods", embedded).columns}


@pytest.fixture
def make_methods(make_header: Any) -> dict[str, RunHeader]:
    """Headers of runs with CaR, SCLIP, NACLIP and NACLIP with PAMR."""

    def header(**config: Any) -> RunHeader:
        return make_header(config=config, config_sources=dict.fromkeys(config, "default"))  # type: ignore[no-any-return]

    assert make_header().benchmark.paper == PaperCell(table="table1", column="voc21")
    return {
        "car": header(profile="paper"),
        "sclip": header(method="sclip", pamr_steps=0),
        "naclip": header(method="naclip", pamr_steps=0),
        "naclip-pamr": header(method="naclip", pamr_steps=10),
    }
