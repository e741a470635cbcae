"""Figures from records alone: what `car table` prints, and what it makes of edited files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.refer_tree import grefer_tree, refer_tree
from typer.testing import CliRunner, Result

from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.run.recompute import recompute
from results import RunDirectory, StoreError, SuiteIndex, write_suite

FAST: dict[str, Any] = {"templates": [], "background": ["grass"], "crf": None, "recurrence": "none"}


def car(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def run(tiny_run: Any) -> Path:
    """A finished run, with a failed sample."""
    (tiny_run.data_root / "JPEGImages" / "2007_000002.jpg").write_bytes(b"not a picture")
    return evaluate(tiny_run.options(settings=FAST)).path


def edit(run: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the records of a run as an editor would."""
    file = run / "samples.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    change(records)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_records_give_run_json_to_the_last_bit(run: Path) -> None:
    edit(run, lambda records: records.reverse())  # any order gives the same bits
    assert recompute(run) == RunDirectory(run).read_header()
    again = json.loads((run / "run.json").read_text())["metrics"]
    assert json.dumps(json.loads(json.dumps(recompute(run).metrics))) == json.dumps(again)


@pytest.mark.parametrize(("benchmark", "make"), [("refcoco-val", refer_tree), ("grefcoco-val", grefer_tree)])
def test_so_do_those_of_other_tasks(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, benchmark: str, make: Any
) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    settings = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    done = evaluate(
        RunOptions(benchmark, make(tmp_path).root, "random:1", settings=settings, out=tmp_path / "run", workers=0)
    )
    assert done.header.metrics["n_total"] > 1
    assert recompute(done.path) == done.header


def test_table_prints_what_the_records_say(run: Path) -> None:
    before = car("table", run)
    assert before.exit_code == 0
    header = json.loads((run / "run.json").read_text())
    # A run that was killed: its header knows nothing of its records yet.
    unfinished = {"status": "running", "metrics": {}, "counts": {"n_total": 0, "n_scored": 0, "n_failed": 0}}
    (run / "run.json").write_text(json.dumps(header | unfinished))
    killed = car("table", run)
    assert killed.exit_code == 0
    assert f"{100 * header['metrics']['miou']:.1f}" in killed.stdout
    assert "run not finished" in killed.stdout


def test_a_definition_in_other_words_is_no_other_figure(run: Path) -> None:
    header = json.loads((run / "run.json").read_text())
    now, header["metrics"]["reductions"]["miou"] = header["metrics"]["reductions"]["miou"], "as it was once put"
    (run / "run.json").write_text(json.dumps(header))
    assert recompute(run).metrics["reductions"]["miou"] == now
    assert car("table", run).exit_code == 0


def test_an_edited_figure_is_found_out(run: Path) -> None:
    def add_a_pixel(records: list[dict[str, Any]]) -> None:
        records[0]["counts"]["confusion"][0][2] += 1

    edit(run, add_a_pixel)
    for path in (run, suite_of(run)):
        result = car("table", path)
        assert result.exit_code == 2
        assert "samples.jsonl: expected the records behind run.json, found other figures: metrics." in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_an_edited_figure_stops_the_same_command(run: Path, tiny_run: Any) -> None:
    edit(run, lambda records: records[0]["counts"]["confusion"][0].__setitem__(2, 10_000))
    before = {name: (run / name).read_bytes() for name in ("run.json", "samples.jsonl", "table.md")}
    arguments = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    refused, table = car(*tiny_run.arguments(*arguments)), car("table", run)
    assert (refused.exit_code, refused.stderr) == (2, table.stderr)
    assert {name: (run / name).read_bytes() for name in before} == before
    assert car(*tiny_run.arguments(*arguments, "--fresh", "--allow-failures")).exit_code == 0
    assert car("table", run).exit_code == 0


def test_the_rounding_of_a_sum_is_no_edit_and_more_than_that_is(run: Path) -> None:
    """Runs recorded by Pythons whose `sum` rounds after every term must stay readable."""
    file = run / "run.json"
    header = json.loads(file.read_text())
    figure = header["metrics"]["frequency_weighted_iou_gt_classes"]
    scored = next(entry for entry in header["metrics"]["per_class"] if entry["iou"])
    for change, accepted in ((4 * 2**-53, True), (-4 * 2**-53, True), (1e-11, False), (-1e-3, False)):
        header["metrics"]["frequency_weighted_iou_gt_classes"] = figure * (1 + change)
        file.write_text(json.dumps(header))
        assert (car("table", run).exit_code == 0) is accepted
    header["metrics"]["frequency_weighted_iou_gt_classes"] = figure
    scored["iou"] *= 1 + 1e-11  # in a list
    file.write_text(json.dumps(header))
    assert "per_class" in car("table", run).stderr


def suite_of(run: Path) -> Path:
    folder = run.with_name("suite")
    write_suite(folder, SuiteIndex(suite="s", title="S", runs={"one": f"../{run.name}"}))
    return folder


def test_a_removed_record_is_found_out_and_redone(run: Path, tiny_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    header, text = RunDirectory(run).read_header(), (run / "run.json").read_bytes()
    edit(run, lambda records: records.pop(0))
    with pytest.raises(StoreError, match=r"in run\.json"):
        recompute(run)
    assert evaluate(tiny_run.options(settings=FAST)).header.metrics == header.metrics
    [kept] = run.glob("run.json.*")
    assert kept.read_bytes() == text
    said = f"this finished run has lost 1 record: done again, its run.json kept as {kept.name}"
    assert said in capsys.readouterr().err
    evaluate(tiny_run.options(settings=FAST))  # its failed sample again, and none is gone
    assert [*run.glob("run.json.*")] == [kept]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "2099_000001"}, "expected records of the run's samples, found 1 of others, first '2099_000001'"),
        (
            {"counts": {}},
            "expected counts of the task semantic, found record '2007_000000'",
        ),
        ({"counts": {"confusion": 7}}, "expected counts of the task semantic"),
        ({"counts": {"confusion": [["a", "b", "c"]]}}, "expected counts of the task semantic"),
        ({"counts": {"confusion": [[99, 0, 1]]}}, "label 99 is outside 0..20"),
        ({"status": "great"}, r"line 1: status"),
        ({"steps": "two"}, r"line 1: steps"),
    ],
    ids=str,
)
def test_foreign_records_stop_a_resume_before_any_work(
    run: Path, tiny_run: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    edit(run, lambda records: records[0].update(change))
    edited, header = (run / "samples.jsonl").read_bytes(), (run / "run.json").read_bytes()
    monkeypatch.setattr("car_core.CaR.segment_batch", lambda *_, **__: pytest.fail("segmented"))
    arguments = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    result = car(*tiny_run.arguments(*arguments))
    assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
    assert message in result.stderr
    assert (run / "samples.jsonl").read_bytes() == edited
    assert (run / "run.json").read_bytes() == header
