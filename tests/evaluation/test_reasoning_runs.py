"""Whole runs of ReasonSeg and MeViS on made data: figures by literal loops, parts and their merger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.made_referring import MevisTree, add_reasoning, box, mevis_tree, random_shapes, reasonseg_path
from PIL import Image
from scipy.ndimage import binary_dilation

from dataset_adapters import load
from evaluation import Run, RunOptions, evaluate
from evaluation.request.options import Predictions
from evaluation.run.merge import merge

FAST: dict[str, Any] = {"quiet": True, "workers": 0, "refine_workers": 0}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))


def merged_parts(options: RunOptions, tmp_path: Path) -> Any:
    """The header of three shards, put together."""
    for part in (1, 2, 3):
        evaluate(RunOptions(**{**vars(options), "shard": (part, 3), "out": tmp_path / f"part{part}"}))
    return merge([tmp_path / f"part{part}" for part in (2, 3, 1)], tmp_path / "merged")


def write(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def test_reasonseg_equals_a_literal_loop(tmp_path: Path) -> None:
    """LISA's sums: ignored pixels leave both masks, I / (U + 1e-5) per image, 1 where U is 0; sums for cIoU."""
    rng, size = np.random.default_rng(8), (23, 37)
    for seed in range(40):
        shapes = random_shapes(seed, size) if seed else [box(0, 0, 36, 22, "ignore")]
        add_reasoning(tmp_path / "data", f"val/{seed:02d}", shapes, size=size)
    gious, total_i, total_u, kinds = [], 0, 0, set()
    for number, sample in enumerate(load("reasonseg", tmp_path / "data")):
        target = sample.target.any(axis=0)
        prediction = target ^ (rng.random(size) < 0.1) if number % 3 else sample.void & (rng.random(size) < 0.5)
        write(tmp_path / "predicted" / f"{sample.id}.png", prediction)
        i = u = 0
        for t, ignored, p in zip(target.ravel(), sample.void.ravel(), prediction.ravel(), strict=True):
            i, u = i + (t and p and not ignored), u + ((t or p) and not ignored)
        gious.append(i / (u + 1e-5) + (u == 0))
        total_i, total_u = total_i + i, total_u + u
        kinds.add((bool(target.any()), bool(sample.void.any()), bool(prediction.any()), u == 0))
    assert len(kinds) >= 7
    given = {"predictions": Predictions(tmp_path / "predicted"), "out": tmp_path / "run", **FAST}
    options = RunOptions("reasonseg-val", tmp_path / "data", **given)
    metrics = evaluate(options).header.metrics
    assert metrics["giou_mean_over_samples"] == pytest.approx(np.mean(gious), rel=1e-6)  # without LISA's 1e-5
    assert metrics["ciou_pooled"] == total_i / total_u
    assert json.dumps(merged_parts(options, tmp_path).metrics) == json.dumps(metrics)


def test_car_runs_reasonseg_and_a_broken_image_is_left_out(tiny_model: Path, tmp_path: Path) -> None:
    for seed in range(3):
        add_reasoning(tmp_path / "data", f"test/{seed}", random_shapes(seed, (24, 32)), size=(24, 32))
    reasonseg_path(tmp_path / "data", "test/1.jpg").write_bytes(b"no image")
    models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    run: Run = evaluate(
        RunOptions("reasonseg-test", tmp_path / "data", "random:1", settings=models, out=tmp_path / "run", **FAST)
    )
    assert (run.header.counts.n_scored, run.header.counts.n_failed) == (2, 1)
    assert run.header.metrics["failed"][0]["counted_as_empty"] is False
    protocol = {"resolution": "original", "no_target_below": "1", "objects": "all"}
    assert run.header.identity_fields["protocol"] == protocol


def contour(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the one to the right, below, or right and below; as davis2017-evaluation draws them."""
    found = np.zeros_like(mask)
    found[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    found[:-1] |= mask[:-1] != mask[1:]
    found[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return found


def f_measure(target: np.ndarray, prediction: np.ndarray) -> float:
    radius = int(np.ceil(0.008 * np.linalg.norm(target.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    ours, theirs = contour(prediction), contour(target)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    near_ours, near_theirs = (binary_dilation(each, y**2 + x**2 <= radius**2) for each in (ours, theirs))
    precision, recall = (ours & near_theirs).sum() / ours.sum(), (theirs & near_ours).sum() / theirs.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def predict(tree: MevisTree, folder: Path) -> dict[str, float]:
    """Shifted, noisy and empty masks, written as submissions are; the means over frames, then over expressions."""
    rng = np.random.default_rng(4)
    j: dict[str, list[float]] = {}
    f: dict[str, list[float]] = {}
    for number, sample_id in enumerate(tree.load().ids):
        target = tree.target(sample_id)
        prediction = np.roll(target, rng.integers(-2, 3, 2), (0, 1)) ^ (rng.random(target.shape) < 0.02)
        prediction &= number % 5 > 0
        write(folder / f"{sample_id}.png", prediction)
        union = (target | prediction).sum()
        j.setdefault(sample_id[:6], []).append((target & prediction).sum() / union if union else 1.0)
        f.setdefault(sample_id[:6], []).append(f_measure(target, prediction))
    means = {name: np.mean([np.mean(frames) for frames in by.values()]) for name, by in (("j", j), ("f", f))}
    return {**means, "j_and_f": (means["j"] + means["f"]) / 2}


def test_mevis_equals_a_literal_loop(tmp_path: Path) -> None:
    tree = mevis_tree(tmp_path)
    expected = predict(tree, tmp_path / "predicted")
    assert len({round(value, 3) for value in expected.values()}) == 3
    given = {"predictions": Predictions(tmp_path / "predicted"), "out": tmp_path / "run", **FAST}
    options = RunOptions("mevis", tree.parent, **given)
    metrics = evaluate(options).header.metrics
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=1e-12)
    assert not [name for name in metrics if "anno" in name]
    assert "expressions" in metrics["reductions"]["j"]
    objects = [(each["annotation_set"], each["video"], each["object"]) for each in metrics["per_object"]]
    assert objects == [(video, str(n), 1) for video, count in (("0f3a", 3), ("1b2c", 2)) for n in range(count)]
    assert json.dumps(merged_parts(options, tmp_path).metrics) == json.dumps(metrics)


def test_car_runs_mevis_and_its_label_maps_score_alike(tiny_model: Path, tmp_path: Path) -> None:
    tree = mevis_tree(tmp_path)
    tree.image_path("1b2c", 0).write_bytes(b"no image")
    models = {"proposal_model": str(tiny_model), "classifier_model": str(tiny_model)}
    options = RunOptions("mevis", tree.parent, "random:1", settings=models, out=tmp_path / "run", **FAST)
    run = evaluate(options)
    assert (run.header.counts.n_scored, run.header.counts.n_failed) == (16, 2)
    assert all(each["counted_as_empty"] for each in run.header.metrics["failed"])
    assert any(np.asarray(Image.open(path)).any() for path in (run.path / "label_maps").glob("*/*/*.png"))
    again = RunOptions(
        "mevis", tree.parent, predictions=Predictions(run.path / "label_maps"), out=tmp_path / "scored", **FAST
    )
    assert evaluate(again).header.metrics["j_and_f"] == run.header.metrics["j_and_f"]
