"""What suite.json says of runs that are refused, interrupted and done before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from car_core import CaR
from evaluation.cli.app import app
from evaluation.suites.definitions import Suite
from evaluation.suites.index_writer import IndexWriter, RunEvent
from evaluation.suites.runner import FinishedSuite, run_suite
from results import SuiteIndex, missing_runs

FAST: dict[str, Any] = {"templates": [], "background": ["grass"], "crf": None, "recurrence": "none"}
TWO = Suite.model_validate(
    {
        "name": "two",
        "title": "Two",
        "runs": [{"benchmark": name, "settings": FAST} for name in ("mini-voc", "mini-refcoco")],
    }
)
FIRST, SECOND = (run.name for run in TWO.runs)


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def sweep(values: str, limit: int) -> Result:
    settings = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    arguments = ["sweep", "mini-voc", f"eta={values}", f"--limit={limit}", "--workers=0", "--out=all", *settings]
    return CliRunner().invoke(app, arguments)


def run_two(out: Path | None, limit: int = 2) -> FinishedSuite:
    return run_suite(TWO, out=out, limit=limit, workers=0, quiet=True)


def interrupt_two(out: Path | None, monkeypatch: pytest.MonkeyPatch, limit: int = 2) -> None:
    """Run both, Ctrl-C coming in the first batch."""

    def segment_batch(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CaR, "segment_batch", segment_batch)
        with pytest.raises(KeyboardInterrupt):
            run_two(out, limit)


def index_of(folder: Path) -> Any:
    return json.loads((folder / "suite.json").read_text())


def test_a_sweep_that_is_refused_leaves_the_one_that_is_there() -> None:
    assert sweep("0.4,0.5", 2).exit_code == 0
    files = [Path("all", name) for name in ("suite.json", "table.md", "table.csv")]
    before = [file.read_bytes() for file in files]
    for values in ("0.4,0.6", "0.7,0.5"):  # the first is refused, and the last
        refused = sweep(values, 1)
        assert (refused.exit_code, "another identity" in refused.stderr) == (2, True)
        assert [file.read_bytes() for file in files] == before
    assert not Path("all/mini-voc-eta=0.7/samples.jsonl").exists()  # refused before any sample


@pytest.mark.parametrize("may_be_refused", [True, False])
def test_suite_book_gives_way_when_runs_may_be_refused(may_be_refused: bool) -> None:
    """Runs in processes of their own begin one by one."""
    folder = Path("all")
    one = SuiteIndex(suite="s", title="One", runs={"a": None}, request="1")
    IndexWriter(folder, one, has_lines=False).handle(RunEvent("a", folder / "a"))
    two = SuiteIndex(suite="s", title="Two", runs={"a": None, "b": None}, request="2")
    writer = IndexWriter(folder, two, has_lines=False, may_be_refused=may_be_refused)
    writer.handle(RunEvent("b", folder / "b"))
    assert index_of(folder)["title"] == ("One" if may_be_refused else "Two")
    writer.handle(RunEvent("a", folder / "a"))
    assert (index_of(folder)["title"], index_of(folder)["runs"]) == ("Two", {"a": "a", "b": "b"})


@pytest.mark.parametrize("out", [Path("all"), None], ids=["out", "default"])
def test_suite_book_of_interrupted_repeat_knows_missing_runs(out: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    finished = run_two(out)
    finished.runs[FIRST].path.joinpath("samples.jsonl").write_text("")
    interrupt_two(out, monkeypatch)
    assert index_of(finished.path)["status"] == "incomplete"
    assert missing_runs(finished.path) == [FIRST]


def test_suite_book_separates_runs_of_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = run_two(None)
    interrupt_two(None, monkeypatch, limit=1)
    assert missing_runs(finished.path) == [FIRST, SECOND]
    assert index_of(finished.path)["runs"][SECOND] is None


def test_a_run_that_has_not_begun_has_no_folder_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_two(Path("all"), monkeypatch)
    assert index_of(Path("all"))["runs"] == {FIRST: FIRST, SECOND: None}
