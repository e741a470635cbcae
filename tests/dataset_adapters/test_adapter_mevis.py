"""MeViS on made trees: unions of objects, frames without any, sharding by expression, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.every_tree import refused
from helpers.made_referring import MevisTree, mevis_tree, rle
from PIL import Image
from pycocotools import mask as coco_mask

from dataset_adapters import SampleError, load
from dataset_adapters.base.index import ensure_index
from dataset_adapters.benchmarks.mevis import MevisAdapter
from dataset_adapters.prepare import check, find_preparation


@pytest.fixture
def tree(tmp_path: Path) -> MevisTree:
    return mevis_tree(tmp_path)


def test_samples_are_frames_of_expressions(tree: MevisTree) -> None:
    dataset = tree.load()
    assert (dataset.name, dataset.task, dataset.split, len(dataset)) == ("mevis", "video", "valid_u", 3 * 4 + 2 * 3)
    frames = {"0f3a": ["00000", "00005", "00010", "00015"], "1b2c": ["00000", "00005", "00010"]}
    sequences = ["0f3a/0", "0f3a/1", "0f3a/2", "1b2c/0", "1b2c/1"]
    assert list(dataset.ids) == [f"{each}/{frame}" for each in sequences for frame in frames[each[:4]]]
    assert list(dataset.sequences) == [each.rpartition("/")[0] for each in dataset.ids]
    overlaps = empty = 0
    for position, sample in enumerate(dataset):
        target = tree.target(sample.id)
        np.testing.assert_array_equal(sample.target, target[np.newaxis])
        assert (sample.query_labels, sample.void, sample.sequence) == ((1,), None, dataset.sequences[position])
        assert dataset.queries_of(position) == (sample.queries, (1,))
        video, key, frame = sample.id.split("/")
        annos = tree.meta[video]["expressions"][key]["anno_id"]
        n = frames[video].index(frame)
        summed = sum((tree.masks[anno][n].astype(int) for anno in annos), np.zeros(target.shape, int))
        overlaps, empty = overlaps + (summed > 1).any(), empty + (not target.any())
        rles = [mask for anno in annos if (mask := tree.stored[str(anno)][n]) and isinstance(mask["counts"], str)]
        if len(rles) == len([anno for anno in annos if tree.stored[str(anno)][n]]) > 0:
            np.testing.assert_array_equal(target, coco_mask.decode(coco_mask.merge(rles)) > 0)
        np.testing.assert_array_equal(sample.image, Image.open(tree.image_path(video, n)))
    assert overlaps
    assert empty
    assert dataset[0].queries == ("The cat turning around",)


def test_parts_keep_expressions_whole(tree: MevisTree) -> None:
    dataset = tree.load()
    for count in (2, 3, 5):
        parts = [dataset.shard(index, count) for index in range(count)]
        assert [sample_id for part in parts for sample_id in part.ids] == list(dataset.ids)
        assert sum(len(set(part.sequences)) for part in parts) == 5


def test_fingerprints_follow_masks_and_texts(tree: MevisTree) -> None:
    found = [tree.load().fingerprint, load("mevis", tree.split.parent, cache_dir=tree.parent / "other").fingerprint]
    tree.meta["1b2c"]["expressions"]["1"]["exp"] = "two birds"
    found.append(tree.save().load().fingerprint)
    tree.stored["11"][0], tree.stored["11"][1] = tree.stored["11"][1], tree.stored["11"][0]
    found.append(tree.save().load().fingerprint)
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_blank_expressions_and_expressions_of_nothing(tree: MevisTree) -> None:
    tree.meta["0f3a"]["expressions"]["1"]["exp"] = " "
    tree.meta["0f3a"]["expressions"]["2"]["anno_id"] = []
    dataset = tree.save().load()
    assert dataset.notices == ("left out 1 blank expression",)
    assert sorted(set(dataset.sequences)) == ["0f3a/0", "0f3a/2", "1b2c/0", "1b2c/1"]
    assert [sample.target.shape for sample in dataset if sample.sequence == "0f3a/2"] == [(1, 26, 40)] * 4
    assert not any(sample.target.any() for sample in dataset if sample.sequence == "0f3a/2")


def test_mevis_ids_as_text_and_surplus_masks_are_accepted(tree: MevisTree) -> None:
    before = [sample.target for sample in tree.load()]
    tree.meta["0f3a"]["expressions"]["0"]["anno_id"] = ["3"]
    tree.stored["11"].append(None)
    for sample, target in zip(tree.save().load(), before, strict=True):
        np.testing.assert_array_equal(sample.target, target)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("meta",), [], "videos: expected dict, found list"),
        (("meta", "0f3a"), 3, "0f3a: expected a dict, found int"),
        (("meta", "0f3a", "frames"), "00000", "0f3a: frames: expected list, found str"),
        (("meta", "0f3a", "frames", 1), "../00005", "expected a name without folders, found '../00005'"),
        (("meta", "0f3a", "frames", 1), "00000", "expected each id once, found 3 repeated, first 0f3a/0/00000"),
        (("meta", "0f3a", "expressions"), [], "0f3a: expressions: expected dict, found list"),
        (("meta", "0f3a", "expressions", "0"), "a", "0f3a, expression 0: expected a dict, found str"),
        (("meta", "0f3a", "expressions", "0", "exp"), 3, "0f3a, expression 0: exp: expected str, found int"),
        (("meta", "0f3a", "expressions", "0", "anno_id"), 3, "0f3a, expression 0: anno_id: expected list, found int"),
        (("meta", "0f3a", "expressions", "0", "anno_id"), [3, "x"], "anno_id: expected integers, found [3, 'x']"),
        (("meta", "0f3a", "expressions", "0", "anno_id"), [99], "0f3a, expression 0: 99: expected list, found nothing"),
        (("stored",), [], "0f3a, expression 0: expected a dict, found list"),
        (("stored", "3"), None, "0f3a, expression 0: 3: expected list, found NoneType"),
        (("stored", "3"), [None] * 3, "3: expected a mask or null for 4 frames, found 3"),
        (("stored", "3", 2), "xyz", "0f3a, expression 0: 3: expected an RLE or null, found 'xyz'"),
        (("stored", "3", 2), [[1, 2, 3, 4, 5, 6]], "3: expected an RLE or null, found [[1, 2, 3, 4, 5, 6]]"),
        (("stored", "3"), [{"size": [10**6, 10**6], "counts": "0"}] * 4, "found [1000000, 1000000]"),
        (("stored", "3"), [{"size": [-26, -40], "counts": "0"}] * 4, "found [-26, -40]"),
        (("stored", "3"), [{"size": 3, "counts": "0"}] * 4, "size of the masks of 0f3a: expected a height and width"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_files_are_named(tree: MevisTree, where: tuple[Any, ...], value: Any, message: str) -> None:
    if len(where) == 1:
        setattr(tree, where[0], value)
    else:
        place = getattr(tree, where[0])
        for key in where[1:-1]:
            place = place[key]
        place[where[-1]] = value
    found = refused(tree.save().load)
    assert message in found
    assert found.startswith(str(tree.split)) or "repeated" in message


@pytest.mark.parametrize("name", ["../0f3a", "a/b", "..", ""])
def test_names_that_leave_their_folder(tree: MevisTree, name: str) -> None:
    for place in (tree.meta, tree.meta["0f3a"]["expressions"]):
        kept = dict(place)
        place[name] = place.pop(next(iter(place)))
        assert f"expected a name without folders, found {name!r}" in refused(tree.save().load)
        place.clear()
        place.update(kept)


def test_masks_that_do_not_fit_fail_alone(tree: MevisTree) -> None:
    tree.stored["11"][1] = {"size": [34, 28], "counts": [3]}
    tree.stored["11"][2] = rle(np.ones((34, 27), bool))
    dataset = tree.save().load()
    with pytest.raises(SampleError, match=r"valid_u/mask_dict\.json: segmentation: expected RLE counts of 952 pixels"):
        dataset[13]
    with pytest.raises(SampleError, match=r"expected an RLE of size \[34, 28\], found \[34, 27\]"):
        dataset[14]


def test_other_splits(tree: MevisTree) -> None:
    assert "split: expected one of valid_u, train, found 'valid'" in refused(lambda: tree.load(split="valid"))
    assert "expected a file, found nothing" in refused(lambda: tree.load(split="train"))


def test_video_without_masks_has_empty_targets_of_frame_size(tree: MevisTree) -> None:
    before = tree.load()
    tree.stored["11"] = [None] * 3
    assert json.loads((tree.save().split / "mask_dict.json").read_text())["11"] == [None] * 3
    dataset = tree.load()
    assert dataset.ids == before.ids
    positions = [n for n, sequence in enumerate(dataset.sequences) if sequence.startswith("1b2c/")]
    assert len(positions) == 2 * 3
    for n in positions:
        assert (dataset[n].target.shape, dataset[n].target.any()) == ((1, 34, 28), False)
    for n in {*range(len(dataset))} - {*positions}:
        np.testing.assert_array_equal(dataset[n].target, before[n].target)
    tree.image_path("1b2c", 1).write_bytes(b"no image")
    with pytest.raises(SampleError, match=r"00005\.jpg: expected an image file, found an unknown format"):
        tree.load()[positions[1]]


def test_a_file_that_is_lost_before_it_is_read_is_named(tree: MevisTree) -> None:
    class Losing(MevisAdapter):
        def rows(self, root: Path, split: str | Path) -> Any:
            (tree.split / "mask_dict.json").unlink()
            return super().rows(root, split)

    found = refused(lambda: ensure_index(Losing(), tree.split.parent, "valid_u", tree.cache))
    assert found == f"{tree.split / 'mask_dict.json'}: expected a file, found nothing"


def test_check_counts_videos_and_frames(tree: MevisTree) -> None:
    lines: list[str] = []
    assert check(find_preparation("mevis"), tree.parent, lines.append, n_decoded=None) == 1
    assert "fault: valid_u/JPEGImages/*: expected 50 files, found 2" in lines
    assert "mevis, split valid_u: 18 frames under their expressions (mevis)" in lines
