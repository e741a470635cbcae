"""``car report`` over a small run: the gallery shows what the records say; other data or models are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command import car
from PIL import Image

from dataset_adapters import LabelSpace
from evaluation import evaluate
from evaluation.analysis.drawn_samples import choose, draw_sample
from evaluation.analysis.report import (
    GalleryOptions,
    _prepared,
    confusions,
    matrix,
    names_models,
    report,
    sample_classes,
)
from evaluation.tasks.scorer import Scorer
from results import RunDirectory, SampleRecord
from results.pages.embedded import Matrix
from support.strict_json import identity_of


def record(number: int, status: str = "ok", **counts: Any) -> SampleRecord:
    error = None if status == "ok" else "unreadable"
    return SampleRecord(id=f"s{number}", status=status, error=error, counts=counts)  # type: ignore[arg-type]


def test_best_worst_and_random_samples_are_distinct() -> None:
    records = [*(record(number) for number in range(10)), record(10, "failed")]
    figures = np.array([0.5, 0.9, 0.1, np.nan, 0.7, 0.3, 0.2, 0.8, 0.6, 0.4, 1.0])
    chosen = choose(records, figures, 2, seed=1)
    assert [(choice.record.id, choice.group) for choice in chosen[:4]] == [
        ("s1", "best"),
        ("s7", "best"),
        ("s2", "worst"),
        ("s6", "worst"),
    ]
    assert len({choice.record.id for choice in chosen}) == 6
    assert chosen == choose(records, figures, 2, seed=1)
    few = choose(records[:3], figures[:3], 2, seed=1)
    assert [choice.record.id for choice in few] == ["s1", "s0", "s2"]


@pytest.mark.parametrize(
    ("n", "groups"),
    [
        (1, ["best"]),
        (2, ["best", "worst"]),
        (4, ["best", "best", "worst", "worst"]),
        (5, ["best", "best", "best", "worst", "worst"]),
        (9, [*["best"] * 4, *["worst"] * 4, "random"]),
    ],
)
def test_few_samples_are_split_into_best_and_worst(n: int, groups: list[str]) -> None:
    figures = np.linspace(0.9, 0.1, n)
    chosen = choose([record(number) for number in range(n)], figures, 4, seed=1)
    assert [choice.group for choice in chosen] == groups
    assert len({choice.record.id for choice in chosen}) == n
    best, worst = ([choice.figure for choice in chosen if choice.group == group] for group in ("best", "worst"))
    assert min(best) > max(worst, default=0)
    assert worst == sorted(worst)


def test_no_samples_are_chosen_from_none() -> None:
    assert choose([], np.array([]), 2, seed=1) == []


def test_confusions_are_shares_of_the_targets_pixels() -> None:
    space = LabelSpace("made", ("background", "a", "b"), ("a", "b"), (1, 2), 255, (1, 2))
    records = [
        record(0, confusion=[[1, 2, 30], [1, 1, 50], [0, 1, 99]]),
        record(1, confusion=[[1, 0, 20], [2, 1, 9], [2, 2, 1]]),
    ]
    found = [(pair.target, pair.predicted, pair.pixels, pair.share) for pair in confusions(records, space)]
    assert found == [("b", "a", 9, 0.9), ("a", "b", 30, 0.3), ("a", "background", 20, 0.2)]


def test_confusions_that_would_be_shown_as_zero_are_left_out() -> None:
    space = LabelSpace("made", ("background", "a", "b"), ("a", "b"), (1, 2), 255, (1, 2))
    records = [record(0, confusion=[[1, 0, 5], [1, 2, 4], [1, 1, 9991]])]
    assert [(pair.predicted, pair.pixels) for pair in confusions(records, space)] == [("background", 5)]


@pytest.fixture
def run(tiny_run: Any) -> Any:
    """Four samples, evaluated."""
    evaluate(tiny_run.options(limit=4))
    return tiny_run


def test_the_report_of_data_of_ones_own(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    generator, (photos, labels) = np.random.default_rng(0), (tmp_path / "photos", tmp_path / "labels")
    for folder in (photos, labels):
        folder.mkdir()
    for name in ("one", "two"):
        Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(photos / f"{name}.png")
        Image.fromarray(generator.integers(0, 3, (24, 32), dtype=np.uint8)).save(labels / f"{name}.png")
    (tmp_path / "classes.txt").write_text("background\ncat & kitten\ndog\n")
    own = [f"--images={photos}", f"--masks={labels}", f"--classes={tmp_path / 'classes.txt'}"]
    models = [f"--set={role}_model={tiny_model}" for role in ("proposal", "classifier")]
    run = tmp_path / "run"
    made = car("eval", *own, *models, "--weights=random:1", "--workers=0", f"--out={run}")
    assert made.exit_code == 0, made.stderr
    page = Path(car("report", run, "--gallery", *own).stdout.strip()).read_text()
    assert page.count('<article class="sample"') == 2
    assert "segmented again for this report" not in page
    assert "cat &amp; kitten" in page
    header = json.loads((run / "run.json").read_text())
    for fields in (header["benchmark"], header["identity_fields"]):  # as before label spaces had them
        assert fields["label_space"].pop("mask_values") == [0, 1, 2]
    header["identity"] = identity_of(header["identity_fields"])
    (run / "run.json").write_text(json.dumps(header))
    older = Path(car("report", run, "--gallery", *own).stdout.strip()).read_text()
    assert older.count('<article class="sample"') == 2
    bare = car("report", run, "--gallery")
    assert "the run's data was not given: --images, --masks and --classes\n" in bare.stderr
    assert "by --images, --masks and --classes and --gallery" in Path(bare.stdout.strip()).read_text()
    assert "no data root with your own data" in car("report", run, f"--data-root={tmp_path}").stderr
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photos / "three.png")
    other = car("report", run, "--gallery", *own)
    assert other.exit_code == 2
    assert other.stderr.startswith("error: ")


def test_the_report_of_a_run(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = car("report", run.out)
    assert bare.exit_code == 0
    assert "by --data-root and --gallery" in Path(bare.stdout.strip()).read_text()
    assert "notice: no samples are shown" in bare.stderr
    assert "notice: no samples" not in car("report", run.out, "--samples=0").stderr
    by_itself = car("report", run.out, "--data-root", run.data_root)
    assert "notice: no samples are shown, because that would load what the run names, random:" in by_itself.stderr
    assert by_itself.exit_code == 0
    with_gallery = car("report", run.out, "--data-root", run.data_root, "--gallery", "--samples=1")
    html = Path(with_gallery.stdout.strip()).read_text()
    assert html.count('<article class="sample"') == 3
    assert "segmented again for this report" not in html  # the counts are those of the records
    same_weights_are_asked_for(run)
    a_sample_is_what_its_record_says(run)
    other_counts_are_told(run)
    monkeypatch.setenv("HOME", str(run.out.parent))
    assert report(str(run.out), out="~/page.html") == run.out.parent / "page.html"
    assert "</html>" in (run.out.parent / "page.html").read_text()
    models_that_it_would_load_are_named(run)


def same_weights_are_asked_for(run: Any) -> None:
    other = car("report", run.out, "--data-root", run.data_root, "--gallery", "--weights=random:2")
    assert other.exit_code == 2
    assert other.stderr.startswith("error: --weights: expected that of the run")
    header = json.loads((run.out / "run.json").read_text())
    for entry in header["weights"]:
        entry["name"] = "mine.safetensors"
    copy = run.out.parent / "copy"
    shutil.copytree(run.out, copy)
    (copy / "run.json").write_text(json.dumps(header))
    unnamed = car("report", copy, "--gallery", "--data-root", run.data_root)
    assert unnamed.exit_code == 2
    assert "expected the file mine.safetensors" in unnamed.stderr


def models_that_it_would_load_are_named(run: Any) -> None:
    path, header = run.out / "run.json", json.loads((run.out / "run.json").read_text())
    models = [header["config"][f"{role}_model"] for role in ("proposal", "classifier")]
    names = {role: f"{role}.safetensors" for role in ("proposal", "classifier")}
    for entry in header["weights"]:
        entry["name"] = names[entry["role"]]
    header["config"]["sam"] = {"model": "a-stranger/sam"}
    path.write_text(json.dumps(header))
    expected = ["proposal.safetensors", "classifier.safetensors", *dict.fromkeys(models), "a-stranger/sam"]
    assert names_models(RunDirectory(run.out).read_header(), None) == ", ".join(expected)
    assert names_models(RunDirectory(run.out).read_header(), {"proposal": "mine.pt"}) == ", ".join(expected[1:])
    for entry in header["weights"]:
        entry["name"] = "miniature"
    header["config"] |= {"sam": None, "proposal_model": "ViT-B-16", "classifier_model": "miniature"}
    header["request"] = {}
    path.write_text(json.dumps(header))
    assert names_models(RunDirectory(run.out).read_header(), None) == ""


def a_sample_is_what_its_record_says(run: Any) -> None:
    store = RunDirectory(run.out)
    header, records = store.read_header(), store.read_records()
    prepared = _prepared(header, GalleryOptions(run.data_root))
    figures = Scorer.of_run(header).sample_figures(records)
    for choice in choose(records, figures, 1, seed=0):
        shown = draw_sample(choice, prepared)
        assert shown is not None
        assert shown.note == ""
        assert [label.iou for label in shown.labels] != []
        last = shown.steps[-1]
        assert len(shown.steps) == choice.record.steps
        assert {query.query for query in last.queries if query.kept} == set(choice.record.queries_kept)
        for step in shown.steps:
            assert [query.score for query in step.queries] == sorted((q.score for q in step.queries), reverse=True)
            assert step.pictured


def other_counts_are_told(run: Any) -> None:
    lines = [json.loads(line) for line in (run.out / "samples.jsonl").read_text().splitlines()]
    for line in lines:
        line["counts"]["confusion"][0][2] += 1
    (run.out / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = car("report", run.out, "--data-root", run.data_root, "--gallery", "--samples=1").stdout.strip()
    assert Path(path).read_text().count("its counts are not those of the record") == 3


def test_gallery_matrix_and_classes_are_those_of_the_counts() -> None:
    space = LabelSpace("made", ("background", "a", "b", "c"), ("a", "b"), (1, 2), 255, (0, 1, 2))
    one = record(0, confusion=[[0, 0, 9], [1, 0, 3], [2, 2, 4], [0, 3, 1]])
    two = record(1, confusion=[[0, 1, 5], [2, 2, 6]])
    assert matrix([one, two], space) == Matrix(
        space.labels, ((0, 0, 9), (0, 1, 5), (0, 3, 1), (1, 0, 3), (2, 2, 10)), 0
    )
    assert sample_classes(one, space) == [("a", "missed"), ("b", "")]
    assert sample_classes(two, space) == [("a", "wrong"), ("b", "")]


def test_only_the_smallest_cells_are_left_out() -> None:
    space = LabelSpace("made", ("background", "a"), ("a",), (1,), 255, (0, 1))
    found = matrix([record(0, confusion=[[0, 0, 9], [0, 1, 1], [1, 0, 2], [1, 1, 5]])], space, most=2)
    assert (found.cells, found.n_left_out) == (((0, 0, 9), (1, 1, 5)), 2)


def test_a_folder_of_runs_has_an_index_and_a_page_of_each(run: Any, tmp_path: Path) -> None:
    runs = tmp_path / "many"
    for name in ("one", "part/two"):
        shutil.copytree(run.out, runs / name)
    for name, text in {"broken": "{", "other": "[]"}.items():
        (runs / name).mkdir()
        (runs / name / "run.json").write_text(text)
    (runs / "part" / "two" / "samples.jsonl").write_text('{"id": "x"}\n')
    made = car("report", runs)
    assert made.exit_code == 0, made.stderr
    assert Path(made.stdout.strip()) == runs / "report" / "index.html"
    assert "notice: 3 runs without a page, first " in made.stderr
    assert sorted(path.name for path in (runs / "report").iterdir()) == ["index.html", "one.html"]
    index = (runs / "report" / "index.html").read_text()
    assert 'href="one.html"' in index
    for reason in ("broken/run.json: ", "other/run.json: ", "part/two: "):
        assert f"<li>{reason}" in index
    assert str(tmp_path) not in index.partition("Without a page")[2]  # which may be published
    shown = car("report", runs, "--data-root", run.data_root, "--gallery", "--samples=1", "--out", tmp_path / "site")
    assert shown.exit_code == 0, shown.stderr
    assert (tmp_path / "site" / "one.html").read_text().count('<article class="sample"') == 3
    other = car("report", runs, "--data-root", tmp_path, "--gallery", "--out", tmp_path / "site")
    assert other.exit_code == 0, other.stderr
    assert "notice: one: no samples are shown: " in other.stderr
    refused = car("report", runs, "--out", runs / "one")
    assert refused.stderr.startswith(f"error: {runs / 'one'}: expected a folder for pages, found the run.json of a run")
    assert not (runs / "one" / "index.html").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert car("report", empty).stderr == f"error: {empty}: no runs in or below it\n"
