"""The refer adapters on made trees: samples, splits, options, the cache, and every bad input."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.every_tree import failed, refused
from helpers.refer_tree import ReferTree, refer_tree
from PIL import Image

from dataset_adapters import load, option_choices
from dataset_adapters.benchmarks import refcoco as refer
from dataset_adapters.prepare import check, find_preparation

SINGLE = {"sentences": "single"}
IMAGE = "image 7 (COCO_train2014_000000000007.jpg)"


@pytest.fixture
def tree(tmp_path: Path) -> ReferTree:
    return refer_tree(tmp_path)


def test_joint_sample_is_a_reference_with_its_sentences(tree: ReferTree) -> None:
    dataset = tree.load()
    assert (dataset.task, dataset.split, dataset.ids) == ("referring", "val", ("ref0", "ref1", "ref4"))
    sample = dataset[0]
    assert (sample.id, sample.task) == ("ref0", "referring")
    assert sample.queries == ("The left dog", "dog on the left")  # as written, the repeated one once
    np.testing.assert_array_equal(sample.image, Image.open(tree.image_path(7)).convert("RGB"))
    expected = np.zeros((24, 32), bool)
    expected[3:15, 4:20] = True
    assert sample.target.dtype == np.bool_
    np.testing.assert_array_equal(sample.target, expected)
    assert dataset[1].queries == ("A cat",)  # the blank one says nothing


def test_sentences_that_clip_reads_as_one_are_one(tmp_path: Path) -> None:
    """CaR would refuse the sample; the first of them stays as written."""
    tree = ReferTree(tmp_path)
    tree.add_image(7)
    tree.add(7, ["The red-haired man", "the  Red - haired man ", "&nbsp;", "man", "MAN", "men"])
    for ref in tree.refs:
        for sentence in ref["sentences"]:
            sentence["sent"] = sentence["raw"]
    tree.save()
    assert tree.load()[0].queries == ("The red-haired man", "man", "men")


def test_shards_keep_the_sentences_of_an_image_together(tree: ReferTree) -> None:
    """Those that follow one another: the files may come back to an image."""
    dataset = tree.load(options=SINGLE)
    assert [Path(image).stem[-1] for image in dataset.images_by_sample] == ["7", "7", "7", "9", "7"]
    shards = {count: [len(dataset.shard(index, count)) for index in range(count)] for count in (1, 2, 3, 4)}
    assert shards == {1: [5], 2: [3, 2], 3: [3, 1, 1], 4: [3, 1, 1, 0]}
    assert sum((dataset.shard(index, 3).ids for index in range(3)), ()) == dataset.ids


def test_samples_of_different_images_share_none(tree: ReferTree) -> None:
    dataset = tree.load()
    assert (len(dataset.images_by_sample), dataset[:2].images_by_sample) == (3, ())
    assert dataset[:2].shard(1, 2).ids == ("ref1",)


def test_single_sample_is_a_sentence(tree: ReferTree) -> None:
    dataset = tree.load(options=SINGLE)
    assert dataset.ids == ("ref0-sent0", "ref0-sent1", "ref0-sent2", "ref1-sent3", "ref4-sent8")
    assert [sample.queries for sample in dataset][:4] == [
        ("The left dog",),
        ("dog on the left",),
        ("The left dog",),
        ("A cat",),
    ]
    np.testing.assert_array_equal(dataset[1].target, tree.load()[0].target)


@pytest.mark.parametrize("options", [{}, SINGLE])
def test_references_without_a_sentence_are_left_out_and_counted(tree: ReferTree, options: dict[str, str]) -> None:
    assert tree.load(options=options).notices == ("refs(unc).p: left out 1 blank sentence",)
    before = tree.load(options=options)
    tree.add(9, [])
    tree.add(7, ["", " \n", "\u00a0"])
    tree.save()
    for _ in range(2):  # parsed, then from the cache
        dataset = tree.load(options=options)
        assert dataset.ids == before.ids
        assert dataset.notices == ("refs(unc).p: left out 2 references without a sentence and 4 blank sentences",)
    assert all(text.strip() for sample in dataset for text in sample.queries)
    lines: list[str] = []
    check(find_preparation("refcoco"), tree.root, lines.append, n_decoded=0)
    assert f"refcoco, split val: {dataset.notices[0]}" in lines
    assert tree.load(split="testA", options=options).notices == ()
    for reference in tree.refs:
        reference["sentences"] = []
    tree.save()
    assert refused(lambda: tree.load(options=options)) == (
        f"{tree.refs_path}: expected references with a sentence in the split val, found none"
    )


def test_numbers_as_text_or_with_a_zero_fraction(tree: ReferTree) -> None:
    before = tree.load()
    for reference in tree.refs:
        reference |= {"ref_id": str(reference["ref_id"]), "ann_id": float(reference["ann_id"])}
        reference["image_id"] = str(reference["image_id"])
        for sentence in reference["sentences"]:
            sentence["sent_id"] = str(sentence["sent_id"])
    for image in tree.instances["images"]:
        image |= {"id": float(image["id"]), "height": str(image["height"])}
    for annotation in tree.instances["annotations"]:
        annotation |= {"id": str(annotation["id"]), "image_id": float(annotation["image_id"])}
    assert tree.save().load().fingerprint == before.fingerprint
    for encoding in ("utf-8-sig", "utf-16", "utf-32-be"):
        tree.instances_path.write_bytes(json.dumps(tree.instances).encode(encoding))
        assert tree.load().fingerprint == before.fingerprint


def test_refer_polygons_of_under_three_points_are_counted(tree: ReferTree) -> None:
    before = tree.load()
    first = tree.instances["annotations"][0]
    first["segmentation"] = [*first["segmentation"], [], [1, 2, 3, 4]]
    tree.instances["annotations"][2]["segmentation"] = [[]]  # of testA
    dataset = tree.save().load()
    assert dataset.fingerprint == before.fingerprint
    assert dataset.notices[0] == ("instances.json: 2 polygons of fewer than 3 points left out")


def test_an_entry_that_is_there_twice(tree: ReferTree) -> None:
    before = tree.load()
    tree.instances["annotations"].append(dict(tree.instances["annotations"][0]))
    tree.instances["images"].append(dict(tree.instances["images"][1]))
    assert tree.save().load().fingerprint == before.fingerprint
    tree.instances["images"][-1]["height"] += 1
    tree.save()
    assert "expected the image 9 of reference 1 once, found others of its id" in refused(tree.load)
    tree.instances["images"].pop()
    tree.instances["annotations"][-1]["segmentation"] = []
    tree.save()
    assert "expected the annotation 1000 of reference 0 once, found others of its id" in refused(tree.load)
    assert tree.load(split="testB").ids == ("ref3",)  # no reference of it means that annotation


@pytest.mark.parametrize("options", [{}, SINGLE])
@pytest.mark.parametrize("half", [chr(0xD83D), chr(0xDE00)])
def test_half_of_a_character_in_a_sentence_is_named(tree: ReferTree, half: str, options: dict[str, str]) -> None:
    edit(tree, "refs", 1, "sentences", 0, "raw", value=f"a cat {half} there")
    sample = "ref1" if options == {} else "ref1-sent3"
    assert refused(lambda: tree.load(options=options)) == (
        f"{tree.root}: sentences of {sample!r}: expected text, found half of a character in "
        f"""'["a cat {ascii(half)[1:-1]} there"]'"""
    )
    edit(tree, "refs", 1, "sentences", 0, "raw", value="a cat \U0001f600 there")
    assert tree.load(options=options).ids
    edit(tree, "instances", "images", 1, "file_name", value=f"{half}.jpg")
    assert "image of 'ref1" in refused(lambda: tree.load(options=options))


def test_overlaps_kept_and_lost(tree: ReferTree) -> None:
    kept, lost = (tree.load(options={"overlaps": overlaps})[1].target for overlaps in ("kept", "lost"))
    a, b = np.zeros((2, 30, 20), bool)
    a[2:12, 2:9] = True
    b[6:20, 6:15] = True
    np.testing.assert_array_equal(kept, a | b)
    np.testing.assert_array_equal(lost, a ^ b)


def test_options_are_in_the_fingerprint_and_survive_a_pickle(tree: ReferTree) -> None:
    loaded = [tree.load(options=options) for options in ({}, SINGLE, {"overlaps": "lost"})]
    assert len({dataset.fingerprint for dataset in loaded}) == 3
    assert tree.load(options={"sentences": "joint", "overlaps": "kept"}).fingerprint == loaded[0].fingerprint
    again = pickle.loads(pickle.dumps(loaded[2]))
    np.testing.assert_array_equal(again[1].target, loaded[2][1].target)
    assert option_choices("refcoco") == {"sentences": ("joint", "single"), "overlaps": ("kept", "lost")}
    assert option_choices("voc21") == {}


def test_unknown_options(tree: ReferTree) -> None:
    assert refused(lambda: tree.load(options={"sentences": "all"})) == (
        "refcoco: sentences: expected one of joint, single, found 'all'"
    )
    assert "expected an option of sentences, overlaps, found 'overlap'" in refused(
        lambda: tree.load(options={"overlap": "lost"})
    )
    assert "voc21: expected no option" in refused(lambda: load("voc21", tree.root, options=SINGLE))


@pytest.mark.parametrize(
    ("split", "stored", "belongs"),
    [
        ("testA", ["testA", "testAB", "testB", "val"], [0, 1]),
        ("testB", ["testA", "testAB", "testB", "val"], [1, 2]),
        ("test", ["testA", "test", "val", "train"], [0, 1]),
        ("val", ["val", "val2", "test", "train"], [0]),
        ("train", ["val", "train", "train1", "train"], [1, 3]),
    ],
)
def test_which_references_are_of_a_split(tmp_path: Path, split: str, stored: list[str], belongs: list[int]) -> None:
    tree = ReferTree(tmp_path)
    for name in stored:
        tree.add(7, ["a dog"], split=name)
    tree.save()
    assert [reference.ref_id for reference in refer.read_references(tree.refs_path, split)] == belongs


@pytest.mark.parametrize(
    ("name", "split_by", "split", "stored"),
    [
        ("refcoco", "unc", "testA", "testA"),
        ("refcoco+", "unc", "testB", "testB"),
        ("refcoco+", "unc", None, "val"),
        ("refcocog", "umd", None, "val"),
        ("refcocog", "umd", "test-umd", "test"),
        ("refcocog", "google", "val-google", "val"),
    ],
)
def test_data_sets_and_their_splits(tmp_path: Path, name: str, split_by: str, split: str | None, stored: str) -> None:
    tree = ReferTree(tmp_path, name, split_by)
    tree.add_image(7)
    for other in ("train", "val", "test", "testA", "testB"):
        tree.add(7, [f"thing of {other}"], split=other)
    dataset = tree.save().load(split=split)
    assert f"thing of {stored}" in [sample.queries[0] for sample in dataset]
    assert dataset.split == (split or {"refcocog": "val-umd"}.get(name, "val"))


def test_unknown_splits_and_empty_ones(tree: ReferTree) -> None:
    assert "expected one of val, testA, testB, train for refcoco, " in refused(lambda: tree.load(split="test"))
    assert refused(lambda: tree.load(split="train")) == (
        f"{tree.refs_path}: expected references of the split train, found testA, testB, val"
    )


@pytest.mark.parametrize("below", [".", "refer"])
def test_root_or_its_parent(tree: ReferTree, below: str) -> None:
    assert load("refcoco", tree.parent / below, cache_dir=tree.parent / "cache").root == tree.root


def test_layout_mistakes(tree: ReferTree) -> None:
    assert "expected the folders refcoco+, images/mscoco/images/train2014" in refused(
        lambda: load("refcoco+", tree.root)
    )
    tree.refs_path.unlink()
    assert refused(tree.load) == f"{tree.refs_path}: expected a file, found nothing"


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_any_pickle_protocol(tree: ReferTree, protocol: int) -> None:
    expected = [sample.queries for sample in tree.load()]
    assert [sample.queries for sample in tree.save(protocol).load()] == expected


def test_a_hostile_pickle_is_refused_by_name(tree: ReferTree) -> None:
    tree.refs_path.write_bytes(b"(lp0\ncos\nsystem\n(S'touch harmed'\ntRa.")
    assert "the global os.system, which is refused" in refused(tree.load)


def edit(tree: ReferTree, *keys: Any, value: Any) -> None:
    """Set tree.<keys[0]>[keys[1]]... to value; the value `del` removes the entry."""
    holder = getattr(tree, keys[0])
    for key in keys[1:-1]:
        holder = holder[key]
    if value is del_:
        del holder[keys[-1]]
    else:
        holder[keys[-1]] = value
    tree.save()


del_ = object()


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("refs", 1), "text", "reference 1: expected a dict, found str"),
        (("refs", 1, "split"), del_, "reference 1: split: expected str, found nothing"),
        (("refs", 2, "split"), 3, "reference 2: split: expected str, found int"),
        (("refs", 1, "ref_id"), "one", "reference 1: ref_id: expected an integer, found the text 'one'"),
        (("refs", 1, "ref_id"), True, "reference 1: ref_id: expected an integer, found True"),
        (("refs", 1, "ref_id"), None, "reference 1: ref_id: expected an integer, found null"),
        (("refs", 1, "ann_id"), [1], "reference 1: ann_id: expected an integer, found [1]"),
        (("refs", 1, "ann_id"), 1.5, "reference 1: ann_id: expected an integer, found 1.5"),
        (("refs", 1, "image_id"), del_, "reference 1: image_id: expected an integer, found nothing"),
        (("refs", 1, "sentences"), None, "reference 1: sentences: expected list, found NoneType"),
        (("refs", 1, "sentences", 0), "A cat", "reference 1, sentence 0: expected a dict, found str"),
        (("refs", 1, "sentences", 0, "raw"), b"cat", "reference 1, sentence 0: raw: expected str, found bytes"),
        (
            ("refs", 1, "sentences", 0, "sent_id"),
            del_,
            "reference 1, sentence 0: sent_id: expected an integer, found nothing",
        ),
        (("refs", 1, "ref_id"), 0, "expected each id once, found 1 repeated, first ref0"),
    ],
)
def test_bad_references_are_named(tree: ReferTree, keys: tuple[Any, ...], value: Any, message: str) -> None:
    edit(tree, *keys, value=value)
    assert refused(tree.load) == f"{tree.refs_path}: {message}"


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("instances", "images"), del_, "the file: images: expected list, found nothing"),
        (("instances", "annotations"), {}, "the file: annotations: expected list, found dict"),
        (("instances", "annotations", 1), 5, "annotations 1: expected a dict, found int"),
        (("instances", "images", 0, "id"), 8, "expected the image 7 of reference 0, found nothing"),
        (("instances", "annotations", 0, "id"), 8, "expected the annotation 1000 of reference 0, found nothing"),
        (
            ("instances", "annotations", 0, "image_id"),
            9,
            "annotation 1000: image_id: expected 7 as in reference 0, found 9",
        ),
        (
            ("instances", "annotations", 0, "segmentation"),
            "x",
            "annotation 1000: segmentation: expected list or dict, found str",
        ),
        (("instances", "images", 0, "height"), 2.5, f"{IMAGE}: height: expected an integer, found 2.5"),
        (
            ("instances", "images", 0, "width"),
            0,
            f"{IMAGE}: expected height and width in 1..67108864 pixels in all (--max-pixels), found 24 and 0",
        ),
        (
            ("instances", "images", 0, "file_name"),
            "../a.jpg",
            "image 7 (../a.jpg): file_name: expected a name without folders, found '../a.jpg'",
        ),
    ],
)
def test_bad_instances_are_named(tree: ReferTree, keys: tuple[Any, ...], value: Any, message: str) -> None:
    edit(tree, *keys, value=value)
    assert refused(tree.load) == f"{tree.instances_path}: {message}"


def test_pickle_of_another_kind_is_named(tree: ReferTree) -> None:
    tree.refs_path.write_bytes(pickle.dumps({"refs": []}))
    assert refused(tree.load) == f"{tree.refs_path}: expected a list of references, found dict"


def test_absent_images_are_counted_once(tree: ReferTree) -> None:
    tree.image_path(7).unlink()
    assert refused(lambda: tree.load(options=SINGLE)) == (
        f"{tree.image_path(7)}: expected the image of ref0-sent0, found nothing (1 of 2 image files absent)"
    )
    tree.image_path(7).parent.rename(tree.root / "moved")
    assert refused(tree.load).endswith("found no images/mscoco/images/train2014")


def test_a_name_that_no_file_can_have_is_an_absent_image(tree: ReferTree) -> None:
    edit(tree, "instances", "images", 0, "file_name", value="a\0.jpg")
    assert "expected the image of ref0, found nothing" in refused(tree.load)


def test_a_bad_segmentation_fails_its_sample_without_a_target(tree: ReferTree) -> None:
    edit(tree, "instances", "annotations", 0, "segmentation", value=[[1, 2, 3, 4]])
    dataset = tree.load()
    error = failed(dataset)
    assert "at least one polygon of 3 or more points" in error.reason
    assert (error.path, error.target) == ("refcoco/instances.json", None)
    assert error.reason.startswith("COCO_train2014_000000000007.jpg: ")
    assert dataset[2].target.sum() == 24


def test_an_object_without_pixels_is_a_sample(tree: ReferTree) -> None:
    edit(tree, "instances", "annotations", 0, "segmentation", value={"size": [24, 32], "counts": [768]})
    assert not tree.load()[0].target.any()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pickles that were parsed, in order."""
    paths: list[Path] = []
    original = refer.read_references

    def record(path: Path, *arguments: Any, **options: Any) -> list[refer.Reference]:
        paths.append(path)
        return original(path, *arguments, **options)

    monkeypatch.setattr(refer, "read_references", record)
    return paths


