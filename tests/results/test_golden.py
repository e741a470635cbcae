"""Golden files: equal figures pass, a changed one fails, and what cannot be compared is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evaluation.cli.app import app
from results import RunDirectory, RunHeader, StoreError, SuiteIndex, write_suite
from results.tables.golden import (
    MINIATURE,
    Golden,
    compare,
    comparison_of_figures,
    of_one_run,
    read_golden,
    write_golden,
)
from results.tables.render import to_markdown

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _figures_of_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """These runs are made up and have no records; `test_check_compares_what_the_records_say...` has one that does."""
    monkeypatch.setattr("evaluation.run.recompute.recompute", lambda path: RunDirectory(path).read_header())


@pytest.fixture
def golden(make_header: Make, tmp_path: Path) -> Path:
    """Expected: the figures of the made-up run, within 0.001."""
    path = tmp_path / "golden" / "mini.json"
    write_golden(path, {"voc21": make_header()}, tolerance=0.001)
    return path


def write_run(path: Path, header: RunHeader) -> Path:
    RunDirectory(path).create(header)
    return path


def check(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def changed(golden: Path, header: RunHeader) -> list[str]:
    return [item.figure for item in compare(read_golden(golden), {"voc21": header}) if item.changed]


def test_every_figure_is_compared(golden: Path, make_header: Make) -> None:
    header = make_header()
    compared = compare(read_golden(golden), {"voc21": header})
    assert [item.figure for item in compared] == ["n_total", "n_failed", *header.metrics["reductions"]]
    assert not any(item.changed for item in compared)
    assert {item.figure: item.tolerance for item in compared}["n_total"] == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.65449, []), (0.65548, []), (0.6535, []), (0.6555, ["miou"]), (0.6, ["miou"]), (None, ["miou"])],
)
def test_a_figure_changes_beyond_its_tolerance(
    golden: Path, make_header: Make, make_metrics: Make, value: float | None, expected: list[str]
) -> None:
    assert changed(golden, make_header(metrics=make_metrics(miou=value))) == expected


def test_counts_must_be_equal_and_figures_the_same_ones(golden: Path, make_header: Make, make_metrics: Make) -> None:
    counts = {"n_total": 11, "n_scored": 10, "n_failed": 1}
    assert changed(golden, make_header(counts=counts)) == ["n_failed"]
    reductions = {"miou": "mean", "new": "mean"}
    found = changed(golden, make_header(metrics=make_metrics(reductions=reductions, new=0.5)))
    assert found == ["miou_gt_classes", "miou_scored_only", "pixel_accuracy_pooled", "new"]


def test_an_exact_figure_has_no_room(make_header: Make, make_metrics: Make, tmp_path: Path) -> None:
    write_golden(tmp_path / "exact.json", {"voc21": make_header()})
    found = make_header(metrics=make_metrics(miou=0.65449 + 1e-15))
    assert changed(tmp_path / "exact.json", found) == ["miou"]
    assert changed(tmp_path / "exact.json", make_header()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": [{"role": "proposal", "name": "x", "sha256": "b" * 64, "trained": True}]},
            "voc21: weights: expected proposal a{12}, .*, found proposal b{12} in the run",
        ),
        ({"weights": []}, "voc21: weights: expected .*, found none in the run"),
        ({"benchmark": {"dataset": {"fingerprint": "beef"}}}, "voc21: dataset: expected f00d .*found beef"),
        ({"benchmark": {"name": "voc20"}}, "voc21: benchmark: expected voc21 .*found voc20"),
        (
            {"config_sources": {"eta": "profile"}},
            r"voc21: settings: expected eta=0\.4 as in the golden file, found none in the run",
        ),
        ({"status": "running"}, "voc21: expected a finished run, found one that is running"),
    ],
    ids=str,
)
def test_other_weights_or_data_are_an_error(
    golden: Path, make_header: Make, change: dict[str, Any], message: str
) -> None:
    fields = make_header().model_dump()
    benchmark = fields["benchmark"]
    own = dict(change.get("benchmark", {}))
    own_dataset = {**benchmark["dataset"], **own.pop("dataset", {})}
    sources = {**fields["config_sources"], **change.get("config_sources", {})}
    merged = {**fields, **change, "benchmark": {**benchmark, **own, "dataset": own_dataset}, "config_sources": sources}
    with pytest.raises(StoreError, match=message):
        compare(read_golden(golden), {"voc21": RunHeader.model_validate(merged)})


@pytest.mark.parametrize("names", [["voc21", "more"], ["other"]])
def test_the_runs_must_be_those_of_the_golden(golden: Path, make_header: Make, names: list[str]) -> None:
    with pytest.raises(StoreError, match=f"runs: expected voc21 as in the golden file, found {', '.join(names)}"):
        compare(read_golden(golden), dict.fromkeys(names, make_header()))


def test_an_update_keeps_tolerances_unless_told(golden: Path, make_header: Make, make_metrics: Make) -> None:
    moved = make_header(metrics=make_metrics(miou=0.1))
    figures = write_golden(golden, {"voc21": moved}).runs["voc21"].figures
    assert (figures["miou"].expected, figures["miou"].tolerance, figures["n_total"].tolerance) == (0.1, 0.001, 0)
    figures = write_golden(golden, {"voc21": moved, "again": moved}, tolerance=0.5).runs["again"].figures
    assert (figures["miou"].tolerance, figures["n_total"].tolerance) == (0.5, 0)


def test_an_unfinished_run_is_no_golden(make_header: Make, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a finished run"):
        write_golden(tmp_path / "golden.json", {"voc21": make_header(status="running")})
    assert not (tmp_path / "golden.json").exists()


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


FIGURE = {"expected": 0.5, "tolerance": 0.0}
RUN = {"benchmark": "voc21", "dataset": "f00d", "weights": {"proposal": "a" * 64}, "figures": {"miou": FIGURE}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[]", "expected an object"),
        ("[" * 100_000, "nested too deeply"),
        ("\x00\xff", "golden.json"),
        ('{"schema_version": 1, "runs": {"a": NaN}}', "NaN is not JSON"),
        ({"schema_version": 2, "runs": {"a": RUN}}, "schema_version"),
        ({"runs": {}}, "runs: "),
        ({"runs": {"a": _without(RUN, "dataset")}}, "runs.a.dataset: expected a value, found none"),
        ({"runs": {"a": {**RUN, "extra": 1}}}, "runs.a.extra"),
        ({"runs": {"a": {**RUN, "weights": {"proposal": "../../etc"}}}}, "runs.a.weights.proposal"),
        ({"runs": {"a": {**RUN, "figures": {}}}}, "runs.a.figures"),
        ({"runs": {"a": {**RUN, "figures": {"miou": {**FIGURE, "expected": "0.5"}}}}}, "figures.miou.expected"),
        ({"runs": {"a": {**RUN, "figures": {"miou": {**FIGURE, "expected": True}}}}}, "figures.miou.expected"),
        ({"runs": {"a": {**RUN, "figures": {"miou": {**FIGURE, "tolerance": -1}}}}}, "figures.miou.tolerance"),
        ('{"runs": {"a": {"figures": {"miou": {"expected": 1e999}}}}}', "1e999 is not a finite number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_hostile_golden_is_refused_by_field(text: Any, message: str, make_header: Make, tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="latin-1")
    with pytest.raises(StoreError, match=message):
        read_golden(path)
    result = check(write_run(tmp_path / "run", make_header()), "--golden", path)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_name_cannot_steer_the_terminal(make_header: Make, tmp_path: Path) -> None:
    name = "voc\x1b[31m|21"
    golden = write_golden(tmp_path / "golden.json", {name: make_header()})
    assert golden == Golden.model_validate(json.loads((tmp_path / "golden.json").read_text()))
    shown = to_markdown(comparison_of_figures(compare(golden, {name: make_header()}), "golden"))
    assert "\x1b" not in shown
    assert r"voc\\u{1b}\[31m\|21" in shown


def test_exact_leaves_no_room(make_header: Make, make_metrics: Make, tmp_path: Path) -> None:
    golden, metrics = tmp_path / "golden.json", make_metrics(miou=0.5)
    write_golden(golden, {"run": make_header(metrics=metrics)}, tolerance=1e-3)
    near = write_run(tmp_path / "run", make_header(metrics=make_metrics(miou=0.5 + 1e-9)))
    assert check(near, "--golden", golden).exit_code == 0
    assert check(near, "--golden", golden, "--exact").exit_code == 4
    same = write_run(tmp_path / "same" / "run", make_header(metrics=metrics))
    assert check(same, "--golden", golden, "--exact").exit_code == 0


def test_check_prints_every_figure_and_fails_on_a_change(
    make_header: Make, make_metrics: Make, golden: Path, tmp_path: Path
) -> None:
    same = check(write_run(tmp_path / "same", make_header()), "--golden", golden)
    assert same.exit_code == 0
    [row] = [line for line in same.stdout.splitlines() if "| ok" in line]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["voc21", "6 figures", "0", "0.001", "ok"]
    details = check(tmp_path / "same", "--golden", golden, "--details")
    assert details.stdout.count("| ok") == 6
    assert "0 of 6 figures changed" in same.stderr
    other = write_run(tmp_path / "other", make_header(metrics=make_metrics(miou=0.7)))
    result = check(other, "--golden", golden)
    assert result.exit_code == 4
    [row] = [line for line in result.stdout.splitlines() if "CHANGED" in line]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "voc21",
        "miou",
        "0.65449",
        "0.7",
        "",
        "0.001",
        "CHANGED",
    ]
    assert check(other, "--golden", golden, "--update").exit_code == 0
    assert check(other, "--golden", golden).exit_code == 0
    assert check(tmp_path / "same", "--golden", golden).exit_code == 4


def test_the_miniature_needs_no_golden(make_header: Make, make_metrics: Make, tmp_path: Path) -> None:
    expected = read_golden(MINIATURE).runs["mini-voc"]
    figures = {name: figure.expected for name, figure in expected.figures.items()}
    n_total = int(figures.pop("n_total") or 0)
    del figures["n_failed"]
    plain = make_header().model_dump()
    header = {
        "benchmark": {
            **plain["benchmark"],
            "name": "mini-voc",
            "dataset": {**plain["benchmark"]["dataset"], "fingerprint": expected.dataset},
        },
        "weights": [{"role": role, "name": "x", "sha256": s, "trained": True} for role, s in expected.weights.items()],
        "config_sources": dict.fromkeys(plain["config"], "profile"),
        "counts": {"n_total": n_total, "n_scored": n_total, "n_failed": 0},
        "metrics": {**figures, "reductions": dict.fromkeys(figures, "mean")},
    }
    assert check(write_run(tmp_path / "same", make_header(**header))).exit_code == 0
    header["metrics"]["miou"] += 0.01
    changed_run = write_run(tmp_path / "changed", make_header(**header))
    assert check(changed_run).exit_code == 4
    few = {"counts": {"n_total": 2, "n_scored": 2, "n_failed": 0}}
    few["benchmark"] = {**header["benchmark"], "dataset": {**header["benchmark"]["dataset"], "n_samples": n_total}}
    limited = check(write_run(tmp_path / "few", make_header(**header | few)))
    assert (limited.exit_code, limited.stdout) == (2, "")
    assert (
        f"mini-voc: expected {n_total} samples as in the golden file, found 2 of {n_total} in the run" in limited.stderr
    )
    before = MINIATURE.read_bytes()
    refused = check(changed_run, "--update")
    assert (refused.exit_code, "--update: expected --golden FILE" in refused.stderr) == (2, True)
    assert MINIATURE.read_bytes() == before
    other = check(write_run(tmp_path / "other", make_header()))
    assert (other.exit_code, "run: expected one of mini-voc" in other.stderr) == (2, True)


def test_check_without_a_golden_or_run_says_what_is_missing(make_header: Make, golden: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", make_header())
    result = check(run, "--golden", tmp_path / "none.json")
    assert (result.exit_code, "found none; --update writes one" in result.stderr) == (2, True)
    result = check(tmp_path / "nowhere", "--golden", golden)
    assert (result.exit_code, "not a run directory" in result.stderr) == (2, True)


def test_a_suite_is_checked_as_a_whole(make_header: Make, make_metrics: Make, tmp_path: Path) -> None:
    for name, value in (("full", 0.6), ("none", 0.2)):
        write_run(tmp_path / "suite" / name, make_header(metrics=make_metrics(miou=value)))
    both = SuiteIndex(suite="mini", title="The miniature", runs={"full": "full", "none": "none"})
    write_suite(tmp_path / "suite", both)
    golden = tmp_path / "golden.json"
    assert check(tmp_path / "suite", "--golden", golden, "--update").exit_code == 0
    assert list(read_golden(golden).runs) == ["full", "none"]
    assert check(tmp_path / "suite", "--golden", golden).exit_code == 0
    write_suite(tmp_path / "suite", both.model_copy(update={"runs": {"full": "full"}}))
    result = check(tmp_path / "suite", "--golden", golden)
    assert (result.exit_code, "expected full, none" in result.stderr) == (2, True)


def test_a_single_run_is_held_against_its_own_part(golden: Path, make_header: Make) -> None:
    header, expected = make_header(), read_golden(golden)
    both = expected.model_copy(update={"runs": {**expected.runs, "voc21-once": expected.runs["voc21"]}})
    for name, own in (("voc21-once", "voc21-once"), ("any", "voc21")):
        part, headers = of_one_run(both, header, name)
        assert (list(part.runs), list(headers)) == ([own], [own])
        assert not any(item.changed for item in compare(part, headers))
    other = header.model_copy(update={"benchmark": header.benchmark.model_copy(update={"name": "context60"})})
    with pytest.raises(StoreError, match="run: expected one of voc21, voc21-once as in the golden file, found any"):
        of_one_run(both, other, "any")


def test_an_update_loses_no_run(golden: Path, make_header: Make) -> None:
    before = golden.read_bytes()
    with pytest.raises(StoreError, match="expected all its runs, found no voc21; remove it"):
        write_golden(golden, {"other": make_header()})
    assert golden.read_bytes() == before
