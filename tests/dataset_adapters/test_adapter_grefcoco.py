"""gRefCOCO on made trees: several targets, none, crowds, both file formats, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.every_tree import refused
from helpers.refer_tree import ReferTree, grefer_tree

SINGLE = {"sentences": "single"}


@pytest.fixture
def tree(tmp_path: Path) -> ReferTree:
    return grefer_tree(tmp_path)


def test_targets_are_the_union_of_what_is_meant(tree: ReferTree) -> None:
    dataset = tree.load(options=SINGLE)
    assert dataset.task == "generalized"
    assert dataset.ids == ("ref0-sent0", "ref0-sent1", "ref1-sent2", "ref2-sent3", "ref2-sent4", "ref3-sent5")
    targets = [sample.target for sample in dataset]
    assert [len(target) for target in targets] == [1, 1, 2, 0, 0, 2]
    one, _, two, none, _, beside_crowd = (target.any(axis=0) for target in targets)
    left, right = np.zeros((2, 24, 32), bool)
    left[3:15, 4:20] = True
    right[:, 0] = True
    np.testing.assert_array_equal(one, left)
    np.testing.assert_array_equal(two, left | right)
    assert (none.shape, none.any()) == ((30, 20), False)
    assert beside_crowd.sum() == 70  # the crowd covers half of the image
    assert dataset[2].queries == ("both dogs",)
    assert dataset[2].task == "generalized"
    crowd = tree.load(split="testA")[0].target  # something is meant, though no pixel counts
    assert (crowd.shape, crowd.any()) == ((1, 30, 20), False)


@pytest.mark.parametrize("flags", [(0, 1), (False, True), ("0", "1"), (None, 1.0)], ids=str)
def test_crowds_however_they_are_marked(tree: ReferTree, flags: tuple[Any, Any]) -> None:
    for annotation in tree.instances["annotations"]:
        annotation["iscrowd"] = flags[annotation["iscrowd"]]
    assert tree.save().load()[3].target.any(axis=0).sum() == 70


def test_joint_samples_and_the_pickled_file(tree: ReferTree, tmp_path: Path) -> None:
    pickled = grefer_tree(tmp_path / "pickled", suffix=".p")
    joint = tree.load()
    assert joint.ids == pickled.load().ids == ("ref0", "ref1", "ref2", "ref3")
    assert joint[2].queries == ("a zebra", "no such thing")
    for ours, theirs in zip(joint, pickled.load(), strict=True):
        np.testing.assert_array_equal(ours.target, theirs.target)


def test_one_object_may_stand_alone(tree: ReferTree) -> None:
    tree.refs[0]["ann_id"] = 1000
    assert tree.save().load()[0].target.sum() == 192


@pytest.mark.parametrize("ann_ids", [[-1], []])
def test_the_annotation_says_that_there_is_no_target(tree: ReferTree, ann_ids: list[int]) -> None:
    tree.refs[2] |= {"ann_id": ann_ids, "no_target": True}
    tree.refs[1]["no_target"] = False
    assert [len(sample.target) for sample in tree.save().load()] == [1, 2, 0, 2]
    tree.refs[2]["no_target"] = False
    tree.save()
    assert "reference 2: no_target: expected True for ann_id [" in refused(tree.load)


@pytest.mark.parametrize("options", [{}, SINGLE])
def test_references_without_a_sentence_are_left_out(tree: ReferTree, options: dict[str, str]) -> None:
    before = tree.load(options=options).ids
    for ref, texts in ((tree.refs[2], ["a zebra", " "]), (tree.refs[1], [""])):
        ref["sentences"] = [{"sent_id": n, "raw": text} for n, text in enumerate(texts, start=50)]
    dataset = tree.save().load(options=options)
    assert [id for id in dataset.ids if "ref2" not in id] == [id for id in before if id[:4] not in ("ref1", "ref2")]
    assert [id[:4] for id in dataset.ids].count("ref2") == 1
    assert dataset.notices == ("grefs(unc).json: left out 1 reference without a sentence and 2 blank sentences",)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("no_target", "no", "reference 1: no_target: expected False for ann_id [1000, 1001], found 'no'"),
        ("no_target", True, "reference 1: no_target: expected False for ann_id [1000, 1001], found True"),
        ("ann_id", [1000, "x"], "reference 1: ann_id: expected integers, or [-1] for no target, found [1000, 'x']"),
        ("ann_id", [True], "reference 1: ann_id: expected integers, or [-1] for no target, found [True]"),
        ("ann_id", "x", "reference 1: ann_id: expected integers, or [-1] for no target, found 'x'"),
        ("ann_id", None, "reference 1: ann_id: expected list or int or float or str, found NoneType"),
        ("sentences", 3, "reference 1: sentences: expected list, found int"),
    ],
)
def test_bad_references_are_named(tree: ReferTree, field: str, value: Any, message: str) -> None:
    tree.refs[1][field] = value
    tree.save()
    assert refused(tree.load) == f"{tree.refs_path}: {message}"


@pytest.mark.parametrize(
    ("ann_ids", "message"),
    [
        ([1000, -1], "expected the annotation -1 of reference 1, found nothing"),
        ([1000, 1003], "annotation 1003: image_id: expected 7 as in reference 1, found 9"),
    ],
)
def test_bad_targets_are_named(tree: ReferTree, ann_ids: list[int], message: str) -> None:
    tree.refs[1]["ann_id"] = ann_ids
    tree.save()
    assert refused(tree.load) == f"{tree.instances_path}: {message}"
