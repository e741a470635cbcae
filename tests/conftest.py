"""One thread a test process, and builders of small trees."""

from __future__ import annotations

import os

# Before torch is imported: the models of the tests are so small that a second thread only waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import typer.testing
from helpers.made_trees import CocoTree, ContextTree, make_coco, make_context
from helpers.plugin_package import install as install  # a fixture
from PIL import Image

from dataset_adapters import Dataset, load

# CliRunner would build all commands anew for each call, which takes longer than most calls.
typer.testing._get_command = functools.cache(typer.testing._get_command)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_limit_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--max-pixels`` sets a variable, which would stay for the tests that follow."""
    monkeypatch.setenv("CAR_MAX_PIXELS", "")


@dataclass(frozen=True)
class VocTree:
    """VOCdevkit/VOC2012 below `parent`, and a cache folder beside it."""

    parent: Path
    cache: Path

    @property
    def root(self) -> Path:
        return self.parent / "VOCdevkit" / "VOC2012"

    def image_path(self, sample_id: str) -> Path:
        return self.root / "JPEGImages" / f"{sample_id}.jpg"

    def mask_path(self, sample_id: str) -> Path:
        return self.root / "SegmentationClass" / f"{sample_id}.png"

    def write_split(self, text: str, name: str = "val") -> None:
        (self.root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)

    def write_mask(self, sample_id: str, labels: np.ndarray) -> None:
        """Write uint8 labels [H, W] as a palette PNG whose colors never equal their index."""
        mask = Image.fromarray(labels.astype(np.uint8))
        mask.putpalette([(7 * value + 100) % 256 for value in range(256) for _ in range(3)])
        mask.save(self.mask_path(sample_id))

    def add(self, sample_id: str, height: int = 6, width: int = 9) -> None:
        """Write a random image and a mask of background, one class and border."""
        generator = np.random.default_rng(sum(sample_id.encode()))
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.image_path(sample_id))
        labels = generator.choice([0, 1 + sum(sample_id.encode()) % 20, 255], (height, width))
        self.write_mask(sample_id, labels)

    def load(self, name: str = "voc21", **options: object) -> Dataset:
        return load(name, self.root, cache_dir=self.cache, **options)  # type: ignore[arg-type]


@pytest.fixture
def make_voc(tmp_path: Path) -> Callable[[Sequence[str]], VocTree]:
    """Return a function that writes a tree with these ids as its val split."""

    def make(ids: Sequence[str]) -> VocTree:
        tree = VocTree(tmp_path / "data", tmp_path / "cache")
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (tree.root / folder).mkdir(parents=True)
        for sample_id in ids:
            tree.add(sample_id)
        tree.write_split("".join(f"{sample_id}\n" for sample_id in ids))
        return tree

    return make


@pytest.fixture
def voc(make_voc: Callable[[Sequence[str]], VocTree]) -> VocTree:
    """Seven samples, listed out of alphabetical order."""
    return make_voc([f"2007_{number:06d}" for number in (33, 61, 129, 42, 7, 500, 1)])


@pytest.fixture
def coco(tmp_path: Path) -> CocoTree:
    """Four images; the test writes the labels it wants."""
    return make_coco(tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def context(tmp_path: Path) -> ContextTree:
    """Three images; the test writes the labels it wants."""
    return make_context(tmp_path / "data", tmp_path / "cache")
