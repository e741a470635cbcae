"""A package that an author of another data set would install, made in a folder: `fruitbox` with its entry points."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from car_core import config
from car_core.classifier import visual_prompts
from dataset_adapters.base import adapter as registry
from support import plugins

FRUIT = """
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters import LabelSpace
from dataset_adapters.base.layout import find_root
from dataset_adapters.base.semantic import read_semantic_sample


@dataclass(frozen=True)
class FruitAdapter:
    name: str = "fruit"
    version: int = 1
    task: str = "semantic"
    default_split: str = "all"
    file_columns: tuple = ("image", "mask")

    def find_root(self, root):
        return find_root(root, ("fruit",), ("images", "labels"))

    def rows(self, root, split):
        ids = sorted(path.stem for path in (root / "images").glob("*.png"))
        return [{"id": id, "image": f"images/{id}.png", "mask": f"labels/{id}.png"} for id in ids]

    def label_space(self, names):
        return LabelSpace(
            self.name, ("background", "apple", "pear"), ("apple", "pear"), (1, 2), 255, (0, 1, 2)
        )

    def read(self, root, row, label_space):
        return read_semantic_sample(root, row, label_space, relabel={0: 0, 1: 1, 2: 2, 255: 255})


BENCHMARK = {
    "name": "fruit-salad",
    "title": "Fruit",
    "adapter": "fruit",
    "config": {"mode": "semantic", "theta": 0.3, "prompts": ["circle"], "crf": None},
}
"""
ENTRY_POINTS: Mapping[str, Mapping[str, str]] = {
    "datasets": {"fruit": "fruitbox:FruitAdapter"},
    "benchmarks": {"fruit-salad": "fruitbox:BENCHMARK"},
}


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package on the path, made as by `write_package`; what it registers is forgotten afterwards."""
    registries: tuple[dict[str, Any], ...] = (
        *(registry._ADAPTERS, registry._PROVIDED),
        *(visual_prompts.SURROUNDINGS, visual_prompts.OUTLINES, config.PROMPT_PLUGINS, plugins._IMPORTED),
    )
    before = [dict(each) for each in registries]
    monkeypatch.setattr(config, "PROMPTS", set(config.PROMPTS))
    monkeypatch.setenv("CAR_CACHE", str(tmp_path / "cache"))
    modules = set(sys.modules)
    plugins._installed.cache_clear()

    def install(name: str = "fruitbox", **given: Any) -> Path:
        folder = write_package(tmp_path / "site" / name, name, **given)
        monkeypatch.syspath_prepend(str(folder))
        return folder

    yield install
    for each, own in zip(registries, before, strict=True):
        each.clear()
        each.update(own)
    for name in set(sys.modules) - modules:
        if name.startswith(("fruitbox", "other", "palette", "car_eval_file_")):
            del sys.modules[name]


def write_package(
    folder: Path,
    name: str = "fruitbox",
    source: str = FRUIT,
    points: Mapping[str, Mapping[str, str]] = ENTRY_POINTS,
) -> Path:
    """What pip leaves behind: the module and its dist-info, below a folder for sys.path."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = (f"[car_eval.{kind}]\n" + "".join(f"{k} = {v}\n" for k, v in own.items()) for kind, own in points.items())
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


def example_of(page: str, words: str) -> str:
    """The Python example of a page below the root that has these words."""
    text = (Path(__file__).parents[2] / page).read_text()
    [example] = [block for block in re.findall(r"^```\w+.*?\n(.*?)^```", text, re.M | re.S) if words in block]
    return str(example)


def write_fruit(root: Path, n: int = 5, suffix: str = "png") -> Path:
    """Images and label maps of background, apple and pear, with ignored pixels."""
    generator = np.random.default_rng(7)
    for part in ("images", "labels"):
        (root / "fruit" / part).mkdir(parents=True)
    for number in range(n):
        size = (24 + 2 * number, 40 - 3 * number)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(
            root / f"fruit/images/{number}.{suffix}"
        )
        labels = np.kron(generator.choice([0, 1, 2, 255], (4, 4)), np.ones((12, 12)))[: size[0], : size[1]]
        Image.fromarray(labels.astype(np.uint8)).save(root / f"fruit/labels/{number}.png")
    return root
