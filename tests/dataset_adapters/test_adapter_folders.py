"""ADE20K with 150 and 847 classes and Pascal Context with 459 on made trees: 8 and 16 bits, and every bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.every_tree import failed, refused
from helpers.made_trees import ADE_SIZES, LAYOUTS, FolderTree, make_folders, write_noise
from PIL import Image

from dataset_adapters import load
from dataset_adapters.formats.images import MAX_PIXELS, read_label_map16
from support.errors import ImageError

IDS = tuple(ADE_SIZES)


@pytest.fixture(params=LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.source}")
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> FolderTree:
    return make_folders(tmp_path / "data", request.param)


@pytest.fixture
def ade847(tmp_path: Path) -> FolderTree:
    return make_folders(tmp_path / "data", LAYOUTS[2])


def test_samples(tree: FolderTree) -> None:
    dataset = tree.load()
    assert (dataset.ids, dataset.split, dataset.task) == (IDS, "val", "semantic")
    assert dataset.name == "/".join(filter(None, [tree.layout.name, tree.layout.source]))
    pixels = np.zeros(tree.layout.n_classes, np.int64)
    for sample in dataset:
        expected = [[c + 1 if c >= 0 else tree.layout.ignored for c in row] for row in tree.classes(sample.id).tolist()]
        assert sample.target.dtype == np.int32
        np.testing.assert_array_equal(sample.target, expected)
        np.testing.assert_array_equal(sample.image, np.array(Image.open(tree.image_path(sample.id))))
        pixels += np.bincount(sample.target[sample.target != tree.layout.ignored] - 1, minlength=len(pixels))
    counted = [sum(int((tree.classes(id) == c).sum()) for id in IDS) for c in range(tree.layout.n_classes)]
    assert pixels.tolist() == counted
    assert pixels[0] > 0
    assert pixels[-1] > 0


def test_every_class(tree: FolderTree) -> None:
    values = np.arange(tree.layout.first, tree.layout.first + tree.layout.n_classes, dtype=tree.layout.dtype)
    tree.write_mask(IDS[0], values.reshape(1, -1))
    write_noise(tree.image_path(IDS[0]), 1, tree.layout.n_classes)
    assert tree.load()[0].target[0].tolist() == list(range(1, tree.layout.n_classes + 1))


def test_label_space(tree: FolderTree) -> None:
    space, n = tree.load().label_space, tree.layout.n_classes
    assert space.name == tree.layout.name
    assert (len(space.labels), space.labels[0]) == (n + 1, "background")
    assert (space.ignore_label, space.scored_labels) == (tree.layout.ignored, tuple(range(1, n + 1)))
    assert sorted(space.query_labels) == list(range(1, n + 1))
    assert len(set(space.queries)) == n
    assert space.queries == (*space.things, *space.stuff)
    known = {
        "ade150": (125, ["wall", "building, edifice", "flag"], [1, 2, 150]),
        "ade847": (818, ["wall", "ceiling", "adding machine, totalizer, totaliser"], [1, 7, 847]),
        "pc459": (433, ["accordion", "unknown", "wool"], [1, 431, 459]),
    }
    n_things, names, labels = known[tree.layout.name]
    assert len(space.things) == n_things
    assert [space.labels[label] for label in labels] == names


def test_names_of_ade150_without_the_released_commas(tmp_path: Path) -> None:
    made = make_folders(tmp_path / "data", LAYOUTS[0])
    released, plain = made.load().label_space, made.load(names="dataset").label_space
    changed = {a: b for a, b in zip(released.queries, plain.queries, strict=True) if a != b}
    assert len(changed) == 41
    assert changed["door, double, door"] == "door, double door"
    assert all(a.replace(",", "") == b.replace(",", "") for a, b in changed.items())
    assert plain.query_labels == released.query_labels


def test_splits_and_parents(tree: FolderTree, tmp_path: Path) -> None:
    tree.write("training")
    tree.image_path(IDS[0], "training").unlink()
    tree.mask_path(IDS[0], "training").unlink()
    assert tree.load(split="train").ids == IDS[1:]
    (tmp_path / "mine.txt").write_text(f"{IDS[2]}\n{IDS[0]}\n")
    assert tree.load(split=tmp_path / "mine.txt").ids == (IDS[2], IDS[0])
    assert load(tree.layout.name, tree.root, cache_dir=tmp_path).root == tree.root


def test_first_source_of_ade150_is_the_official_one(tmp_path: Path) -> None:
    official, converted = make_folders(tmp_path / "data", LAYOUTS[0]), FolderTree(tmp_path / "data", LAYOUTS[1])
    for sample_id in IDS:
        path = official.root / "annotations_detectron2" / "validation" / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(converted.stored(sample_id)).save(path)
    one, other = official.load(source=None), official.load(source="annotations_detectron2")
    assert one.name == "ade150/annotations"
    assert one.fingerprint != other.fingerprint
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.target, b.target)


def test_pc459_is_read_from_the_original_annotation_too(context: Any, tmp_path: Path) -> None:
    context.write_mats()
    original = context.load("pc459")
    assert (original.name, original.root) == ("pc459/mat", context.root)
    for sample_id, raw in context.raw.items():
        write_noise(tmp_path / f"data/pascal_ctx_d2/images/validation/{sample_id}.jpg", *raw.shape)
        path = tmp_path / f"data/pascal_ctx_d2/annotations_ctx459/validation/{sample_id}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.where(raw == 0, 65535, raw.astype(np.int64) - 1).astype(np.uint16)).save(path)
    converted = context.load("pc459")
    assert converted.name == "pc459/tif"
    assert (converted.split, original.split, converted.ids) == ("val", "val", original.ids)
    assert converted.fingerprint != original.fingerprint
    for one, other in zip(converted, original, strict=True):
        np.testing.assert_array_equal(one.target, other.target)
        assert 65535 in one.target


@pytest.mark.parametrize(
    ("stored", "mode"),
    [
        (np.ones((12, 17), np.uint8), "L"),
        (np.ones((12, 17), bool), "1"),
        (np.ones((12, 17), np.int32), "I"),
        (np.ones((12, 17), np.float32), "F"),
        (np.ones((12, 17, 3), np.uint8), "RGB"),
    ],
    ids=["8-bit", "1-bit", "32-bit", "float", "color"],
)
def test_what_is_not_16_bit_is_refused(ade847: FolderTree, stored: np.ndarray, mode: str) -> None:
    ade847.write_mask(IDS[0], stored)
    assert failed(ade847.load()).reason == f"expected a 16-bit single-channel mask, found mode {mode}"


def test_8_bit_labels_are_refused_with_16_bits(tmp_path: Path) -> None:
    made = make_folders(tmp_path / "data", LAYOUTS[0])
    made.write_mask(IDS[0], made.stored(IDS[0]).astype(np.uint16))
    assert failed(made.load()).reason == "expected a palette or single-channel mask of 1 to 8 bits, found mode I;16"


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_every_compression_and_byte_order(ade847: FolderTree, compression: str) -> None:
    ade847.write_mask(IDS[0], ade847.stored(IDS[0]), compression=compression)
    ade847.write_mask(IDS[1], ade847.stored(IDS[1]).astype(">u2"))
    for sample in ade847.load()[:2]:
        classes = ade847.classes(sample.id)
        np.testing.assert_array_equal(sample.target, np.where(classes < 0, 65535, classes + 1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on the same damage
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_truncated_and_damaged_tiffs(ade847: FolderTree, compression: str) -> None:
    ade847.write_mask(IDS[0], ade847.stored(IDS[0]), compression=compression)
    path = ade847.mask_path(IDS[0])
    content = path.read_bytes()
    for cut in (0, 3, 20, len(content) // 2, len(content) - 200):
        path.write_bytes(content[:cut])
        assert failed(ade847.load()).reason
    path.write_bytes(b"no labels here" * 20)
    assert failed(ade847.load()).reason == "expected an image file, found an unknown format"


def test_a_tiff_that_says_it_is_enormous(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
    content = bytearray(path.read_bytes())
    for tag in (b"\x00\x01", b"\x01\x01"):  # width and length: tag, type, count, value
        place = next(i for kind in (b"\x03\x00", b"\x04\x00") if (i := content.find(tag + kind)) >= 0)
        content[place + 2 : place + 12] = b"\x04\x00\x01\x00\x00\x00" + (2**15).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"expected at most {MAX_PIXELS} pixels"):
        read_label_map16(path)


def test_set_up_mistakes(tree: FolderTree, tmp_path: Path) -> None:
    masks = tree.mask_path(IDS[0]).parent
    masks.rename(masks.with_name("other"))
    assert refused(tree.load).endswith(f"(3 of 3 mask files absent, there is no folder {masks})")
    masks.with_name("other").rename(masks)
    for sample_id in IDS:
        tree.mask_path(sample_id).unlink()
    assert f"{tree.layout.masks}/*/*{tree.layout.suffix}" in refused(tree.load)
    (tmp_path / "empty").mkdir()
    assert f"the folders {tree.layout.images} there" in refused(lambda: load(tree.layout.name, tmp_path / "empty"))
