"""Further metrics: of packages and files, counted in records, computed from them alone."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import FAST, car
from helpers.plugin_package import Install
from PIL import Image

from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample
from evaluation import evaluate
from evaluation.run.merge import MergeError, merge
from evaluation.tasks import extra_metrics as metrics
from evaluation.tasks.extra_metrics import MetricError, NamedMetric, find_metrics
from evaluation.tasks.saving import Saving
from evaluation.tasks.scorer import Scorer
from results import RunDirectory, SampleRecord
from support.plugins import PluginError

SPACE = LabelSpace("fruit", ("background", "apple", "pear"), ("apple", "pear"), (1, 2), 255, (0, 1, 2))
PRESENCE = '''
class Presence:
    """Whether each class is in target and prediction, whatever its pixels."""

    name = "presence"
    version = "1"
    tasks = ("semantic",)
    reductions = {
        "accuracy": "classes whose presence is predicted right over all classes, summed over all samples",
        "mean": "mean of the samples' shares of classes whose presence is predicted right",
    }

    def count(self, target, prediction, label_space):
        pairs = [(label in target, label in prediction) for label in label_space.scored_labels]
        return {"right": sum(there == found for there, found in pairs), "classes": len(pairs)}

    def figures(self, counts):
        if not counts:
            return {"accuracy": None, "mean": None}
        shares = [each["right"] / each["classes"] for each in counts]
        pooled = sum(each["right"] for each in counts) / sum(each["classes"] for each in counts)
        return {"accuracy": pooled, "mean": sum(shares) / len(shares)}
'''
POINTS = {"metrics": {"presence": "fruitbox:Presence"}}


def test_a_package_brings_a_metric(install: Install, tiny_run: Any, tmp_path: Path) -> None:
    """Its figures are those of the saved label maps; shards and an interrupted run give the same bytes."""
    folder = install(source=PRESENCE, points=POINTS)
    (tiny_run.data_root / "JPEGImages" / "2007_000002.jpg").write_bytes(b"not a picture")
    asked = {"settings": FAST, "metrics": ("presence",)}
    plain = evaluate(tiny_run.options(settings=FAST, out=tmp_path / "plain")).header
    run = evaluate(tiny_run.options(**asked, saving=Saving("png")))
    header = run.header
    assert not {"plugins", "metrics"} & plain.identity_fields.keys()
    assert header.identity_fields["metrics"] == {"presence": "1"}
    assert [plugin.name for plugin in header.plugins] == ["presence"]
    assert header.identity != plain.identity
    assert header.metrics["miou"] == plain.metrics["miou"]
    assert header.metrics["per_class"] == plain.metrics["per_class"]

    shares = []
    for path in sorted((tiny_run.data_root / "SegmentationClass").glob("*.png")):
        target = np.asarray(Image.open(path))
        saved = run.path / "predictions" / path.name
        prediction = np.asarray(Image.open(saved))
        shares.append(sum((target == label).any() == (prediction == label).any() for label in range(21)) / 21)
    assert len(shares) == 7
    assert 0 < min(shares) <= max(shares) < 1
    assert header.metrics["presence/mean"] == pytest.approx(np.mean(shares), rel=1e-15)
    assert header.metrics["presence/accuracy"] == pytest.approx(np.mean(shares), rel=1e-15)  # 21 classes in each
    record = json.loads((run.path / "samples.jsonl").read_text().splitlines()[0])
    assert record["counts"]["metrics"] == {"presence": {"right": round(21 * shares[0]), "classes": 21}}

    for part in (1, 2, 3):
        evaluate(tiny_run.options(**asked, shard=(part, 3), out=tmp_path / f"part{part}"))
    merged = merge([tmp_path / f"part{part}" for part in (3, 1, 2)], tmp_path / "merged")
    shutil.copytree(run.path, tmp_path / "torn")
    torn = tmp_path / "torn/samples.jsonl"
    torn.write_bytes(torn.read_bytes()[: len(torn.read_bytes()) // 2])
    resumed = evaluate(tiny_run.options(**asked, out=tmp_path / "torn", workers=2)).header
    for other in (merged, resumed):
        assert json.dumps(other.metrics) == json.dumps(header.metrics)
        assert other.identity == header.identity
    assert re.search(r"\| presence/accuracy +\|.*\| classes whose presence", car("table", run.path).output)
    compared = car("compare", run.path, tmp_path / "merged", "--all")
    assert "presence/accuracy" in compared.output
    assert "presence/mean" not in car("compare", tmp_path / "plain", run.path).output
    assert car("report", run.path, "--samples=0").exit_code == 0
    assert "presence/accuracy" in (run.path / "report.html").read_text()
    assert car("table", run.path, tmp_path / "plain").exit_code == 0

    # The package is gone, or another one: what it made of the records is shown as recorded.
    before = json.loads((run.path / "run.json").read_text())["metrics"]
    (folder / "fruitbox.py").write_text(PRESENCE + "\nOTHER = 1\n")
    said = "the installed metric is not version 1 of the run"
    for reason in (said, "fruitbox is not installed"):
        shown = car("table", run.path)
        line = f"notice: {run.path}: the figures of the metric presence are not recomputed, because {reason}\n"
        assert (shown.exit_code, shown.stderr) == (0, line)
        [row] = [
            text for text in shown.output.splitlines() if "| recorded, not computed again" in text and "/acc" in text
        ]
        assert f"{100 * before['presence/accuracy']:.1f}" in row
        for command in (["compare", run.path, run.path], ["report", run.path, "--samples=0"], ["check", run.path]):
            found = car(*command)
            assert line in found.stderr, command
            assert found.exception is None or isinstance(found.exception, SystemExit), command
        with pytest.raises(MergeError, match=f"expected the metric presence of the shards, but {reason}"):
            merge([tmp_path / f"part{part}" for part in (1, 2, 3)], tmp_path / "again")
        assert not (tmp_path / "again").exists()
        if reason == said:
            sys.path.remove(str(folder))
    assert json.loads((run.path / "run.json").read_text())["metrics"] == before


def test_an_edited_count_of_a_metric_is_refused(install: Install, tiny_run: Any) -> None:
    install(source=PRESENCE, points=POINTS)
    run = evaluate(tiny_run.options(settings=FAST, metrics=("presence",), limit=2))
    samples = run.path / "samples.jsonl"
    samples.write_text(
        samples.read_text().replace('"classes": 21', '"classes": 22', 1).replace('"classes":21', '"classes":22', 1)
    )
    found = car("table", run.path)
    assert found.exit_code == 2
    assert "metrics.presence/accuracy is" in found.stderr


def test_json_is_json_whatever_a_metric_prints(tiny_run: Any, tmp_path: Path, install: Install) -> None:
    text = PRESENCE.replace("        pairs", "        print('count')\n        pairs")
    (tmp_path / "own.py").write_text(text.replace("        if not", "        print('figures')\n        if not"))
    fast = [f"--set={key}={json.dumps(value)}" for key, value in FAST.items()]
    ran = car(*tiny_run.arguments("--limit=1", f"--metrics={tmp_path}/own.py:Presence", "--json", *fast))
    assert json.loads(ran.stdout)["counts"]["n_scored"] == 1
    assert {"count", "figures"} <= {*ran.stderr.splitlines()}


def test_a_metric_of_a_file(tiny_run: Any, tmp_path: Path, install: Install) -> None:
    (tmp_path / "own.py").write_text(PRESENCE.replace('name = "presence"', 'name = "here"'))
    run = evaluate(tiny_run.options(settings=FAST, metrics=(f"{tmp_path}/own.py:Presence",), limit=2))
    assert run.header.metrics["here/accuracy"] is not None
    assert run.header.plugins[0].target.endswith(":Presence")
    assert "because its file is not installed" in car("table", run.path).stderr


def test_a_metric_of_saved_predictions_is_that_of_their_run(tiny_run: Any, tmp_path: Path, install: Install) -> None:
    (tmp_path / "own.py").write_text(PRESENCE.replace('name = "presence"', 'name = "here"'))
    asked = f"{tmp_path}/own.py:Presence"
    run = evaluate(tiny_run.options(settings=FAST, metrics=(asked,), limit=2, saving=Saving("png", False)))
    given = (f"--predictions={run.path}/predictions", f"--data-root={tiny_run.data_root}", f"--metrics={asked}")
    done = car("score", "voc21", *given, "--limit=2", "--workers=0", f"--out={tmp_path / 'scored'}")
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "scored/run.json").read_text())["metrics"]
    assert figures["here/accuracy"] == run.header.metrics["here/accuracy"]


@dataclass
class Given:
    """A metric whose parts a test chooses."""

    answer: Any = field(default_factory=lambda: {"n": 1})
    made: Any = 0.5
    name: str = "given"
    version: str = "1"
    tasks: tuple[str, ...] = ("semantic",)
    reductions: dict[str, str] = field(default_factory=lambda: {"x": "a mean"})

    def count(self, target: Any, prediction: Any, label_space: LabelSpace) -> Any:
        return self.answer(target, prediction) if callable(self.answer) else self.answer

    def figures(self, counts: Any) -> Any:
        return {"x": self.made(counts) if callable(self.made) else self.made}


TARGET = np.array([[0, 1], [2, 255]], np.int32)


def overwrite(target: Any, prediction: Any) -> dict[str, int]:
    prediction[:] = target
    return {}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda target, prediction: 1 / 0, "metric given: ZeroDivisionError: division by zero"),
        (overwrite, "metric given: ValueError: assignment destination is read-only"),
        (None, "metric given: TypeError: 'NoneType' object is not iterable"),
        ({"n": 0.5}, "metric given: expected whole numbers by name, found 'n': 0.5"),
        ({"n": float("nan")}, "metric given: expected whole numbers by name, found 'n': nan"),
        ({3: 3}, "metric given: expected whole numbers by name, found 3: 3"),
    ],
)
def test_a_sample_that_a_metric_cannot_count_is_a_failed_one(answer: Any, error: str) -> None:
    prediction = np.zeros_like(TARGET)
    with pytest.raises(MetricError) as raised:
        NamedMetric(Given(answer)).count(TARGET, prediction, SPACE)
    assert str(raised.value) == error
    assert (prediction == 0).all()
    scorer = Scorer("semantic", SPACE, metrics=(NamedMetric(Given(answer)),))
    record = scorer.failed_record("a", error, TARGET)
    assert record.counts == {"confusion": [[0, 0, 1], [1, 0, 1], [2, 0, 1]]}
    assert scorer.summarize({"a": record})["given/x"] == 0.5


def test_failed_sample_is_empty_prediction_for_every_metric() -> None:
    """By hand: of sample a's pixels two are right, one where nothing is predicted; of b's, which failed, all four."""

    def right(target: Any, prediction: Any) -> dict[str, int]:
        return {"n": int((target == prediction).sum())}

    def no_apples(target: Any, prediction: Any) -> dict[str, int]:
        return {"n": 1} if not (prediction == 1).any() else {}["apple"]

    def no_pears(target: Any, prediction: Any) -> dict[str, int]:
        return {"n": 1} if not (target == 2).any() else {}["pear"]

    def found(brittle: Any) -> tuple[SampleRecord, dict[str, Any]]:
        answers = (right, brittle, right)
        made = [Given(each, lambda c: sum(n["n"] for n in c) / 10, f"m{i}") for i, each in enumerate(answers)]
        scorer = Scorer("semantic", SPACE, metrics=tuple(map(NamedMetric, made)))
        labels, scores = np.array([[0, 1], [0, 0]], np.int32), np.ones(2, np.float32)
        masks = np.stack([labels == 1, labels == 2])
        segmentation = Segmentation(("apple", "pear"), masks, scores, (0,), labels, (), None)
        sample = Sample("a", np.zeros((2, 2, 3), np.uint8), ("apple", "pear"), "semantic", TARGET)
        record = scorer.record_of(sample, segmentation, 0.0)
        return record, scorer.summarize(
            {"a": record, "b": scorer.failed_record("b", "no image", np.zeros_like(TARGET))}
        )

    record, figures = found(right)
    assert (record.status, record.counts["metrics"]) == ("ok", {"m0": {"n": 2}, "m1": {"n": 2}, "m2": {"n": 2}})
    # A metric that can count what is empty: as the task and the others, for a record is of one prediction.
    record, figures = found(no_apples)
    assert (record.status, record.error) == ("failed", "scoring: metric m1: KeyError: 'apple'")
    assert record.counts == {
        "confusion": [[0, 0, 1], [1, 0, 1], [2, 0, 1]],
        "metrics": {"m0": {"n": 1}, "m1": {"n": 1}, "m2": {"n": 1}},
    }
    assert [figures[f"m{i}/x"] for i in range(3)] == [0.5, 0.2, 0.5]
    assert figures["reductions"]["m1/x"] == "a mean"
    # One that cannot: it alone has no counts, and what it averages over says so.
    record, figures = found(no_pears)
    assert (record.error, record.counts["metrics"]) == (
        "scoring: metric m1: KeyError: 'pear'",
        {"m0": {"n": 1}, "m2": {"n": 1}},
    )
    assert [figures[f"m{i}/x"] for i in range(3)] == [0.5, 0.1, 0.5]
    assert figures["reductions"]["m1/x"] == "a mean; without 1 sample that it cannot count, a"
    assert figures["reductions"]["m0/x"] == "a mean"


def test_metric_counts_are_integers_and_figures_in_id_order() -> None:
    """Sums of floats depend on their order: 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1."""
    counted = NamedMetric(Given({"n": np.uint8(3), "b": np.bool_(True)})).count(TARGET, TARGET, SPACE)
    assert counted == {"n": 3, "b": 1}
    assert {type(value) for value in counted.values()} == {int}
    scorer = Scorer(
        "semantic", SPACE, metrics=(NamedMetric(Given(made=lambda counts: sum(c["n"] / 10 for c in counts))),)
    )
    records = [
        SampleRecord(id=id_, status="ok", counts={"confusion": [], "metrics": {"given": {"n": n}}})
        for id_, n in (("a", 1), ("b", 2), ("c", 3))
    ]
    orders = (records, records[::-1])
    assert 0.3 + 0.2 + 0.1 != 0.1 + 0.2 + 0.3
    assert [scorer.summarize({r.id: r for r in order})["given/x"] for order in orders] == [0.1 + 0.2 + 0.3] * 2


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (None, "metric given gives no figure for these samples"),
        (1.5, "metric given gives 1.5, where 0..1 is expected, for these samples"),
        (float("nan"), "metric given gives nan, where 0..1 is expected, for these samples"),
        ("0.5", "metric given gives '0.5', where 0..1 is expected, for these samples"),
        (lambda counts: counts[0]["m"], "metric given raised IndexError: list index out of range"),
    ],
)
def test_what_is_no_figure_is_undefined_with_a_reason(made: Any, reason: str) -> None:
    found = Scorer("semantic", SPACE, metrics=(NamedMetric(Given(made=made)),)).summarize({})
    assert found["given/x"] is None
    assert found["undefined"]["given/x"] == reason
    assert found["reductions"]["given/x"] == "a mean"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (('name = "presence"', 'name = "other"'), "fruitbox:Presence: name: expected 'presence', found 'other'"),
        (('version = "1"', "version = 1"), "fruitbox:Presence: version: expected text, found 1"),
        (('("semantic",)', '("video",)'), "expected a metric of the task semantic, found 'presence', of video"),
        (('("semantic",)', '"semantic"'), "fruitbox:Presence: tasks: expected a collection of tasks, found 'semantic'"),
        (("reductions = {", "reductions = {} and {"), "expected what each figure averages over, by its name, found {}"),
        (("def count(", "def counts("), "count: expected a function, found none (docs/adding.md#a-metric)"),
        (("if not counts", "if counts is None"), "figures: expected some of 0 samples, found ZeroDivisionError"),
        (('"mean": None', '"median": None'), "those of reductions, accuracy, mean, found ['accuracy', 'median']"),
        (("pairs = [", "pairs = [target.no] + ["), "expected counts of an empty sample, found metric presence: "),
        (("class Presence:", "import nothing_such\nclass Presence:"), "found ModuleNotFoundError: No module named"),
    ],
)  # fmt: skip
def test_a_bad_metric_is_one_line_before_work(
    change: tuple[str, str], error: str, install: Install, tmp_path: Path
) -> None:
    assert change[0] in PRESENCE
    install(source=PRESENCE.replace(*change, 1), points=POINTS)
    found = car("eval", "mini-voc", "--metrics=presence", "--out", tmp_path / "run")
    assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
    assert error in found.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["semantic", "referring", "generalized", "video"])
def test_a_metric_is_tried_out_on_what_its_task_has(task: str) -> None:
    """Arrays of the task's kinds and shapes; the same as a sample whose segmentation failed."""
    seen = []

    def count(target: Any, prediction: Any) -> dict[str, int]:
        seen.append([(str(array.dtype), array.ndim) for array in (target, prediction)])
        return {}

    NamedMetric(Given(count)).try_out(task, SPACE)
    targets = {"generalized": np.ones((2, 3, 5), bool), "video": np.ones((2, 3, 5), bool)}
    target = targets.get(task, np.ones((3, 5), np.int32 if task == "semantic" else bool))
    Scorer(task, SPACE, metrics=(NamedMetric(Given(count)),)).failed_record("a", "x", target)
    assert seen[0] == seen[1]
    assert {kinds[0][0] for kinds in seen} == {"int32" if task == "semantic" else "bool"}


