"""Ref-DAVIS 2017 on made trees: both layouts, objects and texts, sharding by video, and bad input."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.davis_tree import TEXT_FILES, DavisTree, davis_tree
from helpers.every_tree import refused
from PIL import Image

from dataset_adapters.base.dataset import balanced_cuts


@pytest.fixture
def tree(tmp_path: Path) -> DavisTree:
    return davis_tree(tmp_path)


def test_frames_of_four_sets_in_order(tree: DavisTree) -> None:
    dataset = tree.load()
    assert (dataset.name, dataset.task, dataset.split, len(dataset)) == ("ref-davis17/text", "video", "val", 28)
    frames = [f"goat/{t:05d}" for t in range(4)] + [f"dogs-scale/{t:05d}" for t in range(3)]
    assert list(dataset.ids) == [f"anno_{k}/{frame}" for k in range(4) for frame in frames]
    assert list(dataset.sequences) == [each.rpartition("/")[0] for each in dataset.ids]
    for position, sample in enumerate(dataset):
        annotation_set, video, frame = sample.id.split("/")
        labels = tree.labels[video][int(frame)]
        assert sample.queries == tuple(tree.texts[video][int(annotation_set[-1])])
        assert sample.query_labels == tuple(range(1, len(sample.queries) + 1))
        assert sample.sequence == dataset.sequences[position]
        assert sample.target.dtype == np.bool_
        for label, mask in enumerate(sample.target, start=1):
            np.testing.assert_array_equal(mask, labels == label)
        np.testing.assert_array_equal(sample.image, Image.open(tree.image_path(video, int(frame))))
    assert dataset[14].queries[0] == "chèvre blanche"


def test_the_converted_layout_gives_the_same_samples(tree: DavisTree) -> None:
    before = list(tree.load())
    tree.convert()
    dataset = tree.load()
    assert dataset.name == "ref-davis17/meta_expressions"
    for ours, theirs in zip(dataset, before, strict=True):
        assert (ours.id, ours.queries, ours.query_labels) == (theirs.id, theirs.queries, theirs.query_labels)
        np.testing.assert_array_equal(ours.target, theirs.target)
    assert "expected one of val, train, found 'test'" in refused(
        lambda: tree.load(source="meta_expressions", split="test")
    )


def test_a_text_of_two_objects_asks_for_the_first(tree: DavisTree) -> None:
    tree.texts["dogs-scale"][0] = ["a dog", "the man", "A  dog"]
    sample = tree.save().load()[4]
    assert (sample.queries, sample.query_labels) == (("a dog", "the man"), (1, 2))
    assert len(sample.target) == 3
    one = sample.with_queries(["the man", "someone else"])
    assert (one.queries, one.query_labels) == (("the man",), (2,))


def test_255_is_void_and_other_values_of_a_mask_are_background(tree: DavisTree) -> None:
    labels = tree.labels["goat"][1].copy()
    labels[-1], labels[-2] = 255, 9
    Image.fromarray(labels).save(tree.mask_path("goat", 1))
    sample = tree.load()[1]
    np.testing.assert_array_equal(sample.target.any(axis=0)[-2:], np.zeros((2, 40), bool))
    np.testing.assert_array_equal(sample.void, labels == 255)
    assert sample.with_queries(sample.queries[:1]).void is sample.void


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20])
def test_shards_keep_sequences_together(tree: DavisTree, count: int) -> None:
    dataset = tree.load()
    shards = [dataset.shard(index, count) for index in range(count)]
    assert [sample_id for shard in shards for sample_id in shard.ids] == list(dataset.ids)
    of_shards = [set(shard.sequences) for shard in shards]
    assert sum(len(own) for own in of_shards) == len(set().union(*of_shards)) == 8
    assert count > 8 or all(of_shards)
    part = dataset[2:20]
    assert [i for index in range(2) for i in part.shard(index, 2).ids] == list(part.ids)


def test_no_shard_is_empty_where_there_are_sequences_enough(tmp_path: Path) -> None:
    uneven = DavisTree(tmp_path)
    uneven.add("long", 18, 24, 40, 1)
    uneven.add("short", 2, 24, 40, 1)
    dataset = uneven.save().load()  # 18, 2, 18, 2, 18, 2, 18, 2
    for count in range(1, 9):
        shards = [dataset.shard(index, count) for index in range(count)]
        assert all(shards)
        assert [sample_id for shard in shards for sample_id in shard.ids] == list(dataset.ids)
    assert [len(dataset[:40].shard(index, 3)) for index in range(3)] == [18, 2, 20]


@pytest.mark.parametrize(
    ("lengths", "count", "expected"),
    [
        ([90, 10], 2, [90, 10]),
        ([90, 10, 10, 10, 10], 3, [90, 20, 20]),
        ([10, 90], 2, [10, 90]),
        ([5, 5, 5, 85], 3, [10, 5, 85]),
        ([25] * 4, 2, [50, 50]),
        ([1], 1, [1]),
        ([3, 2], 4, [3, 2, 0, 0]),
    ],
    ids=str,
)
def test_cuts_are_even(lengths: list[int], count: int, expected: list[int]) -> None:
    cuts = balanced_cuts([0, *accumulate(lengths)], count)
    assert [end - begin for begin, end in pairwise(cuts)] == expected


def test_missing_files_are_named(tree: DavisTree) -> None:
    path = tree.text_path("Davis17_annot2.txt")
    path.unlink()
    assert refused(tree.load) == f"{path}: expected a file of expressions, found nothing"
    tree.save()
    tree.mask_path("goat", 0).unlink()
    assert "expected the annotation of the first frame of goat, found nothing" in refused(tree.load)
    for path in tree.image_path("goat", 0).parent.iterdir():
        path.unlink()
    assert "expected the frames of goat (*.jpg), found none" in refused(tree.load)
    (tree.root / "davis_text_annotations").rename(tree.root / "elsewhere")
    assert refused(tree.load) == (
        f"data_root: {tree.root}: expected davis_text_annotations/Davis17_annot1.txt, ..., or "
        "meta_expressions/valid/meta_expressions.json, found nothing of the kind"
    )


@pytest.mark.parametrize("converted", [False, True])
def test_blank_expressions_are_left_out_and_counted(tree: DavisTree, converted: bool) -> None:
    before = {sample.id: (sample.queries, sample.query_labels) for sample in tree.load()}
    tree.texts["goat"][1] = [" ", ""]
    tree.texts["dogs-scale"][3][1] = ""
    tree.save()
    if converted:
        tree.convert()
    dataset = tree.load()
    assert dataset.notices == ("left out 3 blank expressions, and with them 1 video of a set",)
    assert [id for id in before if id not in dataset.ids] == [f"anno_1/goat/{t:05d}" for t in range(4)]
    for sample in dataset:
        queries, labels = before[sample.id]
        if sample.id.startswith("anno_3/dogs"):
            queries, labels = queries[::2], labels[::2]
            assert len(sample.target) == 3  # still an object of the video
        assert (sample.queries, sample.query_labels) == (queries, labels)
    for texts in tree.texts.values():
        texts[:] = [["" for _ in one_set] for one_set in texts]
    if converted:
        tree.meta_path.write_text(json.dumps(tree.meta()))
    else:
        path = tree.text_path("Davis17_annot1.txt")
        tree.save()
        path.write_text(path.read_text().replace(' ""', ""))  # no expression at all
    assert refused(tree.load) == f"{tree.root}: expected expressions of the split val, found only blank ones"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("goat", "line 1: expected <video> <object> \"<expression>\", found 'goat'"),
        ('goat 256 "a goat"', "line 1: expected an object id in 1..254, found '256'"),
        ('goat 255 "a goat"', "line 1: expected an object id in 1..254, found '255'"),
        ('goat 0 "a goat"', "line 1: expected an object id in 1..254, found '0'"),
        ('goat -1 "a goat"', "line 1: expected an object id in 1..254, found '-1'"),
        ('goat one "a goat"', "line 1: expected an object id in 1..254, found 'one'"),
        (f"goat {'9' * 5000} x", f"line 1: expected an object id in 1..254, found '{'9' * 40}'"),
        ('goat 1 "a"\ngoat 1 "b"', "line 2: expected each object once, found 1 again"),
        ('goat 1 "a goat"', "expected expressions of the video dogs-scale, found none"),
    ],
)
def test_bad_text_files_are_named(tree: DavisTree, line: str, message: str) -> None:
    path = tree.text_path("Davis17_annot1.txt")
    path.write_text(line)
    assert refused(tree.load) == f"{path}: {message}"


def test_text_files_with_a_byte_order_mark(tree: DavisTree) -> None:
    before = [sample.queries for sample in tree.load()]
    for name, encoding in TEXT_FILES.items():
        path = tree.text_path(name)
        path.write_bytes(path.read_bytes().decode(encoding).encode("utf-8-sig"))
    assert [sample.queries for sample in tree.load()] == before


def test_other_bytes_in_the_first_annotators_file(tree: DavisTree) -> None:
    path = tree.text_path("Davis17_annot1.txt")
    path.write_bytes('goat 1 "chèvre"'.encode("latin-1"))
    assert "text, found other bytes" in refused(tree.load)


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("0", {"exp": 3, "obj_id": "1"}, "goat, expression 0: exp: expected str, found int"),
        ("0", "text", "goat, expression 0: expected a dict, found str"),
        ("0", {"exp": "a", "obj_id": "one"}, "goat, expression 0: obj_id: expected an integer, found the text 'one'"),
        ("0", {"exp": "a", "obj_id": None}, "goat, expression 0: obj_id: expected an integer, found null"),
        ("x", {"exp": "a", "obj_id": "1"}, "goat, expression x: expected a number, found 'x'"),
        ("0", {"exp": "a", "obj_id": "999"}, "goat, expression 0: expected an object id in 1..254, found '999'"),
        ("8", {"exp": "a", "obj_id": 2.0}, "goat, expression 8: expected each object once, found 2 again"),
    ],
)
def test_bad_meta_expressions_are_named(tree: DavisTree, key: str, entry: Any, message: str) -> None:
    tree.convert()
    meta = tree.meta()
    meta["videos"]["goat"]["expressions"][key] = entry
    tree.meta_path.write_text(json.dumps(meta))
    assert refused(tree.load) == f"{tree.meta_path}: {message}"


@pytest.mark.parametrize("name", ["../goat", "a/b"])
def test_names_that_leave_their_folder(tree: DavisTree, name: str) -> None:
    (tree.root / "DAVIS/ImageSets/2017/val.txt").write_text(f"goat\n{name}\n")
    assert f"val.txt: line 2: expected one id per line, without folder and suffix, found a path: {name!r}" in refused(
        tree.load
    )
    tree.convert()
    goat = json.loads(tree.meta_path.read_text())["videos"]["goat"]
    tree.meta_path.write_text(json.dumps({"videos": {name: goat}}))
    message = refused(lambda: tree.load(source="meta_expressions"))
    assert f"expected a name without folders, found {name!r}" in message


def test_first_annotations_without_or_with_too_many_objects(tree: DavisTree) -> None:
    for value, found in ((0, 0), (255, 0), (21, 21), (254, 254)):
        Image.fromarray(np.full((24, 40), value, np.uint8)).save(tree.mask_path("goat", 0))
        assert f"expected objects 1..20 at most, found {found}" in refused(tree.load)
