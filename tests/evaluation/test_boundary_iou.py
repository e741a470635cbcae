"""Boundary IoU against one erosion per class, by hand, in whole runs, shards, and on images of a few pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_erosion
from typer.testing import CliRunner

from dataset_adapters import LabelSpace
from evaluation import evaluate
from evaluation.cli.app import app
from evaluation.run.merge import merge
from evaluation.tasks.extra_metrics import find_metrics
from evaluation.tasks.saving import Saving
from evaluation.tasks.scorer import Scorer
from results import SampleRecord
from support.plugins import PluginError

[METRIC] = find_metrics(["boundary_iou"], "semantic")


def space(n_labels: int, ignore: int = 255, first: int = 0) -> LabelSpace:
    return LabelSpace("x", tuple(map(str, range(n_labels))), (), (), ignore, tuple(range(first, n_labels)))


def boundary(mask: np.ndarray) -> np.ndarray:
    """A mask without what is left of it after d erosions by a square of 3; outside of the image there is none."""
    d = max(1, round(0.02 * float(np.hypot(*mask.shape))))
    return mask & ~binary_erosion(mask, np.ones((3, 3)), d, border_value=0)


def restated(target: np.ndarray, prediction: np.ndarray, of: LabelSpace) -> dict[str, int]:
    """The definition as LPOSS's evaluation has it: class by class, ignored pixels are of no class in both."""
    prediction = np.where(target == of.ignore_label, of.ignore_label, prediction)
    found = {}
    for label in sorted({*np.unique(target), *np.unique(prediction)} & set(of.scored_labels)):
        one, other = boundary(target == label), boundary(prediction == label)
        found[f"intersection_{label}"] = int((one & other).sum())
        found[f"union_{label}"] = int((one | other).sum())
    return found


def maps(seed: int, shape: tuple[int, int], n_labels: int, ignore: int) -> tuple[np.ndarray, np.ndarray]:
    """A target of rectangles, some of them ignored, and a prediction that is shifted and noisy."""
    rng = np.random.default_rng(seed)
    target = np.zeros(shape, np.int32)
    for _ in range(8):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        label = rng.choice([*range(n_labels), ignore])
        target[y : y + rng.integers(1, shape[0] + 1), x : x + rng.integers(1, shape[1] + 1)] = label
    prediction = np.roll(target, rng.integers(-3, 4, 2), (0, 1))
    noisy = rng.random(shape) < rng.choice([0, 0.01, 0.2])
    return target, np.where((prediction == ignore) | noisy, rng.integers(0, n_labels, shape), prediction).astype(
        np.int32
    )


