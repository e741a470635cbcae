"""Pascal Context on made trees: label maps and MATLAB files, things and stuff, and every bad input."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from helpers.every_tree import failed, refused
from helpers.made_trees import CONTEXT_CLASSES
from PIL import Image
from pycocotools import mask as coco_mask

from dataset_adapters import DatasetError
from dataset_adapters.formats.matlab import read_matlab_labels
from support.errors import ImageError

IDS = ("2008_000000", "2008_000001", "2008_000002")
STUFF = (
    "bedclothes ceiling cloth curtain floor grass ground light mountain platform road sidewalk sky snow wall water "
    "window wood door fence rock"
)
RELEASED = {"aeroplane": "airplane", "pottedplant": "plant", "tvmonitor": "monitor"}


@pytest.fixture
def both(context: Any) -> Any:
    context.write_pngs()
    context.write_mats()
    return context


@pytest.mark.parametrize("source", ["png", "json", "mat"])
@pytest.mark.parametrize("name", ["context60", "context59"])
def test_every_source_gives_the_same_samples(both: Any, name: str, source: str) -> None:
    both.write_json()
    dataset = both.load(name, source=source)
    assert (dataset.ids, dataset.name, dataset.task) == (IDS, f"{name}/{source}", "semantic")
    for sample in dataset:
        expected = both.target(sample.id)
        assert (expected == 0).any()
        assert (expected > 0).any()
        if name == "context59":
            expected[expected == 0] = 255
        assert sample.target.dtype == np.int32
        np.testing.assert_array_equal(sample.target, expected)
        np.testing.assert_array_equal(sample.image, np.array(Image.open(both.image_path(sample.id))))
        assert sample.queries == dataset.label_space.queries


def test_every_raw_id(context: Any) -> None:
    context.add("2008_000009", np.arange(460, dtype=np.uint16).reshape(1, 460))
    context.write_mats()
    target = context.load()[3].target[0]
    for number, raw in enumerate(CONTEXT_CLASSES.values(), start=1):
        assert target[raw] == number
    assert (target > 0).sum() == 59


def test_label_maps_come_first_then_what_they_are_made_from(both: Any) -> None:
    both.write_json()
    seen = {both.load().name: both.load().fingerprint}
    shutil.rmtree(both.root / "SegmentationClassContext")
    seen[both.load().name] = both.load().fingerprint
    both.json_path.unlink()
    seen[both.load().name] = both.load().fingerprint
    assert list(seen) == ["context60/png", "context60/json", "context60/mat"]
    assert len(set(seen.values())) == 3


def test_detail_annotations_hold_the_splits_too(context: Any) -> None:
    stored = context.detail()
    stored["images"][1]["phase"] = "train"
    stored["images"].reverse()
    context.write_json(stored)
    assert context.load().ids == IDS  # val.txt
    (context.root / "ImageSets/SegmentationContext/val.txt").unlink()
    assert context.load().ids == (IDS[0], IDS[2])
    assert context.load(split="train").ids == (IDS[1],)
    assert "expected every image of the split, found none of the phase test" in refused(
        lambda: context.load(split="test")
    )
    assert "found 'trainval'" in refused(lambda: context.load(split="trainval"))

    index = context.load().index_path.stat()
    again = context.load()
    assert again.index_path.stat().st_ino == index.st_ino  # not made again
    np.testing.assert_array_equal(again[1].target, context.target(IDS[2]))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("images",), [], "annotation 0: image_id: expected an image of the file"),
        (("images", 1, "phase"), "validation", r"\.jpg: phase: expected train or val or test, found 'validation'"),
        (("images", 1, "image_id"), 2008000000, "expected each id and file name once, found id 2008000000 again, of "),
        (("images", 1, "file_name"), "2008_000000.jpg", "found 2008_000000.jpg again, of ids 2008000000 and "),
        (("images", 1, "file_name"), "../a.jpg", r"image \d+ \(../a.jpg\): file_name: expected a name without folders"),
        (("images", 1, "file_name"), "..", r"image \d+ \(..\): file_name: expected a name without folders, found '..'"),
        (("images", 1, "file_name"), "a.jpg", "images: expected every image of the split, found none with the file"),
        (("images", 1, "width"), 10**7, r"image \d+ \(.*\): expected height and width in 1..67108864 pixels"),
        (("annos_segmentation",), None, "the file: annos_segmentation: expected list, found NoneType"),
        (("annos_segmentation", 0, "image_id"), 7, "annotation 0: image_id: expected an image of the file"),
        (("annos_segmentation", 0, "category_id"), 460, "annotation 0 of .*: category_id: expected 0..459, found 460"),
        (("annos_segmentation", 0, "category_id"), -1, "annotation 0 of .*: category_id: expected 0..459, found -1"),
        (("annos_segmentation", 0, "segmentation", "counts"), [601], "annotation 0 of .*of 600 pixels, found 601"),
        (
            ("annos_segmentation", 0, "segmentation", "size"),
            [30, 20],
            r"annotation 0 of .*.jpg: segmentation: expected an RLE of size \[20, 30\], found \[30, 20\]",
        ),
    ],
    ids=str,
)
def test_bad_detail_annotations(context: Any, place: tuple[Any, ...], value: Any, message: str) -> None:
    stored = inner = context.detail()
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    context.write_json(stored)
    with pytest.raises(DatasetError, match=message) as caught:
        context.load()
    assert str(caught.value).startswith(f"{context.json_path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_spellings_of_the_same_detail_annotations(context: Any, encoding: str) -> None:
    """Runs as numbers, sides and ids as text, masks as lists; polygons without area are left out."""
    context.write_json()
    before = context.load()
    stored = context.detail()
    for number, segment in enumerate(stored["annos_segmentation"]):
        rle = segment["segmentation"]
        segment["image_id"], segment["category_id"] = str(segment["image_id"]), float(segment["category_id"])
        flat = coco_mask.decode(rle).T.ravel()
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *([0] if flat[0] else []), *edges, flat.size]).tolist()
        rle["counts"] = runs if number % 2 else rle["counts"]
        segment["segmentation"] = [rle, [], [1, 2, 3, 4]] if number % 3 == 0 else rle
    n_lists = sum(isinstance(each["segmentation"], list) for each in stored["annos_segmentation"])
    context.json_path.write_bytes(json.dumps(stored).encode(encoding))
    dataset = context.load()
    assert before.notices == ()
    assert dataset.notices == (f"trainval_merged.json: {2 * n_lists} polygons of fewer than 3 points left out",)
    for ours, theirs in zip(dataset, before, strict=True):
        np.testing.assert_array_equal(ours.target, theirs.target)


@pytest.mark.parametrize("counts", ["", "0", "no mask", "zzzzzzzz", "PPPP" * 20])
def test_a_damaged_mask_fails_its_sample_alone(context: Any, counts: str) -> None:
    stored = context.detail()
    stored["annos_segmentation"][0]["segmentation"]["counts"] = counts
    context.write_json(stored)
    error = failed(context.load(source="json"))
    assert (error.path, error.target) == ("trainval_merged.json", None)
    assert error.reason.startswith("segmentation: expected RLE counts")


@pytest.mark.parametrize(("name", "scored"), [("context60", range(60)), ("context59", range(1, 60))])
def test_label_space(both: Any, name: str, scored: range) -> None:
    space = both.load(name).label_space
    assert space.name == name
    assert space.labels == ("background", *CONTEXT_CLASSES)
    assert (space.ignore_label, space.scored_labels) == (255, tuple(scored))
    assert sorted(space.query_labels) == list(range(1, 60))
    for query, label in zip(space.queries, space.query_labels, strict=True):
        assert query == RELEASED.get(space.labels[label], space.labels[label])
    assert json.loads(json.dumps(space.as_dict())) == space.as_dict()


def test_things_and_stuff_in_the_released_order(both: Any) -> None:
    space = both.load().label_space
    assert space.stuff == tuple(STUFF.split())
    assert space.queries == (*space.things, *space.stuff)
    assert list(space.things) == [RELEASED.get(name, name) for name in CONTEXT_CLASSES if name not in STUFF.split()]
    assert space.stuff_queries == (False,) * 38 + (True,) * 21
    assert both.load(names="dataset").label_space.things[0] == "aeroplane"


def test_names_are_the_released_ones() -> None:
    path = Path(__file__).parents[2].parent / "shared" / "class_names"
    if not path.is_dir():
        pytest.skip(f"no released label lists at {path}")
    ours = Path(__file__).parents[2] / "dataset_adapters" / "labels"
    for stem in ("voc20", "coco_object", "context59", "ade150", "ade847", "pc459"):
        released, stored = (json.loads((folder / f"{stem}.json").read_text()) for folder in (path, ours))
        assert [stored[kind] for kind in ("things", "stuff")] == [
            released.get(kind, []) for kind in ("things", "stuff")
        ]
        own = {"context59": list(CONTEXT_CLASSES)}.get(stem, stored["dataset_names"])
        assert stored["dataset_names"] == released.get("dataset_names", own)


def test_splits(both: Any, tmp_path: Path) -> None:
    both.write_split(IDS[:1], "train")
    assert both.load(split="train").ids == IDS[:1]
    (tmp_path / "mine.txt").write_text(IDS[2])
    assert both.load(split=tmp_path / "mine.txt", source="mat").ids == IDS[2:]


def test_set_up_mistakes(context: Any) -> None:
    message = refused(context.load)
    assert message == (
        f"data_root: {context.root}: expected SegmentationClassContext/*.png, or trainval_merged.json, or "
        "trainval/*.mat, found nothing of the kind"
    )
    context.write_mats()
    assert "(png, json, mat), found 'xml'" in refused(lambda: context.load(source="xml"))
    assert "(val), found 'test'" in refused(lambda: context.load(split="test"))
    assert "expected SegmentationClassContext/*.png, found" in refused(lambda: context.load(source="png"))
    context.mat_path(IDS[1]).unlink()
    assert f"{context.mat_path(IDS[1])}: expected the mask of {IDS[1]}" in refused(context.load)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"labels": np.ones((20, 30))}, "LabelMap: expected a matrix of that name, found 'labels'"),
        ({}, "LabelMap: expected a matrix of that name, found none"),
        ({"LabelMap": np.ones((20, 30, 3))}, "LabelMap: expected 1 to 10000 pixels in two dimensions"),
        ({"LabelMap": np.ones((0, 30))}, "LabelMap: expected 1 to 10000 pixels"),
        ({"LabelMap": np.ones((1, 10_001), np.uint8)}, "LabelMap: expected 1 to 10000 pixels"),
        ({"LabelMap": np.full((20, 30), 1.5)}, "LabelMap: expected whole numbers, found fractions"),
        ({"LabelMap": np.full((20, 30), np.nan)}, "LabelMap: expected whole numbers"),
        ({"LabelMap": np.ones((20, 30), complex)}, "LabelMap: expected a matrix of real numbers"),
        ({"LabelMap": np.full((20, 30), -1)}, "LabelMap: expected 0..65535, found -1..-1"),
        ({"LabelMap": np.full((20, 30), 1e18)}, "LabelMap: expected 0..65535"),
        ({"LabelMap": "text"}, "LabelMap: expected a matrix of real numbers"),
        ({"LabelMap": {"a": 1}}, "LabelMap: expected a matrix of real numbers"),
    ],
    ids=str,
)
def test_matlab_files_without_a_label_map(
    context: Any, variables: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAR_MAX_PIXELS", "10000")
    context.write_mats()
    context.write_mat(IDS[0], **variables)
    error = failed(context.load(source="mat"))
    assert str(context.mat_path(IDS[0])).endswith(f"/{error.path}")
    assert error.reason.startswith(reason)
    assert error.target is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [">u2", "u1", "i4", "f4", "f8", "u8"])
def test_every_kind_of_number_is_read_among_other_variables(tmp_path: Path, kind: str, packed: bool) -> None:
    labels = np.random.default_rng(3).integers(0, 200, (7, 11))
    stored = {"a": 1, "names": ["x", "yy"], "LabelMap": labels.astype(kind), "z": {"b": np.ones(3)}}
    scipy.io.savemat(tmp_path / "a.mat", stored, do_compression=packed)
    found = read_matlab_labels(tmp_path / "a.mat")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_bytes_raise_nothing_but_image_errors(tmp_path: Path, packed: bool) -> None:
    generator = np.random.default_rng(5)
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"LabelMap": generator.integers(0, 460, (9, 8)).astype(np.uint16)}, do_compression=packed)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    outcomes = set()
    for _ in range(200):
        damaged = content.copy()
        damaged[generator.integers(116, len(content), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged[: generator.integers(100, 2 * len(content))].tobytes())
        try:
            outcomes.add(read_matlab_labels(path).dtype.name)
        except ImageError:
            outcomes.add("ImageError")
    assert "ImageError" in outcomes
    assert outcomes <= {"int32", "ImageError"}


def test_packed_file_beyond_the_limit_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAR_MAX_PIXELS", "10000")
    bomb = zlib.compress(bytes(30_000))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    (tmp_path / "a.mat").write_bytes(header + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(ImageError, match=r"expected at most 10000 pixels \(--max-pixels\), found many more"):
        read_matlab_labels(tmp_path / "a.mat")


@pytest.mark.parametrize("damage", ["flipped", "hdf5"])
def test_damaged_matlab_files(context: Any, damage: str) -> None:
    context.write_mats()
    path = context.mat_path(IDS[0])
    content = path.read_bytes()
    changed = {
        "flipped": content[:200] + bytes(255 - byte for byte in content[200:]),
        "hdf5": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(100),
    }
    path.write_bytes(changed[damage])
    error = failed(context.load(source="mat"))
    assert str(path).endswith(f"/{error.path}")
    assert error.target is None
