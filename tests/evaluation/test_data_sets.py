"""Whole runs of the benchmarks over made data with small random models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner

from car_core import CaR
from car_core.segmentation import Segmentation
from dataset_adapters import LabelSpace, Sample, load
from evaluation import RunOptions, evaluate
from evaluation.cli.app import app
from evaluation.request.benchmark import load_benchmark, resolve_config
from evaluation.tasks.semantic import predicted_labels


@pytest.fixture
def options(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """Options that lack the benchmark's name and data."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    # Every query of one step stays: random scores lie close together.
    settings = {**models, "recurrence": "none", "templates": ["a {}"]}
    return RunOptions("", tmp_path / "data", "random:1", settings=settings, out=tmp_path / "run", workers=0, quiet=True)


@pytest.fixture
def made(coco: Any, context: Any) -> None:
    coco.write_maps()
    coco.write_json()
    context.write_pngs()
    context.write_mats()
    context.write_json()


def matrix_by_hand(options: RunOptions, profile: Any) -> np.ndarray:
    """Counts of (true, predicted) label ids, by names instead of positions."""
    config, _ = resolve_config(load_benchmark(options.benchmark), profile, options.settings)
    car = CaR.from_config(config, weights="random:1")
    dataset = load(options.benchmark, options.data_root, source=options.source)[: options.limit]
    space = dataset.label_space
    matrix = np.zeros((len(space.labels), len(space.labels)), np.int64)
    for sample in dataset:
        if options.benchmark == "coco-object":
            found = car.segment(sample.image, space.queries)
        else:
            found = car.segment_two_pass(sample.image, space.things, space.stuff)
        prediction = np.zeros_like(sample.target)
        for position, query in enumerate(found.queries, start=1):
            label = space.query_labels[space.queries.index(query)]
            prediction[found.label_map == position] = label
        counted = sample.target != space.ignore_label
        matrix += confusion_matrix(sample.target[counted], prediction[counted], labels=range(len(space.labels)))
    return matrix


@pytest.mark.parametrize(
    ("benchmark", "source", "profile"),
    [
        ("coco-object", "stuffthingmaps", "released"),
        ("coco-object", "instances", "paper"),
        ("context60", "png", "released"),
        ("context60", "mat", "paper"),
        ("context59", "png", "paper"),
        ("context59", "json", "released"),
        ("pc459", "mat", "released"),
    ],
)
@pytest.mark.usefixtures("made")
def test_metrics_equal_an_independent_count(options: RunOptions, benchmark: str, source: str, profile: Any) -> None:
    limit = 1 if benchmark == "pc459" else None  # 459 queries take their time
    options = replace(options, benchmark=benchmark, source=source, profile=profile, limit=limit)
    header = evaluate(options).header
    assert header.counts.n_failed == 0
    matrix = matrix_by_hand(options, profile)
    first = 1 if benchmark in ("context59", "pc459") else 0
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    seen = union[first:] > 0
    assert header.metrics["miou"] == pytest.approx((matrix.diagonal()[first:][seen] / union[first:][seen]).mean())
    assert len(np.unique(matrix.nonzero()[1])) > 2  # several classes were predicted
    assert header.benchmark.dataset.name == f"{benchmark}/{source}"
    assert f"{benchmark}/{source}, split val" in (options.out / "table.md").read_text()  # type: ignore[operator]


@pytest.mark.usefixtures("made")
def test_the_source_is_part_of_the_identity(options: RunOptions, tmp_path: Path) -> None:
    headers = [
        evaluate(replace(options, benchmark="coco-object", source=source, out=tmp_path / str(source), limit=1)).header
        for source in (None, "stuffthingmaps", "instances")
    ]
    assert headers[0].identity == headers[1].identity != headers[2].identity
    assert [header.identity_fields["dataset"]["adapter"] for header in headers[1:]] == [
        "coco-object/stuffthingmaps",
        "coco-object/instances",
    ]


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("change", [{"batch_size": 1}, {"batch_size": 3, "workers": 2}], ids=str)
def test_batches_and_workers_change_nothing_in_two_passes(
    options: RunOptions, tmp_path: Path, change: dict[str, int]
) -> None:
    options = replace(options, benchmark="context60", settings={**options.settings, "recurrence": "full"})
    runs = [evaluate(replace(options, out=tmp_path / name, **own)) for name, own in (("a", {}), ("b", change))]
    assert runs[0].header.metrics == runs[1].header.metrics
    lines = [
        [{**json.loads(line), "seconds": None} for line in (run.path / "samples.jsonl").read_text().splitlines()]
        for run in runs
    ]
    assert lines[0] == lines[1]


@pytest.mark.usefixtures("made")
def test_one_bad_image_does_not_fail_its_batch_in_two_passes(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CaR.segment_two_pass_batch

    def segment(car: CaR, images: Any, things: Any, stuff: Any) -> Any:
        if any(image.shape[0] == 33 for image in images):
            raise RuntimeError("this image")
        return original(car, images, things, stuff)

    monkeypatch.setattr(CaR, "segment_two_pass_batch", segment)
    header = evaluate(replace(options, benchmark="context60", refine_workers=0)).header
    assert (header.counts.n_total, header.counts.n_failed) == (3, 1)


def test_predicted_labels_follow_the_text_whatever_the_order() -> None:
    space = LabelSpace("x", ("background", "a", "b", "c"), ("B", "A", "C"), (2, 1, 3), 255, (0,), (False, True, False))
    assert (space.things, space.stuff) == (("B", "C"), ("A",))
    masks = np.zeros((3, 1, 4), np.bool_)
    found = Segmentation(
        (*space.things, *space.stuff), masks, np.zeros(3, np.float32), (), np.array([[0, 1, 2, 3]]), ()
    )
    sample = Sample("x", np.zeros((1, 4, 3), np.uint8), space.queries, "semantic", np.zeros((1, 4), np.int32))
    assert predicted_labels(found, sample, space).tolist() == [[0, 2, 3, 1]]


def test_hyperparameters() -> None:
    def values(name: str, profile: Any) -> tuple[Any, ...]:
        config, _ = resolve_config(load_benchmark(name), profile, {})
        return config.eta, config.theta, config.lambda_, set(config.prompts), set(config.stuff_prompts or ())

    for profile in ("paper", "released"):
        assert values("coco-object", profile) == (0.5, 0.3, 0.5, {"blur", "gray"}, set())
        for name in ("context60", "context59"):
            theta = {"paper": 0.2, "released": 0.25}[profile]
            assert values(name, profile) == (0.6, theta, 0.4, {"blur", "circle"}, {"blur", "gray"})
        for name, eta in {"ade150": 0.6, "ade847": 0.6, "pc459": 0.4}.items():
            assert values(name, profile) == (eta, 0.25, 0.7, {"blur", "gray"}, {"blur", "gray"})


@pytest.mark.usefixtures("made")
def test_source_on_the_command_line(options: RunOptions) -> None:
    given = ["--data-root", str(options.data_root), "--weights=random:1", f"--out={options.out}", "--workers=0"]
    given += [f"--set={key}={json.dumps(value)}" for key, value in options.settings.items()]
    run = CliRunner().invoke(app, ["eval", "coco-object", *given, "--limit=1", "--source=instances"])
    assert run.exit_code == 0, run.output
    assert "coco-object/instances, split val2017" in run.output
    wrong = CliRunner().invoke(app, ["eval", "coco-object", *given, "--source=panoptic"])
    assert wrong.exit_code == 2
    assert "(stuffthingmaps, instanceTrainIds, instances), found 'panoptic'" in wrong.stderr
