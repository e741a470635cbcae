"""`car suite eight` on small made data in all official layouts, against mIoU by brute force from saved predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import car
from helpers.faults import FAULTY
from helpers.made_trees import make_eight
from PIL import Image

from evaluation.request.benchmark import BenchmarkError
from evaluation.suites.definitions import load_suite
from results.paper.paper_tables import EIGHT

N_CLASSES = {
    "voc21": 20,
    "context60": 59,
    "coco-object": 80,
    "voc20": 20,
    "context59": 59,
    "coco-stuff": 171,
    "cityscapes": 19,
    "ade150": 150,
}
WITH_BACKGROUND = {"voc21", "context60", "coco-object"}


def brute_force(name: str, targets: dict[str, np.ndarray], folder: Path) -> float:
    """mIoU in percent over classes with a pixel in target or prediction, both counted where the target counts."""
    intersections, unions = np.zeros((2, N_CLASSES[name] + 1))
    for id_, target in targets.items():
        predicted = np.asarray(Image.open(folder / f"{id_}.png"))
        assert predicted.shape == target.shape
        for label in range(name not in WITH_BACKGROUND, N_CLASSES[name] + 1):
            counts = target >= 0
            intersections[label] += np.sum(counts & (predicted == label) & (target == label))
            unions[label] += np.sum(counts & ((predicted == label) | (target == label)))
    there = unions > 0
    return float(100 * np.mean(intersections[there] / unions[there]))


@pytest.fixture
def asked(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`car suite eight` with a small random model and one text per class."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    settings = {"proposal_model": str(tiny_model), "templates": ["{}"]}
    root = f"--data-root={tmp_path / 'data'}"
    texts = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    return ["suite", "eight", root, "--weights=random:1", *texts]


def rows_of_runs(folder: Path) -> list[dict[str, str]]:
    return [row for row in csv.DictReader((folder / "table.csv").open()) if row["ran_by"] == "here"]


def test_suite_eight_equals_brute_force(asked: list[str], tmp_path: Path) -> None:
    targets = make_eight(tmp_path / "data")
    assert list(EIGHT) == [run.benchmark for run in load_suite("eight").runs]
    assert targets.keys() == EIGHT.keys()
    out = tmp_path / "out"
    result = car(*asked, "--method=maskclip", "--save-predictions=png", f"--out={out}")
    assert result.exit_code == 0, result.stderr
    assert "missing" not in result.stderr
    expected = {name: brute_force(name, targets[name], out / name / "predictions") for name in EIGHT}
    assert all(0 < figure < 100 for figure in expected.values())
    [own] = rows_of_runs(out)
    assert {name: float(own[name]) for name in EIGHT} == pytest.approx(expected)
    assert float(own["mean"]) == pytest.approx(np.mean(list(expected.values())))
    # A mean of small data and random weights stands, and is marked.
    assert own["remarks"].split("; ") == [
        "mean not comparable with published ones",
        "untrained weights, not comparable",
        "partial data set",
    ]
    assert "| SCLIP " in (out / "table.md").read_text()
    assert Image.open(out / "plot.png").width > 1000
    table = car("table", out).stdout
    assert table.strip() == result.stdout.strip()


def test_suite_eight_lists_missing_data_and_means_no_limits(asked: list[str], tmp_path: Path) -> None:
    make_eight(tmp_path / "data")
    root = tmp_path / "data"
    (root / "cityscapes").rename(root / "elsewhere")
    (root / "coco/stuffthingmaps").rename(root / "coco/maps")
    (root / "VOCdevkit").rename(root / "vocdevkit")
    result = car(*asked, "--method=clip,maskclip", "--limit=1", f"--out={tmp_path / 'out'}")
    assert result.exit_code == 0, result.stderr
    missing = [line for line in result.stderr.splitlines() if line.startswith("missing: ")]
    assert [line.partition(": expected ")[0] for line in missing] == [
        f"missing: {names}"
        for names in ("voc21, voc20", "context60, context59", "coco-object", "coco-stuff", "cityscapes")
    ]
    assert f"car data prepare voc --data-root {root}" in missing[0]
    assert f"in {root} or {root / 'cityscapes'}; download leftImg8bit_trainvaltest.zip" in missing[-1]
    rows = rows_of_runs(tmp_path / "out")
    assert [row["method"].partition(",")[0] for row in rows] == ["CLIP", "MaskCLIP"]
    for row in rows:
        assert [name for name in EIGHT if row[name]] == ["ade150"]
        assert (row["mean"], "partial run: 1 of 3 images" in row["remarks"]) == ("", True)
    assert "No run on voc21, context60, coco-object, voc20, context59, coco-stuff, cityscapes" in result.stdout


def test_suite_eight_without_or_with_broken_data_is_an_error(asked: list[str], tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    nothing = car(*asked, "--method=clip")
    assert (nothing.exit_code, nothing.stderr.count("\n")) == (2, 1)
    assert f"expected a data set of the suite eight in {root}, found none" in nothing.stderr
    make_eight(root)
    next((root / "ADEChallengeData2016/images/validation").iterdir()).unlink()
    broken = car(*asked, "--method=clip")
    assert (broken.exit_code, broken.stderr.count("\n")) == (2, 1)
    assert "expected the image of ADE_val_" in broken.stderr


def test_methods_of_a_suite_and_settings_that_each_takes(capsys: pytest.CaptureFixture[str]) -> None:
    suite = load_suite("eight")
    settings: dict[str, Any] = {"eta": 0.3, "templates": ["{}"]}
    every = suite.of_methods("all", settings)
    assert every.name == "eight-all"
    assert [run.name for run in every.runs[:9]] == [*(f"{name}-car" for name in EIGHT), "voc21-clip"]
    assert (every.runs[0].settings, every.runs[8].settings) == (settings, {"templates": ["{}"]})
    methods = {run.method for run in every.runs}
    assert {"proxyclip", "lposs"} & methods == set()  # no trunk is named
    assert "lposs" in {run.method for run in suite.of_methods("all", {"dino_weights": "random:0"}).runs}
    one = suite.of_methods("sclip", settings)
    assert ([run.name for run in one.runs], one.name) == (list(EIGHT), "eight-sclip")
    assert {run.method for run in one.runs} == {"sclip"}
    mini = load_suite("mini").of_methods("car,naclip", {})
    assert [run.name for run in mini.runs if run.method == "naclip"] == [
        f"{name}-naclip" for name in ("mini-voc", "mini-coco-object", "mini-context", "mini-refcoco")
    ]
    capsys.readouterr()
    own = load_suite("mini").of_methods(FAULTY, {})  # for semantic benchmarks
    assert [run.name for run in own.runs] == ["mini-voc", "mini-coco-object", "mini-context"]
    assert capsys.readouterr().err == "notice: mini-refcoco left out: faulty is for semantic\n"
    assert [run.name for run in suite.of_methods(FAULTY, {}).runs] == list(EIGHT)
    phrases = suite.model_copy(update={"runs": load_suite("mini").runs[-1:]})
    with pytest.raises(BenchmarkError, match="the task semantic for faulty, found referring"):
        phrases.of_methods(FAULTY, {})
    assert capsys.readouterr().err == ""
    with pytest.raises(BenchmarkError, match="nothing: no method has this setting"):
        suite.of_methods("all", {"nothing": 1})
