"""A made-up run header, complete and valid, to be varied by the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from results import RunHeader, identity_of

LABELS = ["background", "aeroplane", "bicycle", "bird"]
REDUCTIONS = {
    "miou": "mean IoU over classes with a pixel",
    "miou_gt_classes": "as miou, over classes in the ground truth",
    "miou_scored_only": "as miou, without failed samples",
    "pixel_accuracy_pooled": "correct pixels over all",
}


def per_class(iou: list[float | None]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "name": LABELS[label],
            "iou": value,
            "reason": "no pixel" if value is None else None,
            "target_pixels": 1000 * label,
            "predicted_pixels": 10,
            "intersection_pixels": 5,
        }
        for label, value in enumerate(iou)
    ]


def metrics(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "miou": 0.65449,
        "miou_gt_classes": 0.65449,
        "miou_scored_only": 0.65449,
        "pixel_accuracy_pooled": 0.9,
        "reductions": REDUCTIONS,
        "undefined": {},
        "n_total": 11,
        "n_scored": 11,
        "n_failed": 0,
        "failed": [],
        "per_class": per_class([0.9, 0.5, None, 0.25]),
    }
    return values | changes


def header_fields(**changes: Any) -> dict[str, Any]:
    config = {"profile": "released", "eta": 0.4, "proposal_model": "ViT-B-16", "classifier_model": "ViT-L-14"}
    identity_fields = changes.get("identity_fields", {"config": config, "weights": ["a" * 64]})
    fields: dict[str, Any] = {
        "status": "complete",
        "benchmark": {
            "name": "voc21",
            "task": "semantic",
            "label_space": {"labels": LABELS, "scored": [0, 1, 2, 3], "ignore_label": 255},
            "dataset": {"name": "voc", "split": "val", "fingerprint": "f00d", "n_samples": 11},
            "paper": {"table": "table1", "column": "voc21"},
            "paper_split": "val",
            "paper_samples": 11,
        },
        "config": config,
        "config_sources": dict.fromkeys(config, "profile") | {"eta": "user"},
        "identity": identity_of(identity_fields),
        "identity_fields": identity_fields,
        "weights": [
            {"role": role, "name": "openai", "sha256": "a" * 64, "trained": True} for role in ("proposal", "classifier")
        ],
        "environment": {
            "python": "3.11.7",
            "platform": "Linux x86_64",
            "packages": {"torch": "2.13.0", "open_clip_torch": "3.2.0"},
            "git_commit": "c" * 40,
            "git_dirty": True,
            "device": "cpu",
            "dtype": "float32",
            "threads": 2,
            "seed": 0,
        },
        "metrics": metrics(),
        "counts": {"n_total": 11, "n_scored": 11, "n_failed": 0},
        "timings": {"wall_seconds": 22.0, "seconds_by_stage": {"decode": 1.0, "proposals": 15.5, "crf": 4.0}},
        "memory": {"peak_rss_mib": 2345.6},
    }
    return fields | changes


@pytest.fixture
def make_header() -> Callable[..., RunHeader]:
    """make_header(field=value, ...): a valid header with those fields replaced."""
    return lambda **changes: RunHeader.model_validate(header_fields(**changes))


@pytest.fixture
def make_metrics() -> Callable[..., dict[str, Any]]:
    """make_metrics(miou=..., ...): the metrics of a run with those values replaced."""
    return metrics
