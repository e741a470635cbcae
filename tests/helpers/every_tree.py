"""A small tree for every adapter, and what a refusal must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import made_trees
from helpers.davis_tree import davis_tree
from helpers.made_referring import add_reasoning, box, mevis_tree
from helpers.made_trees import LAYOUTS, Tree, write_noise, write_png
from helpers.refer_tree import grefer_tree, refer_tree

from dataset_adapters import Dataset, DatasetError, SampleError, load


@dataclass
class OwnTree(Tree):
    """images/, masks/ and classes.txt of three classes."""

    name: str = "own-folders"

    def load(self, name: str = "", **options: Any) -> Dataset:
        places = {option: str(self.parent / option) for option in ("images", "masks")}
        chosen = {**places, "classes": str(self.parent / "classes.txt")}
        return load(self.name, ".", cache_dir=self.cache, options=chosen, **options)


def _own(parent: Path, source: str) -> Tree:
    for name in "abc":
        write_noise(parent / f"images/{name}.png", 4, 7)
        write_png(parent / f"masks/{name}.png", np.full((4, 7), 1))
    (parent / "classes.txt").write_text("background\ncat\ndog\n")
    return OwnTree(parent)


def _voc(parent: Path, source: str) -> Tree:
    return made_trees.make_voc(parent, ["2007_000033", "2007_000061", "2007_000042"])


def _coco_object(parent: Path, source: str) -> Tree:
    tree = made_trees.make_coco(parent)
    {"stuffthingmaps": tree.write_maps, "instanceTrainIds": tree.write_converted, "instances": tree.write_json}[
        source
    ]()
    return tree


def _coco_stuff(parent: Path, source: str) -> Tree:
    for number in (139, 285, 632):
        made_trees.write_stuff(parent, source, id_=f"{number:012d}")
    return Tree(parent, "coco-stuff")


def _cityscapes(parent: Path, source: str) -> Tree:
    for number in range(3):
        made_trees.write_city(parent, source, id_=f"lindau_{number:06d}_000019")
    return Tree(parent, "cityscapes")


def _context(parent: Path, source: str) -> Tree:
    tree = made_trees.make_context(parent)
    {"png": tree.write_pngs, "json": tree.write_json, "mat": tree.write_mats}[source]()
    return tree


def _folders(name: str) -> Callable[[Path, str], Tree]:
    def make(parent: Path, source: str) -> Tree:
        found = [layout for layout in LAYOUTS if layout.name == name and (layout.source or "") == source]
        return made_trees.make_folders(parent, found[0]) if found else _context(parent, source)

    return make


def _refer(name: str, split_by: str) -> Callable[[Path, str], Tree]:
    return lambda parent, source: refer_tree(parent, name, split_by)


def _davis(parent: Path, source: str) -> Tree:
    tree = davis_tree(parent)
    if source == "meta_expressions":
        tree.convert()
    return tree


def _reasonseg(parent: Path, source: str) -> Tree:
    for name in "abc":
        add_reasoning(parent, f"val/{name}", [box(0, 0, 9, 9)])
    return Tree(parent, "reasonseg")


_MAKERS: dict[str, Callable[[Path, str], Tree]] = {
    **{name: _folders(name) for name in ("ade150", "ade847", "pc459")},
    **dict.fromkeys(("context59", "context60"), _context),
    **dict.fromkeys(("voc20", "voc21"), _voc),
    "cityscapes": _cityscapes,
    "coco-object": _coco_object,
    "coco-stuff": _coco_stuff,
    "own-folders": _own,
    "refcoco": _refer("refcoco", "unc"),
    "refcoco+": _refer("refcoco+", "unc"),
    "refcocog": _refer("refcocog", "umd"),
    "grefcoco": lambda parent, source: grefer_tree(parent),
    "mevis": lambda parent, source: mevis_tree(parent),
    "reasonseg": _reasonseg,
    "ref-davis17": _davis,
}


def make_tree(adapter: str, parent: Path) -> Tree:
    """Three or more samples for the adapter of this name, "<data set>" or "<data set>/<source>"."""
    data_set, _, source = adapter.partition("/")
    tree = _MAKERS[data_set](parent, source)
    tree.name, tree.source = data_set, source or None
    return tree


def refused(call: Callable[[], object]) -> str:
    """The message of the DatasetError, which must be one line."""
    __tracebackhide__ = True
    with pytest.raises(DatasetError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def failed(dataset: Dataset, position: int = 0) -> SampleError:
    """The error of a sample, in one line of id, file and reason; the first sample of another image stays readable."""
    __tracebackhide__ = True
    with pytest.raises(SampleError) as caught:
        dataset[position]
    error = caught.value
    assert error.id == dataset.ids[position]
    assert str(error) == f"{error.id}: {error.path}: {error.reason}"
    assert "\n" not in str(error)
    other = next(n for n, image in enumerate(dataset.images) if image != dataset.images[position])
    assert dataset[other].id == dataset.ids[other]
    return error