def test_a_cached_index_is_found_without_parsing(tree: ReferTree, parsed: list[Path], tmp_path: Path) -> None:
    first = tree.load()
    os.utime(tree.refs_path, (0, 0))
    shutil.copytree(tree.root, tmp_path / "elsewhere")
    again = load("refcoco", tmp_path / "elsewhere", cache_dir=tree.parent / "cache")
    assert (again.fingerprint, again.index_path, again.ids) == (first.fingerprint, first.index_path, first.ids)
    assert len(parsed) == 1


def test_changed_files_are_noticed(tree: ReferTree, parsed: list[Path]) -> None:
    seen = [tree.load().fingerprint]
    edit(tree, "refs", 0, "sentences", 0, "raw", value="The RIGHT dog")
    seen.append(tree.load().fingerprint)
    assert tree.load()[0].queries[0] == "The RIGHT dog"
    edit(tree, "instances", "annotations", 0, "segmentation", value=[[0, 0, 9, 0, 9, 9]])
    seen.append(tree.load().fingerprint)
    tree.image_path(9).write_bytes(tree.image_path(9).read_bytes() + b"\0")
    seen.append(tree.load().fingerprint)
    assert len(set(seen)) == 4
    assert len(parsed) == 3  # an image's size changes the fingerprint, not the index


@pytest.mark.parametrize("damage", ["arrow", "seal", "lost"])
def test_a_damaged_index_is_built_again(tree: ReferTree, parsed: list[Path], damage: str) -> None:
    dataset = tree.load()
    arrow = dataset.index_path
    if damage == "arrow":
        arrow.write_bytes(arrow.read_bytes().replace(b"dog on the left", b"dog on the ceil"))
    elif damage == "lost":
        arrow.unlink()
    else:
        arrow.with_suffix(".json").write_text("{")
    again = tree.load()
    assert len(parsed) == 2
    assert again[0].queries == ("The left dog", "dog on the left")
    tree.load()
    assert len(parsed) == 2


def test_workers_need_nothing_but_the_index_and_the_images(tree: ReferTree) -> None:
    dataset = tree.load()
    tree.refs_path.unlink()
    tree.instances_path.unlink()
    assert [int(sample.target.sum()) for sample in dataset] == [192, 70 + 126 - 18, 24]