SHAPES = [(1, 1), (1, 2), (1, 9), (7, 1), (2, 3), (3, 3), (15, 20), (45, 60), (48, 97), (75, 100), (130, 61)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_equal_erosions_class_by_class(shape: tuple[int, int]) -> None:
    for seed in range(12):
        ignore, first = ((255, 0), (255, 1), (65535, 1))[seed % 3]
        n_labels = (4, 60, 848)[seed % 3]
        of = space(n_labels, ignore, first)
        target, prediction = maps(seed, shape, n_labels, ignore)
        assert METRIC.count(target, prediction, of) == restated(target, prediction, of)


def test_by_hand() -> None:
    """10 x 10 pixels, so d is 1: a boundary is a ring of one pixel."""
    of, target, prediction = space(2), np.zeros((10, 10), np.int32), np.zeros((10, 10), np.int32)
    target[2:8, 2:8] = 1  # 20 pixels on its edge; around it the ring of 0 has 8 x 8 - 36 pixels, the image's edge 36
    assert METRIC.count(target, target, of) == {
        "intersection_0": 36 + 28,
        "union_0": 36 + 28,
        "intersection_1": 20,
        "union_1": 20,
    }
    assert METRIC.count(target, prediction, of) == {
        "intersection_0": 36,
        "union_0": 36 + 28,
        "intersection_1": 0,
        "union_1": 20,
    }
    prediction[3:7, 3:7] = 1
    target[4:6, 4:6] = 255  # all of the target is edge then: 6 x 6 - 4; of the prediction 12, which the target has, too
    assert METRIC.count(target, prediction, of)["union_1"] == 32
    assert METRIC.count(target, prediction, of)["intersection_1"] == 12
    assert METRIC.count(np.full((10, 10), 255, np.int32), prediction, of) == {}
    assert METRIC.count(target[:0], prediction[:0], of) == {}
    # A diagonal of 75 and 125 pixels: half pixels are rounded to even, to 2 both times.
    for shape in ((45, 60), (75, 100)):
        edge = METRIC.count(np.zeros(shape, np.int32), np.zeros(shape, np.int32), of)["union_0"]
        assert edge == shape[0] * shape[1] - (shape[0] - 4) * (shape[1] - 4)


def test_boundary_iou_pools_counts_and_failed_are_empty() -> None:
    of = space(5)  # class 4 occurs nowhere
    scorer = Scorer("semantic", of, metrics=(METRIC,))
    records, sums = {}, {label: np.zeros(2) for label in range(5)}
    for seed in range(9):
        target, prediction = maps(seed, (20, 31), 4, 255)
        record = scorer.failed_record(str(seed), "broken", target)
        if seed % 4:
            record = SampleRecord(id=str(seed), status="ok", counts=scorer._counts(target, prediction))
        else:
            prediction = np.zeros_like(target)
        records[str(seed)] = record
        for label in range(5):
            counts = restated(target, prediction, of)
            sums[label] += [counts.get(f"{kind}_{label}", 0) for kind in ("intersection", "union")]
    records["unknown"] = scorer.failed_record("unknown", "broken", None)
    expected = np.mean([both / either for both, either in sums.values() if either])
    found = scorer.summarize(records)
    assert found["boundary_iou/miou"] == pytest.approx(expected, abs=1e-15)
    assert 0 < expected < found["miou"]
    backwards = scorer.summarize(dict(reversed(records.items())))
    assert backwards["boundary_iou/miou"] == found["boundary_iou/miou"]
    nothing = scorer.summarize({})
    assert nothing["boundary_iou/miou"] is None
    assert "no figure" in nothing["undefined"]["boundary_iou/miou"]


def test_runs_with_it_and_without(tiny_run: Any, tmp_path: Path) -> None:
    """The figure is that of the saved label maps; shards give the same; the run without it is as it was."""
    (tiny_run.data_root / "JPEGImages" / "2007_000002.jpg").write_bytes(b"not a picture")
    settings = {"templates": [], "background": ["grass"], "crf": None, "recurrence": "none"}
    asked: dict[str, Any] = {"settings": settings, "metrics": ("boundary_iou",)}
    plain = evaluate(tiny_run.options(settings=settings, out=tmp_path / "plain")).header
    assert not [name for name in plain.metrics if "boundary" in name]
    run = evaluate(tiny_run.options(**asked, saving=Saving("png")))
    header = run.header
    assert header.metrics["miou"] == plain.metrics["miou"]
    assert header.identity_fields["metrics"] == {"boundary_iou": "1"}
    assert header.plugins == []
    sums: dict[int, np.ndarray] = {label: np.zeros(2) for label in range(21)}
    for path in sorted((tiny_run.data_root / "SegmentationClass").glob("*.png")):
        pair = [np.asarray(Image.open(each)).astype(np.int32) for each in (path, run.path / "predictions" / path.name)]
        for name, pixels in restated(*pair, space(21)).items():
            kind, _, label = name.partition("_")
            sums[int(label)][int(kind == "union")] += pixels
    expected = np.mean([both / either for both, either in sums.values() if either])
    assert header.metrics["boundary_iou/miou"] == pytest.approx(expected, abs=1e-15)
    for part in (1, 2):
        evaluate(tiny_run.options(**asked, shard=(part, 2), out=tmp_path / f"part{part}"))
    merged = merge([tmp_path / f"part{part}" for part in (2, 1)], tmp_path / "merged")
    assert json.dumps(merged.metrics) == json.dumps(header.metrics)
    shown = CliRunner().invoke(app, ["table", str(run.path)])
    assert "boundary_iou/miou" in shown.output
    assert shown.stderr == ""


def test_only_semantic_tasks_have_it() -> None:
    with pytest.raises(PluginError, match="expected a metric of the task video, found 'boundary_iou', of semantic"):
        find_metrics(["boundary_iou"], "video")
    with pytest.raises(PluginError, match="did you mean boundary_iou"):
        find_metrics(["boundary_iuo"], "semantic")
