"""A builder of small trees in the layouts of Ref-DAVIS 2017: as distributed, and as ReferFormer converts it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.made_trees import Tree
from PIL import Image

TEXT_FILES = {
    "Davis17_annot1.txt": "utf-8",
    "Davis17_annot1_full_video.txt": "utf-8",
    "Davis17_annot2.txt": "latin-1",
    "Davis17_annot2_full_video.txt": "latin-1",
}
SPELLED = {"dogs-scale": "dog-scale"}  # as the text files misspell it


@dataclass
class DavisTree(Tree):
    """<parent>/ref-davis; label maps are known by video, texts by video and annotation set."""

    name: str = "ref-davis17"
    labels: dict[str, np.ndarray] = field(default_factory=dict)  # uint8 [frames, H, W]
    texts: dict[str, list[list[str]]] = field(default_factory=dict)  # [set][object]

    @property
    def root(self) -> Path:
        return self.parent / "ref-davis"

    def image_path(self, video: str, frame: int) -> Path:
        return self.root / "DAVIS/JPEGImages/480p" / video / f"{frame:05d}.jpg"

    def mask_path(self, video: str, frame: int) -> Path:
        return self.root / "DAVIS/Annotations_unsupervised/480p" / video / f"{frame:05d}.png"

    def text_path(self, name: str) -> Path:
        return self.root / "davis_text_annotations" / name

    def add(self, video: str, frames: int, height: int, width: int, objects: int) -> None:
        """Rectangles that move; the last object leaves after the first frame."""
        rng = np.random.default_rng(frames)
        labels = np.zeros((frames, height, width), np.uint8)
        for label in range(1, objects + 1):
            y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
            for t in range(frames if label < objects else 1):
                labels[t, y + t : y + t + height // 3, x : x + width // 3] = label
        for label in range(1, objects + 1):
            labels[0, label, :2] = label  # in the first frame all are there
        self.labels[video] = labels
        self.texts[video] = [
            [f"{video} thing {label} of set {number}" for label in range(1, objects + 1)] for number in range(4)
        ]
        for t in range(frames):
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            for path in (self.image_path(video, t), self.mask_path(video, t)):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(self.image_path(video, t))
            mask = Image.fromarray(labels[t])
            mask.putpalette([(7 * value + 100) % 256 for value in range(256) for _ in range(3)])
            mask.save(self.mask_path(video, t))

    def save(self) -> DavisTree:
        splits = self.root / "DAVIS/ImageSets/2017"
        splits.mkdir(parents=True, exist_ok=True)
        (splits / "val.txt").write_text("\n".join(self.labels) + "\n")
        self.text_path("").mkdir(exist_ok=True)
        for number, (name, encoding) in enumerate(TEXT_FILES.items()):
            lines = [
                f'{SPELLED.get(video, video)} {label} "{text}"'
                for video, sets in self.texts.items()
                for label, text in enumerate(sets[number], start=1)
            ]
            self.text_path(name).write_bytes("\r\n".join(['other-video 1 "text"', *lines, ""]).encode(encoding))
        return self

    def meta(self) -> dict[str, Any]:
        """meta_expressions.json: four consecutive expressions an object."""
        videos = {}
        for video, sets in self.texts.items():
            flat = [(label, one_set[label - 1]) for label in range(1, len(sets[0]) + 1) for one_set in sets]
            expressions = {str(n): {"exp": text, "obj_id": str(label)} for n, (label, text) in enumerate(flat)}
            videos[video] = {"expressions": expressions, "frames": []}
        return {"videos": videos}

    def convert(self) -> None:
        """Move frames and annotations to `valid`, and write meta_expressions.json."""
        for source, name in (("JPEGImages", "JPEGImages"), ("Annotations_unsupervised", "Annotations")):
            (self.root / "valid" / name).mkdir(parents=True)
            for video in self.labels:
                shutil.move(self.root / "DAVIS" / source / "480p" / video, self.root / "valid" / name / video)
        self.meta_path.parent.mkdir(parents=True)
        self.meta_path.write_text(json.dumps(self.meta()))

    @property
    def meta_path(self) -> Path:
        return self.root / "meta_expressions/valid/meta_expressions.json"


def davis_tree(parent: Path) -> DavisTree:
    """Two videos: four frames with two objects, three frames with three; the second annotator writes an accent."""
    tree = DavisTree(parent)
    tree.add("goat", 4, 24, 40, 2)
    tree.add("dogs-scale", 3, 36, 28, 3)
    tree.texts["goat"][2][0] = "ch\u00e8vre blanche"
    return tree.save()
