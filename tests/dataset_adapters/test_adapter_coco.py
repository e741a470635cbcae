"""COCO-Object on made trees: its three label sources, their order, and every bad input."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.every_tree import refused
from helpers.made_trees import COCO_IDS, COCO_NAMES, UNUSED_COCO_IDS, write_png
from PIL import Image
from pycocotools import mask as coco_mask

from dataset_adapters import DatasetError, load

SOURCES = ["stuffthingmaps", "instanceTrainIds", "instances"]
IDS = ("000000000139", "000000000285", "000000000632", "000000581781")


@pytest.fixture
def every_source(coco: Any) -> Any:
    coco.write_maps()
    coco.write_converted()
    coco.write_json()
    return coco


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_samples(every_source: Any, source: str) -> None:
    dataset = every_source.load(source=source)
    assert dataset.ids == IDS
    for sample in dataset:
        expected = every_source.target(int(sample.id))
        assert sample.target.dtype == np.int32
        np.testing.assert_array_equal(sample.target, expected)
        np.testing.assert_array_equal(sample.image, np.array(Image.open(every_source.image_path(int(sample.id)))))
        assert (sample.task, sample.queries) == ("semantic", dataset.label_space.queries)
    assert len(np.unique(dataset[0].target)) == 5  # background and four instances, one of them a crowd


@pytest.mark.parametrize("source", SOURCES)
def test_all_classes_in_order(coco: Any, source: str) -> None:
    coco.add_image(700, 80, 4)
    for label in range(1, 81):
        coco.add(700, label, (label - 1, 0, label, 3))
    coco.write_maps()
    coco.write_converted()
    coco.write_json()
    target = coco.load(source=source)[3].target
    assert target[:, 0].tolist() == list(range(1, 81))
    assert not target[:, 3].any()


def test_label_space(every_source: Any) -> None:
    space = every_source.load().label_space
    assert space.name == "coco-object"
    assert space.labels == ("background", *COCO_NAMES)
    assert space.query_labels == tuple(range(1, 81))
    assert space.scored_labels == tuple(range(81))
    assert (space.stuff_queries, space.stuff, space.things) == ((), (), space.queries)
    assert [space.queries[i] for i in (0, 31, 35)] == ["person with clothes,people,human", "sknowboard", "glove"]
    assert sum(query != name for query, name in zip(space.queries, COCO_NAMES, strict=True)) == 18
    assert every_source.load(names="dataset").label_space.queries == tuple(COCO_NAMES)
    assert json.loads(json.dumps(space.as_dict())) == space.as_dict()


def test_no_value_of_a_label_map_is_ignored(coco: Any) -> None:
    values = [value for value in range(256) if value + 1 not in UNUSED_COCO_IDS]
    coco.add_image(1, 1, len(values))
    coco.write_maps()
    write_png(coco.root / "stuffthingmaps/val2017/000000000001.png", np.array([values]))
    dataset = coco.load()
    expected = [COCO_IDS.index(value + 1) + 1 if value <= 90 else 0 for value in values]
    assert dataset[0].target.tolist() == [expected]
    assert dataset.label_space.ignore_label not in range(256)


def test_sources_are_tried_in_order_and_named(every_source: Any) -> None:
    seen = []
    for folder in ("stuffthingmaps", "annotations/val2017", "nothing"):
        dataset = every_source.load()
        assert dataset == every_source.load(source=dataset.name.partition("/")[2])
        assert pickle.loads(pickle.dumps(dataset))[0].id == IDS[0]
        seen.append((dataset.name, dataset.fingerprint))
        shutil.rmtree(every_source.root / folder, ignore_errors=True)
    assert [name for name, _ in seen] == [f"coco-object/{source}" for source in SOURCES]
    assert len(dict(seen)) == len({fingerprint for _, fingerprint in seen}) == 3


def test_original_and_converted_maps_in_one_folder(coco: Any) -> None:
    coco.write_maps("annotations/val2017")
    coco.write_converted()
    (coco.root / "annotations/val2017/000000000139_labelTrainIds.png").touch()
    for source in SOURCES[:2]:
        dataset = coco.load(source=source)
        assert dataset.ids == IDS
        np.testing.assert_array_equal(dataset[0].target, coco.target(139))


@pytest.mark.parametrize("below", ["coco", "."])
@pytest.mark.parametrize("source", SOURCES)
def test_layout_with_a_folder_of_images(every_source: Any, source: str, below: str) -> None:
    before = every_source.load(source=source)
    (every_source.root / "images").mkdir()
    (every_source.root / "val2017").rename(every_source.root / "images" / "val2017")
    moved = load("coco-object", every_source.parent / below, source=source, cache_dir=every_source.cache)
    assert moved.fingerprint == before.fingerprint
    assert moved[1].image.shape == (40, 20, 3)


def test_split_is_a_folder_or_a_file_of_ids(every_source: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("000000000632\n000000000139\n")
    for source in SOURCES:
        dataset = every_source.load(source=source, split=tmp_path / "mine.txt")
        assert (dataset.ids, dataset.split) == (("000000000632", "000000000139"), "mine")
    for path in (every_source.root / "val2017", every_source.root / "stuffthingmaps/val2017"):
        shutil.copytree(path, path.with_name("train2017"))
    assert every_source.load(split="train2017").split == "train2017"
    assert "annotations/train2017/*_instanceTrainIds.png" in refused(
        lambda: every_source.load(split="train2017", source="instanceTrainIds")
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_smaller_instances_lie_over_larger_ones(coco: Any, reverse: bool) -> None:
    boxes = [(0, 0, 16, 16), (2, 2, 12, 12), (4, 4, 8, 8), (5, 5, 6, 6)]
    for label, box in sorted(enumerate(boxes, start=1), reverse=reverse):
        coco.add(632, label, box, crowd=label == 2)
    coco.write_json()
    target = coco.load()[2].target
    assert [int((target == label).sum()) for label in range(5)] == [0, 256 - 100, 100 - 16, 16 - 1, 1]


def test_several_polygons_are_one_instance(coco: Any) -> None:
    coco.add(632, 5, (0, 0, 2, 2))
    coco.annotations[-1]["segmentation"].append([10, 10, 12, 10, 12, 12, 10, 12])
    coco.write_json()
    target = coco.load()[2].target
    assert np.argwhere(target == 5).tolist() == [[y, x] for o in (0, 10) for y in (o, o + 1) for x in (o, o + 1)]


def test_fingerprint_follows_the_annotations(coco: Any) -> None:
    coco.write_json()
    before = coco.load().fingerprint
    coco.json_path.write_text(coco.json_path.read_text() + "\n")
    assert coco.load().fingerprint == before
    coco.annotations[0]["category_id"] = 2  # the file keeps its size
    coco.write_json()
    assert coco.load().fingerprint != before


def test_a_load_from_the_cache_parses_nothing(coco: Any, tmp_path: Path) -> None:
    coco.write_json()
    (tmp_path / "mine.txt").write_text("000000000632\n000000000139\n")
    before = [coco.load(), coco.load(split=tmp_path / "mine.txt")]
    indexes = [each.index_path.stat() for each in before]
    again = [coco.load(), coco.load(split=tmp_path / "mine.txt")]
    assert again == before
    assert [each.index_path.stat().st_ino for each in again] == [each.st_ino for each in indexes]  # not made again
    np.testing.assert_array_equal(coco.load()[0].target, coco.target(139))
    (coco.root / "val2017" / ".nomedia").touch()
    assert coco.load().fingerprint == before[0].fingerprint  # a file of no sample is no part of the data
    coco.image_path(285).unlink()
    assert "expected the image of 000000000285, found nothing" in refused(coco.load)


def test_what_decides_the_rows_is_noticed_after_a_cached_load(coco: Any, tmp_path: Path) -> None:
    coco.write_json()
    chosen = tmp_path / "mine.txt"
    chosen.write_text("000000000632\n")
    before = coco.load(split=chosen)
    chosen.write_text("000000000139\n")
    assert coco.load(split=chosen).ids == ("000000000139",)
    assert coco.load(split=chosen).fingerprint != before.fingerprint
    coco.load()
    write_png(coco.image_path(286), np.zeros((5, 5)))  # listed in no annotation
    assert "found none with the file name 000000000286.jpg" in refused(coco.load)


def test_no_source_is_there(coco: Any) -> None:
    message = refused(coco.load)
    assert message.startswith(
        f"data_root: {coco.root}: expected stuffthingmaps/val2017/*.png or annotations/val2017/*.png, or "
    )
    assert message.endswith("or annotations/instances_val2017.json, found nothing of the kind")
    assert "stuffthingmaps" not in refused(lambda: coco.load(source="instances"))


def test_unknown_source(coco: Any, voc: Any) -> None:
    assert refused(lambda: coco.load(source="panoptic")) == (
        "source: expected a label source of coco-object (stuffthingmaps, instanceTrainIds, instances), found 'panoptic'"
    )
    assert "(none: this data set has one source), found ''" in refused(lambda: voc.load(source=""))
    assert "did you mean coco-object?" in refused(lambda: load("coco-objects", coco.root))


def test_image_without_annotations_is_named(coco: Any) -> None:
    coco.write_json()
    coco.add_image(286, 5, 5)
    assert "found none with the file name 000000000286.jpg (1 of 5 images absent)" in refused(coco.load)


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change of stored JSON: the last item is the value, or a function of the old one, at the place before it."""

    def change(stored: Any) -> None:
        *steps, key, value = path
        for step in steps:
            stored = stored[step]
        stored[key] = value(stored[key]) if callable(value) else value

    return change


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(stored: Any) -> None:
        for step in path[:-1]:
            stored = stored[step]
        del stored[path[-1]]

    return change


