"""A suite's folder: its index, its table, and what is refused."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import (
    RunDirectory,
    StoreError,
    SuiteIndex,
    is_suite,
    missing_runs,
    read_runs,
    require_finished,
    write_suite,
    write_suite_tables,
)

Make = Callable[..., Any]


@pytest.fixture
def suite(make_header: Make, make_metrics: Make, tmp_path: Path) -> Path:
    runs = {}
    for name, value in (("full", 0.6), ("none", 0.2)):
        RunDirectory(tmp_path / "runs" / name).create(make_header(metrics=make_metrics(miou=value)))
        runs[name] = f"../runs/{name}"
    write_suite(tmp_path / "suite", SuiteIndex(suite="mini", title="The miniature", runs=runs))
    return tmp_path / "suite"


def test_suite_table_has_a_row_per_run(suite: Path) -> None:
    table = list(csv.DictReader((suite / "table.csv").open()))
    rows = {
        row["run"]: [row[key] for key in ("percent", "n_total", "pace")] for row in table if row["metric"] == "miou"
    }
    assert rows == {"full": ["60.0", "11", "0.5"], "none": ["20.0", "11", "0.5"]}  # 11 samples in 22 s
    page = (suite / "table.md").read_text()
    assert page.startswith("## The miniature")
    assert "| full " in page
    assert "- miou: mean IoU over classes with a pixel." in page


def test_the_runs_are_found_again_also_when_all_moved(suite: Path) -> None:
    moved = suite.parent / "moved"
    moved.mkdir()
    shutil.move(suite.parent / "runs", moved / "runs")
    shutil.move(suite, moved / "suite")
    assert is_suite(moved / "suite")
    assert {name: header.metrics["miou"] for name, header in read_runs(moved / "suite").items()} == {
        "full": 0.6,
        "none": 0.2,
    }
    (moved / "suite" / "table.md").unlink()
    assert write_suite_tables(moved / "suite")[0].exists()


def test_a_single_run_goes_by_its_benchmark(suite: Path) -> None:
    run = suite.parent / "runs" / "full"
    assert not is_suite(run)
    assert list(read_runs(run)) == ["voc21"]


def test_unfinished_suite_lists_finished_and_missing_runs(suite: Path, make_header: Make, make_metrics: Make) -> None:
    runs = suite.parent / "runs"
    RunDirectory(runs / "begun").create(make_header(metrics=make_metrics(miou=0.4), status="incomplete"))
    folders = {"none": "../runs/none", "later": None, "begun": "../runs/begun", "empty": "../runs/empty"}
    write_suite(suite, SuiteIndex(suite="mini", title="The miniature", runs=folders, status="incomplete"))
    assert list(read_runs(suite)) == ["none"]
    assert missing_runs(suite) == ["later", "begun", "empty"]
    page = (suite / "table.md").read_text()
    assert page.startswith("## Unfinished, 1 of 4 runs: The miniature")
    assert "- Missing: later, begun, empty." in page
    with pytest.raises(StoreError, match="expected a finished suite, found none of its runs later, begun, empty"):
        require_finished(suite)
    require_finished(runs / "none")


def test_a_suite_without_a_finished_run_has_an_empty_table(suite: Path) -> None:
    running = SuiteIndex(suite="s", title="S", runs={"a": None}, status="running")
    for more in ({}, {"points": {"a": {"eta": 0.3}}, "paper": {"a": 20.0}}, {"kind": "methods"}):
        page, _ = write_suite(suite, running.model_copy(update=more))
        assert "| metric |" in page.read_text()
        assert "Missing: a." in page.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ('{"suite": "mini", "title": "T", "runs": {}}', "runs"),
        ('{"suite": "mini", "title": "T", "runs": {"a": 3}}', "runs.a"),
        ('{"suite": "mini", "title": "T", "runs": {"a": "b"}, "schema_version": 2}', "schema_version"),
        ('{"suite": "mini", "title": "T", "runs": {"a": "gone"}}', "gone: not a run directory"),
    ],
    ids=str,
)
def test_a_damaged_index_is_refused(suite: Path, text: str, message: str) -> None:
    (suite / "suite.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        read_runs(suite)