def test_names_of_metrics(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in ones are found by the same names, and what clashes is told with the packages."""
    install(source=PRESENCE, points=POINTS)
    monkeypatch.setitem(metrics.METRICS, "given", Given())
    [given, presence] = find_metrics(["given", "presence"], "semantic")
    assert given.plugin is None
    assert presence.plugin is not None
    with pytest.raises(PluginError, match=r"^metrics: expected each metric once, found 'given' again"):
        find_metrics(["given", "given"], "semantic")
    with pytest.raises(PluginError, match=r"found 'presences'; did you mean presence\?"):
        find_metrics(["presences"], "semantic")
    install("other", source=PRESENCE, points={"metrics": {"given": "other:Presence", "presence": "other:Presence"}})
    for name, packages in (("given", "car-eval and other"), ("presence", "other and fruitbox")):
        with pytest.raises(PluginError, match=f"^metrics: expected one package with '{name}', found {packages}"):
            find_metrics([name], "semantic")


def test_a_run_with_a_built_in_metric_is_read_back(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(metrics.METRICS, "given", Given())
    run = evaluate(tiny_run.options(settings=FAST, metrics=("given",), limit=1))
    assert run.header.plugins == []
    assert Scorer.of_run(RunDirectory(run.path).read_header()).missing == {}
    monkeypatch.setitem(metrics.METRICS, "given", Given(version="2"))
    assert "not version 1 of the run" in Scorer.of_run(run.header).missing["given"]