FIRST = ("annotations", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("images"), "the file: images: expected list, found nothing"),
        (put("images", []), "annotation 1: image_id: expected an image of the file, found 139"),
        (put("images", 1, "height", 0), r"image 285 \(000000000285.jpg\): expected height and width in 1..\d+ pixels"),
        (put("images", 1, "width", 10**9), r"in 1..67108864 pixels in all \(--max-pixels\), found 40 and 1000000000"),
        (put("images", 1, "height", 2.5), r"image 285 \(000000000285.jpg\): height: expected an integer, found 2.5"),
        (put("images", 1, "height", None), r"image 285 \(000000000285.jpg\): height: expected an integer, found null"),
        (drop("images", 1, "width"), r"image 285 \(000000000285.jpg\): width: expected an integer, found nothing"),
        (put("images", 1, "id", "a1"), r"image a1 \(000000000285.jpg\): id: expected an integer, found the text 'a1'"),
        (put("images", 1, "id", True), r"image True \(000000000285.jpg\): id: expected an integer, found True"),
        (
            put("images", 1, "file_name", "../a.jpg"),
            r"image 285 \(../a.jpg\): file_name: expected a name without folders",
        ),
        (put("images", 1, 7), "images 1: expected a dict, found int"),
        (
            put("images", 1, "id", 139),
            "expected each id and file name once, found id 139 again, of 000000000139.jpg and 000000000285.jpg",
        ),
        (
            put("images", 1, "file_name", "000000000139.jpg"),
            "expected each id and file name once, found 000000000139.jpg again, of ids 139 and 285",
        ),
        (
            put("images", lambda images: [*images, images[2]]),
            "expected each id and file name once, found id 632 again, of 000000000632.jpg and 000000000632.jpg",
        ),
        (
            put(*FIRST, "category_id", 12),
            "annotation 1 of 000000000139.jpg: category_id: expected a category of the file, found 12",
        ),
        (put(*FIRST, "category_id", "dog"), "category_id: expected an integer, found the text 'dog'"),
        (put(*FIRST, "image_id", 7), "annotation 1: image_id: expected an image of the file, found 7"),
        (put(*FIRST, "image_id", 10**30), "annotation 1: image_id: expected an image of the file, found 1000"),
        (put(*FIRST, "area", "big"), "annotation 1 of 000000000139.jpg: area: expected int or float, found str"),
        (put(*FIRST, "area", -1), "annotation 1 of 000000000139.jpg: area: expected a number of pixels >= 0, found -1"),
        (put(*FIRST, "area", float("nan")), "area: expected a number of pixels >= 0, found nan"),
        (drop(*FIRST, "area"), "annotation 1 of 000000000139.jpg: area: expected int or float, found nothing"),
        (put(*FIRST, "segmentation", None), "annotation 1 of 000000000139.jpg: segmentation: expected list or dict"),
        (put(*FIRST, "segmentation", [[1, 2, 3, 4, 5, "6"]]), "coordinates in -72..72, found '6'"),
        (put(*FIRST, "segmentation", [[1, 2, 3, 4, 5, float("nan")]]), "coordinates in -72..72, found nan"),
        (put(*FIRST, "segmentation", [[1, 2, 3, 4, 5, 6, 7]]), "3 or more points .*, found 7 numbers"),
        (put(*FIRST, "segmentation", [[1, 2, 3, 4, 5, 1e9]]), "coordinates in -72..72, found 1000000000.0"),
        (put(*FIRST, "segmentation", [1, 2, 3, 4, 5, 6]), "3 or more points .*, found int"),
        (
            put("annotations", 2, "segmentation", "counts", "0" * 300),
            "annotation 3 of 000000000139.jpg: segmentation: expected RLE counts of 864 pixels, found 0",
        ),
        (put("annotations", 2, "segmentation", "counts", 0, -5), "annotation 3 of .*non-negative integers"),
        (
            put("annotations", 2, "segmentation", "counts", 0, lambda run: run + 1),
            "annotation 3 of 000000000139.jpg: segmentation: expected RLE counts of 864 pixels, found 865",
        ),
        (
            put("annotations", 2, "segmentation", "size", [36, 24]),
            r"segmentation: expected an RLE of size \[24, 36\], found \[36, 24\]",
        ),
        (put("categories", 1, "id", None), "categories 1: id: expected an integer, found null"),
        (put("categories", 0, "name", "human"), "categories: expected id 1 to be 'person', found 'human'"),
        (drop("categories", 5), "categories: expected id 6 to be 'bus', found None"),
        (put("categories", 0, "id", 999), "categories: expected id 1 to be 'person', found None"),
    ],
)
def test_bad_annotations(coco: Any, change: Callable[[Any], None], message: str) -> None:
    stored = coco.stored()
    change(stored)
    coco.json_path.parent.mkdir()
    coco.json_path.write_text(json.dumps(stored))
    with pytest.raises(DatasetError, match=message) as caught:
        coco.load()
    assert str(caught.value).startswith(f"{coco.json_path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def compress(stored: dict[str, Any]) -> None:
    """Every mask as pycocotools, detectron2 and COCONut write it."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in stored["images"]}
    for annotation in stored["annotations"]:
        mask = annotation["segmentation"]
        packed = coco_mask.frPyObjects(mask, *sizes[annotation["image_id"]])
        merged = packed if isinstance(mask, dict) else coco_mask.merge(packed)
        annotation["segmentation"] = {**merged, "counts": merged["counts"].decode()}


def as_text(stored: dict[str, Any]) -> None:
    """Numbers as text, or with a zero fraction."""
    for image in stored["images"]:
        image |= {"id": str(image["id"]), "height": float(image["height"]), "width": str(image["width"])}
    for number, annotation in enumerate(stored["annotations"]):
        annotation["image_id"] = (str, float)[number % 2](annotation["image_id"])
        annotation["category_id"] = (float, str)[number % 2](annotation["category_id"])
    for category in stored["categories"]:
        category["id"] = str(category["id"])


def add_stubs(stored: dict[str, Any]) -> None:
    for annotation in stored["annotations"][:2]:
        annotation["segmentation"] += [[], [3, 4], [1, 2, 3, 4], [1, 2, 3, 4, 5]]
    first = stored["annotations"][0]
    stored["annotations"] += [{**first, "id": 99, "segmentation": []}, {**first, "segmentation": [[1, 2, 3, 4]]}]
    stored["annotations"][-1].pop("id")


STUBS = "instances_val2017.json: 9 polygons of fewer than 3 points left out; 2 annotations left without a mask"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("change", [lambda _: None, compress, as_text, add_stubs])
def test_other_spellings_of_the_same_annotations(coco: Any, change: Callable[[Any], None], encoding: str) -> None:
    coco.write_json()
    before = coco.load()
    assert before.notices == ()
    stored = json.loads(json.dumps(coco.stored()))
    change(stored)
    coco.json_path.write_bytes(json.dumps(stored).encode(encoding))
    for _ in range(2):  # parsed, then from the cache
        dataset = coco.load()
        assert dataset.fingerprint == before.fingerprint
        assert dataset.notices == ((STUBS,) if change is add_stubs else ())
    for sample in dataset:
        np.testing.assert_array_equal(sample.target, coco.target(int(sample.id)))
