"""What stands in for data and weights that were not named, and how that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dataset_adapters import DatasetError, embedded_root
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import BenchmarkError, load_benchmark, resolve_config
from evaluation.request.inputs import NOT_COMPARABLE, Inputs, resolve_inputs, with_own_models

BOTH = {"proposal": "miniature", "classifier": "miniature"}
NO_WEIGHTS = "no --weights: using the embedded miniature; its figures are not comparable with the paper's"
FAST = ["--set=templates=[]", "--set=background=[grass]", "--workers=0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without data/."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def inputs(name: str, data_root: Path | None = None, weights: Any = None) -> Inputs:
    return resolve_inputs(load_benchmark(name), data_root, weights)


def car(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_nothing_named_is_the_miniature_with_a_notice_each() -> None:
    found = inputs("voc21")
    assert (found.data_root, found.weights, found.remark) == (embedded_root("val"), BOTH, NOT_COMPARABLE)
    assert found.notices[0] == NO_WEIGHTS
    assert found.notices[1].startswith("no --data-root and nothing of voc21 in data/: using the embedded miniature")


def test_the_default_place_comes_before_the_miniature(elsewhere: Path) -> None:
    for folder in ("JPEGImages", "SegmentationClass"):
        (elsewhere / "data/VOCdevkit/VOC2012" / folder).mkdir(parents=True)
    assert inputs("voc21", weights="openai") == Inputs(
        Path("data"), {"proposal": "openai", "classifier": "openai"}, (), None
    )
    assert inputs("coco-object").data_root == embedded_root()  # data/ has nothing of COCO


def test_what_is_named_is_kept_and_the_rest_is_said() -> None:
    found = inputs("voc21", Path("nowhere"), {"proposal": "openai", "classifier": None})
    assert (found.data_root, found.weights) == (Path("nowhere"), {"proposal": "openai", "classifier": "miniature"})
    assert [notice.split(":")[0] for notice in found.notices] == ["no --classifier-weights"]
    assert found.remark == NOT_COMPARABLE
    assert inputs("voc21", Path("nowhere"), "openai").remark is None


@pytest.mark.parametrize("root", [embedded_root("val"), embedded_root("tuning") / "VOCdevkit"])
def test_the_miniatures_data_are_known_by_their_place(root: Path) -> None:
    assert inputs("voc21", root, "openai").remark == NOT_COMPARABLE


def test_an_embedded_benchmark_says_nothing_and_is_never_comparable() -> None:
    assert inputs("mini-voc") == Inputs(embedded_root(), BOTH, (), NOT_COMPARABLE)
    assert inputs("mini-voc", Path("nowhere"), "openai").remark == NOT_COMPARABLE


def test_data_that_the_miniature_lacks_must_be_named() -> None:
    with pytest.raises(DatasetError, match=r"--data-root: expected the folder of refcocog, found none given"):
        inputs("refcocog-val-umd")


def test_the_weights_bring_their_models_along() -> None:
    config, sources = resolve_config(load_benchmark("voc21"), "released", {})
    changed, who = with_own_models(config, sources, {"proposal": "miniature", "classifier": "openai"})
    assert (changed.proposal_model, changed.classifier_model) == ("miniature", "ViT-L-14")
    assert (who["proposal_model"], who["classifier_model"]) == ("default", "benchmark")
    config, sources = resolve_config(load_benchmark("voc21"), "released", {"classifier_model": "ViT-B-32"})
    with pytest.raises(BenchmarkError, match=r"classifier_model: expected weights for 'ViT-B-32'"):
        with_own_models(config, sources, BOTH)


def test_a_run_without_weights_or_data_says_so_everywhere(elsewhere: Path) -> None:
    result = car("eval", "voc21", "--limit=1", "--out=run", *FAST)
    assert result.exit_code == 0
    notices = [line for line in result.stderr.splitlines() if line.startswith("notice: ")]
    assert notices[0] == f"notice: {NO_WEIGHTS}"
    assert len(notices) == 2
    assert NOT_COMPARABLE in result.stdout
    assert "(paper)" not in result.stdout
    header = json.loads((elsewhere / "run/run.json").read_text())
    assert header["benchmark"]["not_comparable"] == NOT_COMPARABLE
    assert header["benchmark"]["paper"] is None
    assert [weights["name"] for weights in header["weights"]] == ["miniature", "miniature"]
    assert header["config"]["proposal_model"] == header["config"]["classifier_model"] == "miniature"


def test_a_data_root_that_lacks_the_data_stays_an_error() -> None:
    result = car("eval", "voc21", "--data-root=nowhere")
    assert result.exit_code == 2
    assert "nowhere: expected a folder, found nothing" in result.stderr


def test_a_mini_benchmark_needs_no_option_and_is_silent() -> None:
    result = car("eval", "mini-voc", "--limit=1", "--out=run", *FAST)
    assert result.exit_code == 0
    assert "notice" not in result.stderr
    assert "mini-voc: CaR, paper profile, miniature" in result.stdout
    assert "(paper)" not in result.stdout


def test_the_miniatures_weights_on_other_data_stay_marked(voc: Any, elsewhere: Path) -> None:
    settings = {"templates": [], "background": ["grass"]}
    options = RunOptions("voc21", voc.root, "miniature", settings=settings, limit=1, out=elsewhere / "run", workers=0)
    header = evaluate(options).header
    assert header.benchmark.not_comparable == NOT_COMPARABLE
    assert header.benchmark.paper is None
