"""Builders of small trees in the layouts of ReasonSeg and MeViS."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.made_trees import Tree, run_lengths, write_noise
from PIL import Image
from pycocotools import mask as coco_mask


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


def rle(mask: np.ndarray, compressed: bool = True) -> dict[str, Any]:
    """A mask as COCO writes it."""
    found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = found["counts"].decode() if compressed else run_lengths(mask)
    return {"size": [int(side) for side in mask.shape], "counts": counts}


@dataclass
class MevisTree(Tree):
    """<parent>/mevis/valid_u; masks bool [frames, H, W] by object, expressions by video as (text, objects)."""

    name: str = "mevis"
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    stored: dict[str, Any] = field(default_factory=dict)  # mask_dict.json
    meta: dict[str, Any] = field(default_factory=dict)  # videos of meta_expressions.json

    @property
    def split(self) -> Path:
        return self.parent / "mevis/valid_u"

    def add(self, video: str, frames: int, size: tuple[int, int], *expressions: tuple[str, list[int]]) -> None:
        """Blobs that move and overlap; each object is away in one frame."""
        rng = np.random.default_rng(frames)
        rows, columns = np.mgrid[: size[0], : size[1]]
        names = [f"{5 * t:05d}" for t in range(frames)]
        for number, anno in enumerate(sorted({anno for _, annos in expressions for anno in annos})):
            y, x = rng.uniform(0, 1, 2) * size
            found = np.stack([(rows - y - t) ** 2 + (columns - x - 2 * t) ** 2 < 60 for t in range(frames)])
            found[number % frames] = False
            self.masks[anno] = found
            self.stored[str(anno)] = [rle(mask, number % 2 == 0) if mask.any() else None for mask in found]
        for t in range(frames):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            path = self.image_path(video, t)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        self.meta[video] = {
            "expressions": {
                str(n): {"exp": text, "obj_id": [7] * len(annos), "anno_id": annos}
                for n, (text, annos) in enumerate(expressions)
            },
            "frames": names,
        }

    def image_path(self, video: str, frame: int) -> Path:
        return self.split / "JPEGImages" / video / f"{5 * frame:05d}.jpg"

    def target(self, sample_id: str) -> np.ndarray:
        """The union of what an expression means in a frame, as it was made."""
        video, key, frame = sample_id.split("/")
        n, entry = int(frame) // 5, self.meta[video]["expressions"][key]
        return np.any([self.masks[anno][n] for anno in entry["anno_id"]], axis=0)

    def save(self) -> MevisTree:
        (self.split / "mask_dict.json").write_text(json.dumps(self.stored))
        (self.split / "meta_expressions.json").write_text(json.dumps({"videos": self.meta}))
        return self


def mevis_tree(parent: Path) -> MevisTree:
    """Two videos; expressions of one object, of two that overlap, of three, and of the same again."""
    tree = MevisTree(parent)
    tree.add("0f3a", 4, (26, 40), ("The cat turning  around", [3]), ("two cats moving", [3, 5]), ("cats", [5, 3, 8]))
    tree.add("1b2c", 3, (34, 28), ("the bird flying away", [11]), ("a bird", [11]))
    return tree.save()
