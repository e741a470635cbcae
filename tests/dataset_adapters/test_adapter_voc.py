"""The VOC adapters on made trees: samples, label spaces, and every bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.every_tree import failed, refused
from PIL import Image

from dataset_adapters import LabelSpace

# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on
RELEASED = {
    "bird": "bird avian",
    "chair": "chair seat",
    "person": "person with clothes,people,human",
    "tvmonitor": "tvmonitor screen",
}


def indices(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("name", ["voc21", "voc20"])
def test_sample(voc, name: str) -> None:
    dataset = voc.load(name)
    sample = dataset[2]
    assert sample.id == "2007_000129"
    assert sample.task == dataset.task == "semantic"
    assert sample.queries == dataset.label_space.queries
    assert (sample.image.dtype, sample.image.shape) == (np.uint8, (6, 9, 3))
    np.testing.assert_array_equal(sample.image, Image.open(voc.image_path(sample.id)).convert("RGB"))
    stored = indices(voc.mask_path(sample.id))
    assert set(np.unique(stored)) == {0, 1 + sum(sample.id.encode()) % 20, 255}
    expected = np.where(stored == 0, 255, stored) if name == "voc20" else stored
    assert sample.target.dtype == np.int32
    np.testing.assert_array_equal(sample.target, expected)


def test_every_label_is_kept(voc) -> None:
    labels = np.array([[*range(21), 255]], np.uint8)
    voc.write_mask("2007_000033", labels)
    Image.new("RGB", (22, 1)).save(voc.image_path("2007_000033"))
    np.testing.assert_array_equal(voc.load("voc21")[0].target, labels)
    assert voc.load("voc20")[0].target.tolist() == [[255, *range(1, 21), 255]]


@pytest.mark.parametrize(("name", "scored"), [("voc21", range(21)), ("voc20", range(1, 21))])
def test_label_space(voc, name: str, scored: range) -> None:
    space = voc.load(name).label_space
    assert space.name == name
    assert space.labels == ("background", *CLASSES)
    assert space.query_labels == tuple(range(1, 21))
    assert space.queries == tuple(RELEASED.get(label, label) for label in CLASSES)
    assert space.ignore_label == 255
    assert space.scored_labels == tuple(scored)
    assert voc.load(name, names="dataset").label_space.queries == tuple(CLASSES)


def test_label_space_as_dict_is_json(voc) -> None:
    stored = voc.load("voc20").label_space.as_dict()
    assert json.loads(json.dumps(stored)) == stored
    fields = ["name", "labels", "queries", "query_labels", "ignore_label", "scored_labels", "stuff_queries"]
    assert list(stored) == fields
    assert stored["stuff_queries"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_labels": (1,)}, "query_labels: expected one per query, 2, found 1"),
        ({"query_labels": (1, 3)}, r"labels: expected label ids 0..2, found \[3\]"),
        ({"scored_labels": (0, 1, 2, 9)}, r"labels: expected label ids 0..2, found \[9\]"),
        ({"stuff_queries": (True,)}, "stuff_queries: expected none or one per query, 2, found 1"),
        ({"mask_values": (0, 1)}, "mask_values: expected none or one per label, 3, found 2"),
        ({"mask_values": (0, 7, 7)}, r"mask_values: expected each value once, found \[0, 7, 7\]"),
        ({"ignore_label": 2}, "ignore_label: expected no label id, found 2"),
    ],
)
def test_contradictory_label_space(change: dict, message: str) -> None:
    fields = {
        "name": "two",
        "labels": ("background", "cat", "dog"),
        "queries": ("cat", "dog"),
        "query_labels": (1, 2),
        "ignore_label": 255,
        "scored_labels": (0, 1, 2),
    }
    with pytest.raises(ValueError, match=message):
        LabelSpace(**{**fields, **change})


def test_split_by_name_or_by_path(voc, tmp_path: Path) -> None:
    voc.write_split("2007_000500\n2007_000001\n", "train")
    assert voc.load(split="train").ids == ("2007_000500", "2007_000001")
    # Byte-order mark, carriage returns, blanks and a missing final newline are what editors leave behind.
    (tmp_path / "mine.txt").write_bytes(b"\xef\xbb\xbf2007_000061\r\n\r\n  2007_000007 ")
    assert voc.load(split=tmp_path / "mine.txt").ids == ("2007_000061", "2007_000007")
    assert voc.load(split=str(tmp_path / "mine.txt")).ids == ("2007_000061", "2007_000007")


def test_unknown_name(voc) -> None:
    assert "did you mean voc20 or voc21?" in refused(lambda: voc.load("voc2"))
    assert "found 'imagenet'" in refused(lambda: voc.load("imagenet"))


def test_missing_split_lists_the_splits(voc) -> None:
    voc.write_split("2007_000033\n", "train")
    message = refused(lambda: voc.load(split="test"))
    assert "(train, val)" in message
    assert "found 'test'" in message
    assert "found '/no/such/ids.txt'" in refused(lambda: voc.load(split="/no/such/ids.txt"))


def test_repeated_ids(voc) -> None:
    voc.write_split("2007_000033\n2007_000061\n2007_000061\n2007_000033\n2007_000033\n")
    assert refused(voc.load).endswith("expected each id once, found 2 repeated, first 2007_000033")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_mask_that_holds_no_labels(voc, mode: str) -> None:
    Image.new(mode, (9, 6)).save(voc.mask_path("2007_000033"))
    error = failed(voc.load())
    assert error.reason == f"expected a palette or single-channel mask of 1 to 8 bits, found mode {mode}"
    assert error.target is None


def test_unknown_labels_are_named(voc) -> None:
    labels = np.zeros((6, 9))
    labels[1, 2], labels[3, 4], labels[5, 6] = 254, 21, 20
    voc.write_mask("2007_000033", labels)
    assert failed(voc.load()).reason == "expected labels 0..20, 255, found 21, 254"


def test_exif_orientation_is_ignored(voc) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = voc.image_path("2007_000033")
    Image.open(path).copy().save(path, exif=exif)
    assert voc.load()[0].image.shape == (6, 9, 3)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_that_are_not_rgb(voc, mode: str) -> None:
    path = voc.image_path("2007_000033")
    Image.open(path).convert(mode).save(path)
    assert voc.load()[0].image.shape == (6, 9, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1000, 1500)])
def test_extreme_sizes(voc, height: int, width: int) -> None:
    Image.new("RGB", (width, height), (9, 9, 9)).save(voc.image_path("2007_000033"))
    voc.write_mask("2007_000033", np.full((height, width), 15, np.uint8))
    sample = voc.load()[0]
    assert sample.image.shape == (height, width, 3)
    assert sample.target.shape == (height, width)
    assert (sample.target == 15).all()
