"""What suite.json says of runs that are refused, interrupted and done before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.command import FAST
from helpers.faults import FAULTY
from typer.testing import CliRunner, Result

from evaluation import RunOptions
from evaluation.cli.app import app
from evaluation.suites.definitions import Suite
from evaluation.suites.index_writer import IndexWriter, RunEvent
from evaluation.suites.runner import FinishedSuite, Models, run_suite
from results import missing_runs

FIRST, SECOND = "mini-voc", "mini-coco-object"


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "open").touch()


def sweep(values: str, limit: int) -> Result:
    settings = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    arguments = ["sweep", "mini-voc", f"eta={values}", f"--limit={limit}", "--workers=0", "--out=all", *settings]
    return CliRunner().invoke(app, arguments)


def run_two(out: Path | None, limit: int = 2) -> FinishedSuite:
    """Two runs; without the file gate/open Ctrl-C comes in the first batch."""
    gate = Path("gate").absolute()
    settings = {"fault": "interrupt", "gate": str(gate)}
    runs = [{"benchmark": name, "method": FAULTY, "settings": settings} for name in (FIRST, SECOND)]
    suite = Suite.model_validate({"name": "two", "title": "Two", "runs": runs})
    return run_suite(suite, out=out, limit=limit, weights=None, workers=0, quiet=True)


def interrupt_two(out: Path | None, limit: int = 2) -> None:
    Path("gate", "open").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_two(out, limit)


def index_of(folder: Path) -> Any:
    return json.loads((folder / "suite.json").read_text())


def test_a_sweep_that_is_refused_leaves_the_one_that_is_there() -> None:
    assert sweep("0.4,0.5", 2).exit_code == 0
    files = [Path("all", name) for name in ("suite.json", "table.md", "table.csv")]
    before = [file.read_bytes() for file in files]
    for values in ("0.4,0.5,0.6", "0.7,0.5,0.4"):  # the first is refused, and the last
        refused = sweep(values, 1)
        assert (refused.exit_code, "another identity" in refused.stderr) == (2, True)
        assert [file.read_bytes() for file in files] == before
    assert not Path("all/mini-voc-eta=0.7/samples.jsonl").exists()  # refused before any sample


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folders_of_others_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    command = CliRunner()
    run = command.invoke(app, ["eval", "mini-refcoco", "--limit=1", "--workers=0", "--set=templates=[]", "--out=first"])
    assert (run.exit_code, sweep("0.4,0.5", 1).exit_code) == (0, 0)
    Path("photos").mkdir()
    Path("photos", "cat.png").write_bytes(b"a photo")
    folders = {path: files_of(Path(path)) for path in ("first", "all", "photos")}
    monkeypatch.setattr(Models, "make", None)  # nothing is loaded
    expected = {
        "first": "error: first: expected an empty folder or a suite, found the run.json of a run",
        "all": "error: all: expected the suite {0}, found another one, sweep-mini-voc-",
        "photos": "error: photos: expected an empty folder or a suite, found 'cat.png' and no suite.json",
    }
    asked = {
        "mini": ["suite", "mini", "--limit=1"],
        "sweep-mini-voc-": ["sweep", "mini-voc", "theta=0.4,0.5"],
        "methods-mini-voc-": ["eval", "mini-voc", "--method=clip,naclip"],
    }
    for name, words in asked.items():
        for folder, files in folders.items():
            for more in ([], ["--fresh"], ["--dry-run"]):
                refused = command.invoke(app, [*words, f"--out={folder}", *more])
                start, _, rest = expected[folder].partition("{0}")
                assert refused.exit_code == 2, (words, folder, more)
                [line] = [each for each in refused.stderr.splitlines() if each.startswith("error")]
                assert line.startswith(start + name if rest else start)
                assert rest in line
                assert files_of(Path(folder)) == files
    for words in (["eval", "mini-voc"], ["eval", "mini-voc", "--dry-run"]):  # a run into a suite
        refused = command.invoke(app, [*words, "--limit=1", "--out=all"])
        assert (refused.exit_code, "all: expected an empty folder or a run, found" in refused.stderr) == (2, True)
        assert files_of(Path("all")) == folders["all"]


@pytest.mark.parametrize("may_be_refused", [True, False])
def test_suite_book_gives_way_when_runs_may_be_refused(may_be_refused: bool) -> None:
    """Runs in processes of their own begin one by one."""
    folder = Path("all")
    runs = {name: RunOptions("mini-voc", out=folder / name, fresh=not may_be_refused) for name in "ab"}
    IndexWriter(folder, {"a": runs["a"]}, suite="s", title="One").handle(RunEvent("a", folder / "a"))
    writer = IndexWriter(folder, runs, suite="s", title="Two")
    writer.handle(RunEvent("b", folder / "b"))
    assert index_of(folder)["title"] == ("One" if may_be_refused else "Two")
    writer.handle(RunEvent("a", folder / "a"))
    assert (index_of(folder)["title"], index_of(folder)["runs"]) == ("Two", {"a": "a", "b": "b"})


@pytest.mark.parametrize("out", [Path("all"), None], ids=["out", "default"])
def test_suite_book_of_interrupted_repeat_knows_missing_runs(out: Path | None) -> None:
    finished = run_two(out)
    finished.runs[FIRST].path.joinpath("samples.jsonl").write_text("")
    interrupt_two(out)
    assert index_of(finished.path)["status"] == "incomplete"
    assert missing_runs(finished.path) == [FIRST]


def test_a_suite_killed_before_its_first_index_is_resumed() -> None:
    finished = run_two(Path("all"), limit=1)
    for own in ("suite.json", "table.md", "table.csv"):
        Path("all", own).unlink()
    files = {run.path: (run.path / "samples.jsonl").read_bytes() for run in finished.runs.values()}
    run_two(Path("all"), limit=1)
    assert {path: (path / "samples.jsonl").read_bytes() for path in files} == files
    assert run_two(Path("all")).runs[FIRST].header.counts.n_total == 2  # a larger limit extends it


def test_suite_book_separates_runs_of_other_requests() -> None:
    finished = run_two(None)
    interrupt_two(None, limit=1)
    assert missing_runs(finished.path) == [FIRST, SECOND]
    assert index_of(finished.path)["runs"][SECOND] is None


def test_a_run_that_has_not_begun_has_no_folder_yet() -> None:
    interrupt_two(Path("all"))
    assert index_of(Path("all"))["runs"] == {FIRST: FIRST, SECOND: None}
