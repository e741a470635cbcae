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
    write_suite_index,
    write_suite_tables,
)
from results.run_directory.suite import find_suite_to_resume

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


def test_a_suite_goes_on_in_its_own_folder(tmp_path: Path) -> None:
    def asked(name: str, *runs: str, title: str = "T", is_sweep: bool = False, **more: Any) -> SuiteIndex:
        points: Any = {run: {"eta": 0.5} for run in runs} if is_sweep else {}
        return SuiteIndex(suite=name, title=title, runs=dict.fromkeys(runs), points=points, **more)

    suite, sweep = asked("mini", "a", "b"), asked("sweep-1", "v-1", "v-2", is_sweep=True)
    methods = asked("methods-1", "car", "clip", title="Methods on v", kind="methods")
    goes_on = {
        "suite": [suite, asked("mini", "a"), asked("mini-1", "a-car", "a-clip")],  # less data, other methods
        "sweep": [
            sweep,
            asked("sweep-1-limit2", "v-1", "v-2", is_sweep=True),
            asked("sweep-2", "v-1", "v-2", "v-3", title="Other", is_sweep=True),  # more points
            asked("sweep-5", "v-2", is_sweep=True),  # and fewer: the run of the other stays
        ],
        "methods": [methods, asked("methods-2", "clip", "sclip", title="Methods on v", kind="methods")],
    }
    others = {
        "suite": [sweep, methods, asked("eight", "a", "b", title="Other"), asked("eight", "a", "b", kind="eight")],
        "sweep": [suite, methods, asked("sweep-3", "v-3", "v-4", is_sweep=True), asked("sweep-4", "v-1", "v-2")],
        "methods": [suite, sweep, asked("methods-3", "car", "clip", title="Methods on w", kind="methods")],
    }
    for there in (suite, sweep, methods):
        path = tmp_path / there.title / there.suite
        assert find_suite_to_resume(path, there) is None
        write_suite_index(path, there)
        for own in ("table.md", "plot.png", ".hidden"):
            (path / own).write_text("")
        name = next(key for key in goes_on if goes_on[key][0] is there)
        assert [find_suite_to_resume(path, each) for each in goes_on[name]] == [there] * len(goes_on[name])
        for each in others[name]:
            with pytest.raises(StoreError, match=f"expected the suite {each.suite}, found another one, {there.suite}$"):
                find_suite_to_resume(path, each)
        if there is sweep:
            with pytest.raises(StoreError, match="found v-3 without v-2; ask for both, or choose another folder"):
                find_suite_to_resume(path, asked("sweep-6", "v-1", "v-3", is_sweep=True))
            again = asked("sweep-7", "v-3", is_sweep=True)
            (path / "v-3").mkdir()
            with pytest.raises(StoreError, match="found another one"):
                find_suite_to_resume(path, again)
            (path / "v-3" / "run.json").write_text("{}")  # was run and then not asked for
            assert find_suite_to_resume(path, again) == there
            with pytest.raises(StoreError, match="found v-4 without v-1; ask for both"):
                find_suite_to_resume(path, asked("sweep-8", "v-3", "v-4", is_sweep=True))
        (path / "samples.jsonl").write_text("")
        with pytest.raises(StoreError, match=r"found the samples\.jsonl of a run$"):
            find_suite_to_resume(path, there)


def test_a_folder_without_an_index_holds_only_runs_of_the_suite(tmp_path: Path) -> None:
    asked = SuiteIndex(suite="mini", title="T", runs={"a": None, "b": None})
    (tmp_path / "a").mkdir()
    (tmp_path / ".git").mkdir()
    assert find_suite_to_resume(tmp_path, asked) is None
    for name in ("c", "notes.txt", "b"):  # "b" is a file
        (tmp_path / name).write_text("")
        with pytest.raises(StoreError, match=f"expected an empty folder or a suite, found '{name}' and no suite.json"):
            find_suite_to_resume(tmp_path, asked)
        (tmp_path / name).unlink()
    (tmp_path / "suite.json").write_text("{")
    with pytest.raises(StoreError, match=r"suite\.json: "):
        find_suite_to_resume(tmp_path, asked)


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
