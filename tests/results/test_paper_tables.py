"""The paper's figures as data."""

from __future__ import annotations

import pytest

from results.paper.paper_tables import cautions, paper_rows


def test_rows_of_a_benchmark_in_the_papers_order() -> None:
    rows = [row for row in paper_rows("table1", "voc21") if row.group == "training-free"]
    assert [(row.method, row.value) for row in rows] == [("ReCo", 25.1), ("MaskCLIP", 38.8), ("CaR", 67.6)]


def test_a_dash_is_none_and_not_zero() -> None:
    values = {row.method: row.value for row in paper_rows("table1", "voc20")}
    assert values["CaR+SAM"] is None
    assert values["CaR"] == 91.4


def test_an_ablation_has_settings_instead_of_methods() -> None:
    rows = paper_rows("table2", "miou")
    assert {row.method for row in rows} == {"CaR"}
    assert {row.group for row in rows} == {None}
    assert [(row.cells["recurrence"], row.cells["cam"], row.value) for row in rows] == [
        ("no", "clip-es", 15.2),
        ("yes", "clip-es", 67.6),
        ("yes", "gradcam", 41.1),
    ]


@pytest.mark.parametrize(
    ("table", "column", "car"),
    [
        ("table1", "ade847", 8.1),
        ("table7", "gres_val", 16.8),
        ("table8", "j_and_f", 30.34),
        ("tableJ", "pc59", 39.5),
    ],
)
def test_every_table_with_methods_has_car(table: str, column: str, car: float) -> None:
    assert [row.value for row in paper_rows(table, column) if row.method == "CaR"] == [car]


@pytest.mark.parametrize("table", ["table9", "table", "", "../table1", "peers", "table1_semantic_zero_shot"])
def test_an_unknown_table_lists_those_that_exist(table: str) -> None:
    with pytest.raises(ValueError, match=r"tables: table1, .*table8, tableJ$"):
        paper_rows(table, "voc21")


@pytest.mark.parametrize("column", ["voc2012", "method", "supervision", ""])
def test_an_unknown_column_lists_those_that_exist(column: str) -> None:
    with pytest.raises(ValueError, match=r"columns: .*voc20, voc21, coco_object"):
        paper_rows("table1", column)


def test_cautions_belong_to_a_figure() -> None:
    assert "swapped" in cautions("table1", "pc59", "TCL")[0]
    assert "57.5" in cautions("tableJ", "voc20", "ReCo")[0]
    assert cautions("table1", "voc21", "TCL") == []
    assert cautions("table1", "pc59", "MaskCLIP") == []
