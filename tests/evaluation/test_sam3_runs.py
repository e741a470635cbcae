"""Runs with SAM 3 with random weights: semantic and referring, resumed, and beside other methods."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.command import car

from car_core.baselines import load_baseline
from dataset_adapters import embedded_root, load
from evaluation.request.benchmark import load_benchmark
from evaluation.request.methods import METHODS, find_method
from evaluation.request.options import RunOptions
from evaluation.suites import runner as suite
from evaluation.tasks.task import find_task

pytest.importorskip("transformers", minversion="5.0", reason="needs the extra sam")

SETTINGS = {"model": "random:0", "score_threshold": 0.2, "prob_threshold": 0.2}


def evaluated(benchmark: str, out: Path, *more: object, **settings: Any) -> Any:
    """run.json of two samples."""
    texts = [f"--set={key}={json.dumps(value)}" for key, value in {**SETTINGS, **settings}.items()]
    arguments = [
        "eval",
        benchmark,
        "--method=sam3",
        "--limit=2",
        "--workers=0",
        f"--out={out}",
        "--json",
        *texts,
        *more,
    ]
    result = car(*arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def segmenter(benchmark: str, task: str, **settings: Any) -> Any:
    config, _ = find_method("sam3").resolve(load_benchmark(benchmark), task, None, {**SETTINGS, **settings})
    return load_baseline(config, weights="", one_mask=find_task(task).one_mask)


def test_a_semantic_run_without_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("car_core.baselines.load_clip", lambda *_, **__: pytest.fail("CLIP was loaded"))
    header = evaluated("mini-voc", tmp_path / "run", "--names=released", background=["background"])
    lines = (tmp_path / "run" / "samples.jsonl").read_bytes()
    found = segmenter("mini-voc", "semantic", background=("background",))
    for line, sample in zip(lines.splitlines(), load("voc21", embedded_root()), strict=False):
        labels, known = found.segment(sample.image, sample.queries).label_map, sample.target != 255
        expected = Counter(zip(sample.target[known].tolist(), labels[known].tolist(), strict=True))
        assert {(t, p): n for t, p, n in json.loads(line)["counts"]["confusion"]} == expected
        assert len(expected) > 10
    assert [(each["role"], each["name"], each["trained"]) for each in header["weights"]] == [
        ("sam3", "random:0", False)
    ]
    assert {"method", "score_threshold"} <= header["identity_fields"]["config"].keys()
    assert "model" not in header["identity_fields"]["config"]
    assert "transformers" in header["identity_fields"]["packages"]
    table = (tmp_path / "run" / "table.md").read_text()
    assert "SAM 3" in table
    assert "trained on masks" in table
    # Cut off after a sample, it goes on with the same records.
    (tmp_path / "run" / "samples.jsonl").write_bytes(lines.splitlines(keepends=True)[0])
    again = evaluated("mini-voc", tmp_path / "run", "--names=released", background=["background"])
    resumed = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_bytes().splitlines()]
    assert [each["counts"] for each in resumed] == [json.loads(line)["counts"] for line in lines.splitlines()]
    assert (again["identity"], again["metrics"]) == (header["identity"], header["metrics"])


def test_the_identity_knows_weights_by_content(tmp_path: Path) -> None:
    found = segmenter("mini-voc", "semantic")
    for name in ("one", "two"):
        found._model.save_pretrained(tmp_path / name)
    first, second, other = (
        evaluated("mini-voc", tmp_path / f"run{i}", model=model)
        for i, model in enumerate([str(tmp_path / "one"), str(tmp_path / "two"), "random:1"])
    )
    assert [each["weights"][0]["name"] for each in (first, second)] == ["one", "two"]
    assert first["identity"] == second["identity"] != other["identity"]
    assert first["weights"][0]["trained"]


def test_a_referring_run_counts_the_union_of_instances(tmp_path: Path) -> None:
    header = evaluated("mini-refcoco", tmp_path / "run", "--protocol=sentences=joint")
    found = segmenter("mini-refcoco", "referring")
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    samples = load("refcoco", embedded_root(), split="val", options={"sentences": "joint"})
    for line, sample in zip(lines, samples, strict=False):
        mask, counts = found.segment(sample.image, sample.queries).masks.any(axis=0), json.loads(line)["counts"]
        assert counts["prediction"] == mask.sum() > 0
        assert counts["intersection"] == (mask & sample.target).sum()
    assert max(len(sample.queries) for sample in samples[:2]) > 1
    assert header["counts"]["n_failed"] == 0


def test_an_empty_mask_says_none() -> None:
    task, found = find_task("generalized"), segmenter("mini-refcoco", "generalized")
    samples = load("refcoco", embedded_root(), split="val")
    sample, space = samples[0], samples.label_space
    some = task.prediction(found.segment(sample.image, sample.queries), sample, space)
    found.config = found.config.model_copy(update={"score_threshold": 1.0})
    none = task.prediction(found.segment(sample.image, sample.queries), sample, space)
    assert (some.any(), none.any()) == (True, False)


def test_mistakes_are_one_line_before_any_work(tmp_path: Path) -> None:
    own = ("eval", "mini-voc", "--method=sam3", f"--out={tmp_path / 'run'}")
    for arguments, said in (
        (("--weights=openai",), "--weights: expected none, since sam3 names its own"),
        (("--set=model=/nowhere",), "sam3: expected a SAM 3 of transformers"),
        (("--set=models=a",), "did you mean model"),
        (("--profile=paper",), "sam3 has no profiles"),
    ):
        result = car(*own, *arguments)
        assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1), result.stderr
        assert said in result.stderr
    assert not (tmp_path / "run").exists()


def test_all_methods_are_with_sam_3_where_its_weights_are_named(tmp_path: Path) -> None:
    asked = RunOptions("mini-voc", method="all", weights="random:1", out=tmp_path)
    assert "sam3" not in suite.options_by_method(asked)
    runs = suite.options_by_method(
        RunOptions("mini-voc", method="all", weights="random:1", settings={"model": "random:0"})
    )
    assert list(runs) == [name for name in METHODS if name not in ("proxyclip", "lposs", "corrclip")]
    assert (runs["sam3"].weights, dict(runs["sam3"].settings)) == (None, {"model": "random:0"})
    assert (runs["naclip"].weights, dict(runs["naclip"].settings)) == ("random:1", {})
