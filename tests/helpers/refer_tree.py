"""A builder of small trees in the layout of the refer toolbox."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.made_trees import Tree
from PIL import Image

IMAGES = "images/mscoco/images/train2014"
SQUARE = [[4, 3, 20, 3, 20, 15, 4, 15]]


@dataclass
class ReferTree(Tree):
    """<parent>/refer, written by `save`; refs and instances may be changed before."""

    name: str = "refcoco"
    split_by: str = "unc"
    refs: list[Any] = field(default_factory=list)
    instances: dict[str, Any] = field(default_factory=lambda: {"images": [], "annotations": []})
    refs_name: str = "refs"
    suffix: str = ".p"

    @property
    def root(self) -> Path:
        return self.parent / "refer"

    @property
    def refs_path(self) -> Path:
        return self.root / self.name / f"{self.refs_name}({self.split_by}){self.suffix}"

    @property
    def instances_path(self) -> Path:
        return self.root / self.name / "instances.json"

    def image_path(self, image_id: int) -> Path:
        return self.root / IMAGES / f"COCO_train2014_{image_id:012d}.jpg"

    def add_image(self, image_id: int, height: int = 24, width: int = 32) -> None:
        self.image_path(image_id).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(image_id).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(self.image_path(image_id))
        entry = {"id": image_id, "file_name": self.image_path(image_id).name, "height": height, "width": width}
        self.instances["images"].append(entry)

    def add(self, image_id: int, texts: list[str], split: str = "val", segmentation: Any = SQUARE) -> None:
        """Add a reference to a new object in an image; ids count up, sentence ids over all references."""
        ref_id = len(self.refs)
        first = sum(len(ref["sentences"]) for ref in self.refs)
        sentences = [
            {"sent_id": first + i, "raw": text, "sent": text.lower(), "tokens": text.lower().split()}
            for i, text in enumerate(texts)
        ]
        self.instances["annotations"].append(
            {"id": 1000 + ref_id, "image_id": image_id, "segmentation": segmentation, "iscrowd": 0, "category_id": 1}
        )
        self.refs.append(
            {
                "ref_id": ref_id,
                "ann_id": 1000 + ref_id,
                "image_id": image_id,
                "file_name": f"COCO_train2014_{image_id:012d}_{1000 + ref_id}.jpg",  # not an image: never to be read
                "split": split,
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
                "sentences": sentences,
                "category_id": 1,
            }
        )

    def save(self, protocol: int = 2) -> ReferTree:
        self.refs_path.parent.mkdir(parents=True, exist_ok=True)
        stored = json.dumps(self.refs).encode() if self.suffix == ".json" else pickle.dumps(self.refs, protocol)
        self.refs_path.write_bytes(stored)
        self.instances_path.write_text(json.dumps(self.instances))
        return self


def refer_tree(parent: Path, name: str = "refcoco", split_by: str = "unc") -> ReferTree:
    """Two images; val has three references, testA and testB one each, and one sentence is repeated, one blank."""
    tree = ReferTree(parent, name, split_by)
    tree.add_image(7)
    tree.add_image(9, height=30, width=20)
    tree.add(7, ["The left dog", "dog on the left", "The left dog"])
    tree.add(9, ["A cat", "  "], segmentation=[[2, 2, 9, 2, 9, 12, 2, 12], [6, 6, 15, 6, 15, 20, 6, 20]])
    tree.add(7, ["Person"], split="testA", segmentation={"size": [24, 32], "counts": [100, 50, 618]})
    tree.add(9, ["Sofa", "Brown sofa"], split="testB")
    tree.add(7, ["Right dog"], segmentation=[{"size": [24, 32], "counts": [0, 24, 744]}])
    return tree.save()


def grefer_tree(parent: Path, suffix: str = ".json") -> ReferTree:
    """gRefCOCO: val has references to one object, to two, to none, and to one and a crowd; testA to a crowd."""
    tree = ReferTree(parent, "grefcoco", refs_name="grefs", suffix=suffix)
    tree.add_image(7)
    tree.add_image(9, height=30, width=20)
    tree.add(7, ["The left dog", "dog"])
    tree.add(7, ["both dogs"], segmentation=[{"size": [24, 32], "counts": [0, 24, 744]}])
    tree.add(9, ["a zebra", "no such thing"])
    tree.add(9, ["the crowd and the cat"], segmentation=[[2, 2, 9, 2, 9, 12, 2, 12]])
    tree.add(9, ["crowd"], split="testA", segmentation={"size": [30, 20], "counts": [0, 300, 300]})
    tree.instances["annotations"][4]["iscrowd"] = 1
    for ref, ann_ids in zip(tree.refs, ([1000], [1000, 1001], [-1], [1004, 1003], [1004]), strict=True):
        ref["ann_id"] = ann_ids
    return tree.save()
