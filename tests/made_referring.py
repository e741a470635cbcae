"""Builders of small trees in the layouts of ReasonSeg and MeViS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from made_trees import write_noise


def shape(points: list[list[float]], label: str = "target") -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": "polygon", "flags": {}}


def box(left: float, top: float, right: float, bottom: float, label: str = "target") -> dict[str, Any]:
    return shape([[left, top], [right, top], [right, bottom], [left, bottom]], label)


def reasonseg_path(parent: Path, name: str) -> Path:
    return parent / "reason_seg/ReasonSeg" / name


def add_reasoning(parent: Path, name: str, shapes: Any, *texts: Any, size: tuple[int, int] = (20, 30)) -> None:
    """name: <split>/<id>."""
    write_noise(reasonseg_path(parent, f"{name}.jpg"), *size)
    stored = {"shapes": shapes, "text": list(texts or [f"what is in {name}?"]), "is_sentence": True}
    reasonseg_path(parent, f"{name}.json").write_text(json.dumps(stored))


def random_shapes(seed: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Up to five polygons, some ignored, some outside; their corners are fractions."""
    rng = np.random.default_rng(seed)
    labels = ["target", "target", "Ignore", "ignore this", "flag"]
    return [
        shape((rng.uniform(-0.2, 1.2, (rng.integers(1, 7), 2)) * size[::-1]).tolist(), labels[rng.integers(5)])
        for _ in range(rng.integers(0, 6))
    ]
