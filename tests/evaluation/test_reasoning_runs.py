"""Whole runs of ReasonSeg and MeViS on made data: figures by literal loops, parts and their merger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_referring import add_reasoning, box, random_shapes, reasonseg_path
from PIL import Image

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
