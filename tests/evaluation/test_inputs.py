"""Data and weights that were not named, and how that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.command import car

from dataset_adapters import embedded_root
from evaluation import RunOptions, evaluate
from evaluation.request.benchmark import BenchmarkError, load_benchmark, resolve_config
from evaluation.request.inputs import UnnamedInputError, find_data, find_weights, with_own_models
from evaluation.request.resolve import NOT_COMPARABLE, resolve
from evaluation.run.rerun import request_of_run
from results import RunDirectory
from results.tables.run_notes import run_name

BOTH = {"proposal": "miniature", "classifier": "miniature"}
WEIGHTS = ["--weights openai", "--weights miniature"]
PHOTO = embedded_root() / "VOCdevkit/VOC2012/JPEGImages/2026_000020.jpg"
FAST = ["--set=templates=[]", "--set=background=[grass]", "--workers=0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without data/."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_default_place_is_data(elsewhere: Path) -> None:
    for folder in ("JPEGImages", "SegmentationClass"):
        (elsewhere / "data/VOCdevkit/VOC2012" / folder).mkdir(parents=True)
    run = resolve(RunOptions("voc21", weights="openai"))
    assert (run.data_root, run.weights) == (Path("data"), {"proposal": "openai", "classifier": "openai"})
    assert run.not_comparable is None
    with pytest.raises(UnnamedInputError, match="coco-object: expected its data"):  # data/ has nothing of COCO
        find_data(load_benchmark("coco-object"), None)


def test_the_miniature_never_stands_in_for_weights() -> None:
    with pytest.raises(UnnamedInputError, match=r"^weights: .*: --weights openai or --weights miniature$"):
        find_weights(None)
    with pytest.raises(UnnamedInputError, match=r"^classifier_weights: .* --classifier-weights openai or "):
        find_weights({"proposal": "openai", "classifier": None})


@pytest.mark.parametrize("root", [embedded_root("val"), embedded_root("tuning") / "VOCdevkit"])
def test_the_miniatures_data_are_known_by_their_place(root: Path) -> None:
    assert resolve(RunOptions("voc21", root, "openai")).not_comparable == NOT_COMPARABLE


def test_embedded_benchmark_is_silent_and_never_comparable(voc: Any) -> None:
    run = resolve(RunOptions("mini-voc"))
    assert (run.data_root, run.weights, run.not_comparable) == (embedded_root(), BOTH, NOT_COMPARABLE)
    assert resolve(RunOptions("mini-voc", voc.root, "openai")).not_comparable == NOT_COMPARABLE


def test_the_weights_bring_their_models_along() -> None:
    config, sources = resolve_config(load_benchmark("voc21"), "released", {})
    changed, who = with_own_models(config, sources, {"proposal": "miniature", "classifier": "openai"})
    assert (changed.proposal_model, changed.classifier_model) == ("miniature", "ViT-L-14")
    assert (who["proposal_model"], who["classifier_model"]) == ("default", "benchmark")
    config, sources = resolve_config(load_benchmark("voc21"), "released", {"classifier_model": "ViT-B-32"})
    with pytest.raises(BenchmarkError, match=r"classifier_model: expected weights for 'ViT-B-32'"):
        with_own_models(config, sources, BOTH)


@pytest.mark.parametrize(
    ("arguments", "problem", "ways"),
    [
        ("eval voc21 --weights openai", "voc21: expected its data", ["--data-root DIR", "car eval mini-voc"]),
        ("eval coco-object", "coco-object: expected its data", ["--data-root DIR", "car eval mini-coco-object"]),
        ("export voc21 --queries", "voc21: expected its data", ["--data-root DIR", "car eval mini-voc"]),
        ("sweep voc21 eta=0.3,0.4", "voc21: expected its data", ["--data-root DIR", "car eval mini-voc"]),
        (f"eval voc21 --data-root {embedded_root()}", "--weights: ", WEIGHTS),
        (f"eval voc21 --method all --data-root {embedded_root()}", "--weights: ", WEIGHTS),
        (f"eval voc21 --method naclip --data-root {embedded_root()}", "--weights: ", WEIGHTS),
        (f"segment {PHOTO} person", "--weights: ", WEIGHTS),
        (
            f"segment {PHOTO} person --proposal-weights openai",
            "--classifier-weights: ",
            [f"--classifier-{w[2:]}" for w in WEIGHTS],
        ),
        ("serve", "--weights: ", WEIGHTS),
    ],
)
def test_what_was_not_named_ends_with_two_lines_that_work(
    elsewhere: Path, arguments: str, problem: str, ways: list[str]
) -> None:
    result = car(*arguments.split())
    first, *rest = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert first.startswith(f"error: {problem}")
    assert [line.strip().split("  ")[0] for line in rest] == ways
    assert not any(elsewhere.iterdir())


def test_named_miniature_inputs_work_and_are_marked_everywhere(elsewhere: Path) -> None:
    result = car("eval", "voc21", "--limit=1", f"--data-root={embedded_root()}", "--weights=miniature", *FAST)
    assert result.exit_code == 0
    assert NOT_COMPARABLE in result.stdout
    assert "(paper)" not in result.stdout
    [run] = (elsewhere / "results/runs").iterdir()
    assert run.name.startswith("miniature-voc21-")  # a name that promises no photos
    assert run_name(RunDirectory(run).read_header()) == run.name  # as on a Hub and at trackers
    header = json.loads((run / "run.json").read_text())
    assert header["benchmark"]["not_comparable"] == NOT_COMPARABLE
    assert header["benchmark"]["paper"] is None
    assert [weights["name"] for weights in header["weights"]] == ["miniature", "miniature"]
    assert header["config"]["proposal_model"] == header["config"]["classifier_model"] == "miniature"


def test_a_run_of_an_older_version_keeps_its_miniature_weights(tiny_run: Any) -> None:
    header = evaluate(tiny_run.options(limit=1)).header
    used = [entry.model_copy(update={"name": "miniature"}) for entry in header.weights]
    request = {word: value for word, value in header.request.items() if word != "weights"}
    older = header.model_copy(update={"weights": used, "request": request})
    assert request_of_run(older).weights == BOTH
    assert request_of_run(header).weights == {"proposal": "random:1", "classifier": "random:1"}


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
