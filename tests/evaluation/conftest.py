"""A small CLIP on disk, as a user would bring one: a config JSON and weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evaluation import RunOptions

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class TinyRun:
    """Options of a run over a small VOC tree with small random models."""

    data_root: Path
    model: Path
    out: Path

    def options(self, **changes: Any) -> RunOptions:
        settings = {
            "proposal_model": str(self.model),
            "classifier_model": str(self.model),
            "theta": 0.049,  # random scores of 20 queries lie around 0.05
            **changes.pop("settings", {}),
        }
        given = {"weights": "random:1", "out": self.out, "workers": 0, "refine_workers": 0, "quiet": True}
        return RunOptions("voc21", self.data_root, settings=settings, **{**given, "device": "cpu", **changes})

    def arguments(self, *more: str) -> list[str]:
        """The same as arguments of ``car``."""
        own = ["eval", "voc21", "--data-root", str(self.data_root), "--weights", "random:1", "--out", str(self.out)]
        models = [f"--set={role}_model={self.model}" for role in ("proposal", "classifier")]
        return [*own, *models, "--set=theta=0.049", "--workers=0", "--refine-workers=0", "--device=cpu", *more]


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture
def tiny_run(
    make_voc: Callable[[Sequence[str]], Any], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> TinyRun:
    """Seven samples of different sizes."""
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    ids = [f"2007_{number:06d}" for number in range(7)]
    tree = make_voc(ids)
    for number, sample_id in enumerate(ids):
        tree.add(sample_id, height=24 + 4 * number, width=40 - 3 * number)
    return TinyRun(tree.root, tiny_model, tmp_path / "run")
