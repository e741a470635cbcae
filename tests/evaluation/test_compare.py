"""``car compare``: figures against whole recomputation, the bootstrap against literal resampling, refusals."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from dataset_adapters import LabelSpace
from evaluation import evaluate
from evaluation.analysis.compare import bootstrap_differences, compare
from evaluation.cli.app import app
from evaluation.tasks.scorer import Scorer
from results import SampleRecord
from results.tables.render import to_rich
from results.tables.two_runs import (
    Change,
    Interval,
    SampleChange,
    SwitchChange,
    comparison_head,
    comparison_tables,
)

SPACE = LabelSpace("made", ("background", "a", "b", "c"), ("a", "b", "c"), (1, 2, 3), 255, (0, 1, 2, 3))


def record(number: int, counts: dict[str, Any], **changes: Any) -> SampleRecord:
    return SampleRecord(**{"id": f"sample {number}", "status": "ok", "counts": counts, **changes})


def semantic_records(n: int, seed: int) -> list[SampleRecord]:
    generator = np.random.default_rng(seed)
    records = []
    for number in range(n):
        cells = generator.choice(16, generator.integers(1, 6), replace=False)
        triples = [[int(c) // 4, int(c) % 4, int(generator.integers(1, 500))] for c in cells]
        records.append(record(number, {"confusion": triples}))
    return [*records, record(n, {}, status="failed", error="unreadable")]


def referring_records(n: int, seed: int) -> list[SampleRecord]:
    generator = np.random.default_rng(seed)
    records = []
    for number in range(n):
        both, one, other = (int(v) for v in generator.integers(0, 90, 3))
        counts = {"intersection": both, "union": both + one + other, "target": both + one, "prediction": both + other}
        records.append(record(number, counts))
    return [*records, record(n, {}, status="failed", error="unreadable")]


def generalized_records(n: int, seed: int) -> list[SampleRecord]:
    *ok, failed = referring_records(n, seed)
    return [*(one.model_copy(update={"counts": {**one.counts, "has_target": 1}}) for one in ok), failed]


CASES = [
    (Scorer("semantic", SPACE), semantic_records),
    (Scorer("referring", LabelSpace("made", (), (), (), 255, ()), {"resolution": "original"}), referring_records),
    (Scorer("generalized", LabelSpace("made", (), (), (), 255, ()), {"no_target_below": "50"}), generalized_records),
]
NAMES = ["semantic", "referring", "generalized"]


@pytest.mark.parametrize(("scorer", "make"), CASES, ids=NAMES)
def test_resampled_figures_are_those_of_the_repeated_records(scorer: Scorer, make: Any) -> None:
    records = make(9, seed=1)
    weights = np.random.default_rng(2).multinomial(10, np.full(10, 0.1), size=20)
    found = scorer.resampler(records)(weights)
    for row, figure in zip(weights, found, strict=True):
        repeated = {
            f"{sample.id}/{copy}": sample.model_copy(update={"id": f"{sample.id}/{copy}"})
            for sample, times in zip(records, row, strict=True)
            for copy in range(times)
        }
        assert figure == pytest.approx(scorer.summarize(repeated)[scorer.words.headline], abs=1e-13)


@pytest.mark.parametrize(("scorer", "make"), CASES, ids=NAMES)
def test_sample_figures_are_those_of_a_run_of_one(scorer: Scorer, make: Any) -> None:
    records = make(9, seed=3)
    for sample, figure in zip(records, scorer.sample_figures(records), strict=True):
        alone = scorer.summarize({sample.id: sample})[scorer.words.headline]
        assert np.isnan(figure) if alone is None else figure == pytest.approx(alone, abs=1e-13)


def test_what_one_run_alone_was_asked_for_is_shown() -> None:
    alone = {
        "names": "plain, 20 texts",
        "protocol ignore": "no",
        "metric boundary_iou": "1",
        "weights, sam": "sam.pt 0a",
    }
    absent = [SwitchChange(name, "absent", value) for name, value in {**alone, "logit_scale": "40 (default)"}.items()]
    made = comparison(switches=(SwitchChange("query texts", "x" * 500, "y" * 500), *absent))
    table, *_ = comparison_tables(made, most=5)
    assert table.values("name") == [*alone, "query texts"]
    assert {len(value) for value in table.values("value_a")} == {len("absent"), 80}
    assert "(5 of 6)" in table.title
    whole, *_ = comparison_tables(made, most=None)
    assert ["query texts", "x" * 500, "y" * 500] in [list(row.values()) for row in whole.rows]


def header_of(request: dict[str, Any] | None = None, **config: Any) -> Any:
    """The parts of a header that say what a run was asked for."""
    space = {"labels": [], "queries": [], "query_labels": []}
    return SimpleNamespace(
        benchmark=SimpleNamespace(protocol_changed=[], label_space=space),
        config=config,
        config_sources=dict.fromkeys(config, "user"),
        request=request or {},
    )


def comparison(**parts: Any) -> Any:
    """A comparison of two runs that differ in nothing else."""
    plain = {"headline": "miou", "headline_change": Change("miou", 0.5, 0.5), "headers": (header_of(), header_of())}
    empty = dict.fromkeys(("metrics", "switches", "classes", "samples"), ())
    return SimpleNamespace(**{**plain, **empty, "interval": None, "n_common": 0, **parts})


def test_compare_keeps_asked_metrics_and_heads_settings() -> None:
    metrics = tuple(Change(name, 0.1, 0.1 + i / 10) for i, name in enumerate(("miou", *"abcdef", "own/x", "own/y")))
    longer = header_of({"set": {"eta": 0.3}, "metrics": "own"}, eta=0.3)
    made = comparison(headline_change=metrics[0], metrics=metrics, headers=(header_of(), longer))
    _, table, *_ = comparison_tables(made, most=3)
    assert table.values("name") == ["miou", "own/x", "own/y", "a"]
    assert table.title == "Metrics (4 of 9)"
    assert [column.heading for column in table.columns] == ["metric", "A %", "B %", "B - A"]  # eta, metrics: too long
    made.headers = (header_of({"limit": 4}), header_of({"limit": 4}, eta=0.3))
    _, table, *_ = comparison_tables(made, most=1)
    assert table.values("name") == ["miou", "own/x", "own/y"]
    assert table.columns[2].heading == "B eta=0.3 %"


def test_nothing_to_average_is_undefined() -> None:
    for scorer, make in CASES:
        failed = make(0, seed=0)
        assert np.isnan(scorer.resampler(failed)(np.array([[3]]))).all()
        assert np.isnan(scorer.sample_figures(failed)).all()


def test_figures_of_many_samples_equal_each_alone() -> None:
    scorer = CASES[0][0]
    records = [*semantic_records(300, seed=6), record(301, {"confusion": []}), record(302, {"confusion": [[0, 0, 0]]})]
    alone = []
    for each in records:
        accumulator = scorer.accumulator()
        accumulator.add(each)
        figure = accumulator.running_figure()
        alone.append(np.nan if figure is None else figure)
    assert np.isnan(alone).sum() == 3
    np.testing.assert_array_equal(scorer.sample_figures(records), alone)


def test_samples_are_drawn_with_replacement() -> None:
    """As often each as binomial draws are: once in the mean, with the variance 1 - 1 / n, and n in all."""
    drawn: list[np.ndarray] = []
    scorer: Any = SimpleNamespace(resampler=lambda records: lambda weights: drawn.append(weights) or weights[:, 0])
    records: Any = range(10)
    bootstrap_differences(scorer, records, records, seed=0, resamples=4000)
    weights = drawn[0]
    assert (weights.sum(axis=1) == 10).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(10), abs=0.08)
    assert weights.var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.12)


@pytest.mark.parametrize(("scorer", "make"), CASES, ids=NAMES)
def test_the_bootstrap_is_seeded_and_paired(scorer: Scorer, make: Any) -> None:
    a, b = make(12, seed=4), make(12, seed=5)
    first = bootstrap_differences(scorer, a, b, seed=7, resamples=50)
    np.testing.assert_array_equal(first, bootstrap_differences(scorer, a, b, seed=7, resamples=50))
    assert (first != bootstrap_differences(scorer, a, b, seed=8, resamples=50)).any()
    np.testing.assert_allclose(first, -bootstrap_differences(scorer, b, a, seed=7, resamples=50), atol=1e-15)
    # Unpaired draws would spread a run's difference with itself around 0.
    assert (bootstrap_differences(scorer, a, a, seed=7, resamples=50) == 0).all()


def test_chunks_of_resamples_are_one_draw() -> None:
    scorer, a, b = CASES[0][0], semantic_records(12, 4), semantic_records(12, 5)
    whole = bootstrap_differences(scorer, a, b, seed=7, resamples=50)
    np.testing.assert_array_equal(bootstrap_differences(scorer, a, b, seed=7, resamples=50, cells=40), whole)


def car(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def two_runs(tiny_run: Any, tmp_path: Path) -> tuple[Path, Path]:
    """The same benchmark at two thresholds; the second has one sample fewer."""
    evaluate(tiny_run.options(out=tmp_path / "a", limit=4))
    evaluate(tiny_run.options(out=tmp_path / "b", settings={"theta": 0.051, "eta": 0.5}, limit=3))
    return tmp_path / "a", tmp_path / "b"


def test_two_runs(two_runs: tuple[Path, Path]) -> None:
    a, b = two_runs
    as_json(a, b)
    as_tables(a, b)
    by_exit_status(a, b)
    on_a_screen(a, b)
    with_itself(a)
    that_cannot_be_compared(a, b)


def as_json(a: Path, b: Path) -> None:
    result = car("compare", a, b, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["n_common"], found["n_only"]) == (3, [1, 0])
    header = json.loads((b / "run.json").read_text())
    by_name = {entry["name"]: entry for entry in found["metrics"]}
    assert by_name["miou"]["figure_b"] == header["metrics"]["miou"]
    assert by_name["miou"]["difference"] == by_name["miou"]["figure_b"] - by_name["miou"]["figure_a"]
    assert {entry["name"] for entry in found["switches"]} == {"theta", "eta"}
    assert {entry["value_b"] for entry in found["switches"]} == {"0.051 (user)", "0.5 (user)"}
    assert found["interval"]["low"] <= by_name["miou"]["difference"] <= found["interval"]["high"]
    changes = [abs(entry["difference"]) for entry in found["samples"]]
    assert changes == sorted(changes, reverse=True)
    assert json.loads(car("compare", a, b, "--json").stdout) == found


def as_tables(a: Path, b: Path) -> None:
    text = car("compare", a, b).stdout
    assert "left out: 1 sample of A only" in text
    assert "eta=0.5, theta=0.051, limit=3; partial" in text.splitlines()[1]
    assert "miou: 3 samples, too few for an interval" in text
    assert text.index("| theta") < text.index("## Metrics")
    assert "0.051 (user)" in text
    everything = car("compare", a, b, "--all").stdout
    assert re.search(r"## Metrics \(\d of 6\)", text)
    assert "## Metrics\n" in everything
    assert everything.count("\n| ") > text.count("\n| ")


def on_a_screen(a: Path, b: Path) -> None:
    found = compare(a, b)
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for table in comparison_tables(found):
        console.print(to_rich(table, 80), *table.notes, sep="\n", end="\n\n")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert sum(1 + len(line) // 80 for line in [*comparison_head(found), *lines]) < 40
    assert max(map(len, lines)) <= 80


def test_samples_show_the_classes_that_were_lost_and_gained() -> None:
    space = {"labels": ["background", "person", "cat"], "queries": ["person,people", "cat"], "query_labels": [1, 2]}
    header = header_of()
    header.benchmark.label_space = space
    samples = (
        SampleChange("x", 0.1, 0.9, kept_a=("person,people",), kept_b=("cat",)),
        SampleChange("y", 0.1, 0.8, kept_a=("cat",), kept_b=("cat",)),
        SampleChange("z", 0.1, 0.0, kept_a=("cat",), status_b="failed"),
    )
    *_, table = comparison_tables(comparison(headers=(header, header), samples=samples))
    assert table.values("moved") == ["-person, +cat", "the same", "failed in B"]


@pytest.mark.parametrize(
    ("n_common", "said"), [(9, "9 samples, too few"), (10, "95 % interval -1.00 to +2.00, contains 0")]
)
def test_few_samples_have_no_interval_in_words(n_common: int, said: str) -> None:
    made = comparison(n_common=n_common, interval=Interval(-0.01, 0.02, 0.95, 100, 0))
    assert said in comparison_tables(made)[1].notes[0]


def by_exit_status(a: Path, b: Path) -> None:
    difference = 100 * (compare(a, b).headline_change.difference or 0)
    assert car("compare", a, b, f"--fail-below={difference - 0.01}").exit_code == 0
    worse = car("compare", a, b, f"--fail-below={difference + 0.01}")
    assert worse.exit_code == 4
    assert "expected B - A of at least" in worse.stderr


def with_itself(a: Path) -> None:
    same = compare(a, a)
    assert same.headline_change.difference == 0
    assert same.interval is not None
    assert (same.interval.low, same.interval.high) == (0, 0)
    assert same.samples == ()
    assert same.switches == ()
    assert "What differs" not in car("compare", a, a).stdout


def that_cannot_be_compared(a: Path, b: Path) -> None:
    nowhere, runs = car("compare", a, a.parent / "nowhere"), a.parent
    assert nowhere.exit_code == 2
    assert "not a run directory" in nowhere.stderr
    assert f"{runs}: expected a run, found a folder of 2 runs; `car runs" in car("compare", a, runs).stderr
    assert car("table", runs).stderr.startswith(f"error: {runs}: expected a run, found a folder of 2 runs; ")
    lines = (b / "samples.jsonl").read_text().splitlines()
    (b / "samples.jsonl").write_text("".join(line.replace("2007_", "2008_") + "\n" for line in lines))
    apart = car("compare", a, b)
    assert apart.exit_code == 2
    assert "expected common ones" in apart.stderr
    header = json.loads((b / "run.json").read_text())
    header["benchmark"]["label_space"]["scored_labels"].pop()
    (b / "run.json").write_text(json.dumps(header))
    assert f"different scored classes: voc21 in {a}, voc21 in {b}\n" in car("compare", a, b).stderr
