"""What holds for every adapter: where it finds its data, what its samples need, and what it refuses in the same way.

Refused are broken, missing and foreign files, other sizes and values, and splits without ids.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from helpers.every_tree import failed, make_tree, refused
from helpers.made_trees import Tree
from PIL import Image

from dataset_adapters import Dataset, load
from dataset_adapters.base.adapter import data_set_names, find_adapter, find_sources
from dataset_adapters.base.index import row_of

# The images and masks of own-hf are cells of a table: see test_user_data and test_own_data.
ADAPTERS = [adapter.name for name in data_set_names() if name != "own-hf" for adapter in find_sources(name)]
JSON = [
    "coco-object/instances", "context59/json", "context60/json", "grefcoco", "mevis", "reasonseg",
    "ref-davis17/meta_expressions", "refcoco", "refcoco+", "refcocog",
]  # fmt: skip
MAPS = [name for name in ADAPTERS if "mask" in find_adapter(name).file_columns and name != "reasonseg"]
NO_FILES_OF_IDS = ("grefcoco", "mevis", "ref-davis17/meta_expressions", "refcoco", "refcoco+", "refcocog")


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return make_tree(request.param, tmp_path)


def of(names: list[str], *without: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("tree", [name for name in names if name not in without], indirect=True)


def second(tree: Tree) -> tuple[Dataset, dict[str, Any], Path, Path]:
    """The second sample: its data set and row, the file of its image, and that of its mask or masks."""
    dataset = tree.load()
    row = row_of(dataset.index_path, 1)
    return dataset, row, dataset.root / row["image"], dataset.root / row.get("mask", f"{tree.name}/instances.json")


@of(ADAPTERS, "own-folders")  # has no root
def test_root_parent_and_copy_give_the_same_data(tree: Tree) -> None:
    dataset = tree.load()
    for root in (dataset.root, shutil.copytree(dataset.root, tree.parent / "elsewhere" / dataset.root.name)):
        again = load(tree.name, root, source=tree.source, cache_dir=tree.cache)
        assert (again.root, again.fingerprint, again.ids) == (root, dataset.fingerprint, dataset.ids)
        assert again.index_path == dataset.index_path
        np.testing.assert_array_equal(again[1].target, dataset[1].target)


@of(JSON)
def test_samples_need_no_annotations_once_they_are_indexed(tree: Tree) -> None:
    dataset = tree.load()
    targets = [sample.target for sample in dataset]
    for path in [*json_files(tree), *dataset.root.rglob("*.p")]:
        path.unlink()
    for sample, target in zip(dataset, targets, strict=True):
        np.testing.assert_array_equal(sample.target, target)


@of(ADAPTERS)
def test_image_broken_fails_with_its_target(tree: Tree) -> None:
    dataset, row, image, _ = second(tree)
    target = dataset[1].target
    for content in (image.read_bytes()[:-40], b"no image"):
        image.write_bytes(content)
        error = failed(tree.load(), 1)
        assert error.path == row["image"]
        if tree.name == "reasonseg":  # its shapes are painted into the image
            assert error.target is None
        else:
            np.testing.assert_array_equal(error.target, target)
    assert error.reason == "expected an image file, found an unknown format"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


@of(ADAPTERS, "reasonseg")
def test_image_of_another_size_fails_with_its_target(tree: Tree) -> None:
    dataset, _, image, mask = second(tree)
    target = dataset[1].target
    height, width = target.shape[-2:]
    Image.new("RGB", (3, 2)).save(image)
    error = failed(tree.load(), 1)
    assert dataset.root / error.path == mask
    assert error.reason.endswith(f"expected the size of its image, 3 x 2, found {width} x {height}")
    np.testing.assert_array_equal(error.target, target)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on the same damage
@of(MAPS)
def test_mask_broken_fails_without_a_target(tree: Tree) -> None:
    _, row, _, mask = second(tree)
    for content in (b"", b"no labels here" * 20, mask.read_bytes()[:-60]):
        mask.write_bytes(content)
        error = failed(tree.load(), 1)
        assert (error.path, error.target) == (row["mask"], None)


# By hand from the documentation of the label maps: a value that is not listed, and those that are.
OUTSIDE = [
    *[(name, value, "0..20, 255") for name in ("voc20", "voc21") for value in (21, 254)],
    *[(f"context{n}/png", value, "0..59") for n in (59, 60) for value in (60, 255)],
    *[(f"context{n}/mat", 460, "0..459") for n in (59, 60)],
    ("coco-object/stuffthingmaps", 11, "0..10, 12..24, "),
    ("coco-object/instanceTrainIds", 255, "0..80"),
    ("coco-stuff/stuffthingmaps", 11, "0..10, 12..24, "),
    ("coco-stuff/stuffthingmaps", 182, "91..181, 255"),
    ("coco-stuff/labelTrainIds", 171, "0..170, 255"),
    ("coco-stuff/detectron2", 181, "0..170, 255"),
    *[("cityscapes/labelIds", value, "0..33") for value in (34, 255)],
    *[("cityscapes/labelTrainIds", value, "0..18, 255") for value in (19, 33)],
    ("ade150/annotations", 151, "0..150"),
    ("ade150/annotations_detectron2", 150, "0..149, 255"),
    ("ade847", 847, "0..846, 65535"),
    ("pc459/tif", 459, "0..458, 65535"),
    ("pc459/mat", 460, "0..459"),
    ("own-folders", 3, "0..2, 255"),
]


def test_value_outside_the_table_is_tried_for_every_label_map() -> None:
    others = {"ref-davis17/text", "ref-davis17/meta_expressions"}  # their other values are background
    assert {name for name, *_ in OUTSIDE} == set(MAPS) - others


@pytest.mark.parametrize(("tree", "value", "known"), OUTSIDE, indirect=["tree"])
def test_value_outside_the_table_fails_without_a_target(tree: Tree, value: int, known: str) -> None:
    _, row, image, mask = second(tree)
    with Image.open(image) as opened:
        labels = np.full(opened.size[::-1], value, np.uint16 if mask.suffix in (".tif", ".mat") else np.uint8)
    if mask.suffix == ".mat":
        scipy.io.savemat(mask, {"LabelMap": labels})
    else:
        Image.fromarray(labels).save(mask)
    error = failed(tree.load(), 1)
    assert (error.path, error.target) == (row["mask"], None)
    assert error.reason.startswith("expected labels 0..")
    assert known in error.reason
    assert error.reason.endswith(f", found {value}")


@of(ADAPTERS, "ref-davis17/text", "ref-davis17/meta_expressions")  # whose frames are those that are there
def test_image_missing_is_named(tree: Tree) -> None:
    dataset, row, image, _ = second(tree)
    first = dataset.ids[dataset.images.index(row["image"])]
    image.unlink()
    where = image if tree.name != "own-folders" else image.with_suffix(".*")
    assert refused(tree.load).startswith(f"{where}: expected the image of {first}, found nothing (1 of ")


@of(MAPS)
def test_mask_missing_is_named(tree: Tree) -> None:
    _, row, _, mask = second(tree)
    mask.unlink()
    assert refused(tree.load).startswith(f"{mask}: expected the mask of {row['id']}, found nothing (")


def json_files(tree: Tree) -> list[Path]:
    return sorted(tree.load().root.rglob("*.json"))


@of(ADAPTERS, "own-folders")
def test_annotations_in_json_are_those_that_the_tests_know(tree: Tree, request: pytest.FixtureRequest) -> None:
    assert bool(json_files(tree)) == (request.node.callspec.params["tree"] in JSON)


@of(JSON)
def test_annotations_that_are_no_such_json_are_named(tree: Tree) -> None:
    for path in json_files(tree):
        stored = path.read_bytes()
        for text in (b"", b"{", b"\xff", b"<html>", b"[" * 100_000):
            path.write_bytes(text)
            assert refused(tree.load).startswith(f"{path}: expected JSON, found other text: ")
        path.write_text("3")
        message = refused(tree.load)
        assert message.startswith(f"{path}: ")
        assert message.endswith(", found int")
        path.write_bytes(stored)


@of(JSON)
def test_annotations_missing_are_named(tree: Tree) -> None:
    for path in json_files(tree):
        moved = path.rename(path.with_suffix(".old"))
        message = refused(tree.load)
        assert path.name in message
        assert "found nothing" in message
        moved.rename(path)


@of(ADAPTERS)
def test_split_unknown_is_named(tree: Tree) -> None:
    message = refused(lambda: tree.load(split="nonsense"))
    assert message.startswith("split: expected ")
    assert message.endswith(", found 'nonsense'")


@of(ADAPTERS, *NO_FILES_OF_IDS)
def test_split_file_without_or_with_repeated_ids_is_named(tree: Tree) -> None:
    ids, path = tree.load().ids, tree.parent / "mine.txt"
    first = Path(ids[0]).parent.name if tree.name == "ref-davis17" else ids[0]  # there a split lists videos
    for text, found in (("", "at least one id, found none"), (" \n\n", "at least one id, found none")):
        path.write_text(text)
        assert refused(lambda: tree.load(split=path)) == f"{path}: expected {found}"
    path.write_text(f"{first}\n{first}\n")
    assert refused(lambda: tree.load(split=path)) == f"{path}: expected each id once, found 1 repeated, first {first}"
    path.write_bytes(b"\xff\xfe")
    assert refused(lambda: tree.load(split=path)).startswith(f"{path}: expected a UTF-8 text file of ids")


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "own-folders"])  # has no root
def test_root_missing_or_empty_is_named(name: str, tmp_path: Path) -> None:
    data_set, _, source = name.partition("/")

    def refusal(root: Path) -> str:
        return refused(lambda: load(data_set, root, source=source or None, cache_dir=tmp_path / "cache"))

    absent = tmp_path / "absent"
    assert refusal(absent) == f"data_root: {absent}: expected a folder, found nothing"
    absent.touch()
    assert refusal(absent) == f"data_root: {absent}: expected a folder, found a file"
    absent.unlink()
    absent.mkdir()
    message = refusal(absent)
    assert message.startswith(f"data_root: {absent}: expected ")
    assert message.endswith("found an empty folder")


@of(ADAPTERS)
def test_unknown_options_names_and_sources_are_named(tree: Tree) -> None:
    if tree.name != "own-folders":
        assert refused(lambda: tree.load(options={"shade": "red"})).endswith(", found 'shade'")
    assert refused(lambda: tree.load(source="panoptic")).endswith(", found 'panoptic'")
    assert "expected one of released, dataset, found 'clean'" in refused(lambda: tree.load(names="clean"))
    assert json.dumps(tree.load().label_space.as_dict())
