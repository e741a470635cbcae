"""ReasonSeg on made trees: shapes and their order, texts, encodings, orientation, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.every_tree import failed, refused
from helpers.made_referring import add_reasoning, box, random_shapes, reasonseg_path, shape
from PIL import Image

from dataset_adapters import Dataset, load
from dataset_adapters.benchmarks.reasonseg import paint_shapes
from dataset_adapters.prepare import check, find_preparation


def opened(tmp_path: Path, **options: Any) -> Dataset:
    return load("reasonseg", tmp_path / "data", cache_dir=tmp_path / "cache", **options)


def one(tmp_path: Path, *shapes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Target [n, H, W] and void of one image of 20 x 30."""
    add_reasoning(tmp_path / "data", "val/a", list(shapes))
    sample = opened(tmp_path)[0]
    assert (sample.task, sample.target.dtype, sample.void.dtype) == ("generalized", bool, bool)
    return sample.target, sample.void


def test_a_polygon_covers_its_outline(tmp_path: Path) -> None:
    target, void = one(tmp_path, box(3.9, 2, 10, 5.5))
    expected = np.zeros((1, 20, 30), bool)
    expected[0, 2:6, 3:11] = True  # fractions are cut, corners belong to the shape
    np.testing.assert_array_equal(target, expected)
    assert not void.any()


def test_small_shapes_lie_on_large_ones_and_flags_are_nothing(tmp_path: Path) -> None:
    small, large, flag = box(5, 5, 6, 6, "IGNORE"), box(0, 0, 9, 9), {"label": "Flag", "points": [[0, 0], [29, 19]]}
    for order in ([small, large, flag], [flag, large, small]):
        target, void = one(tmp_path, *order)
        assert (target.sum(), void.sum()) == (100 - 4, 4)
    target, void = one(tmp_path, box(0, 0, 9, 9, "to ignore"), box(5, 5, 6, 6))
    assert (target.sum(), void.sum()) == (4, 100 - 4)


def test_of_equal_shapes_the_first_is_on_top(tmp_path: Path) -> None:
    target, void = one(tmp_path, box(0, 0, 9, 9), box(0, 0, 9, 9, "ignore"))
    assert (target.sum(), void.any()) == (100, False)


def test_nothing_meant_is_no_object(tmp_path: Path) -> None:
    assert one(tmp_path)[0].shape == (0, 20, 30)
    target, void = one(tmp_path, box(0, 0, 9, 9, "ignore"))
    assert (target.shape, void.sum()) == ((0, 20, 30), 100)
    assert one(tmp_path, box(40, 0, 50, 9))[0].shape == (0, 20, 30)  # outside of the image


def restated(shapes: list[dict[str, Any]], height: int, width: int) -> np.ndarray:
    """What LISA's loader is said to do: outline and inside of each, flags left out, by falling number of pixels."""
    kept = []
    for each in shapes:
        if each["label"].lower() != "flag":
            corners = np.array([each["points"]], dtype=np.int32)
            alone = np.zeros((height, width), np.uint8)
            cv2.polylines(alone, corners, True, 1, 1)
            cv2.fillPoly(alone, corners, 1)
            kept.append((int(alone.sum()), len(kept), "ignore" in each["label"].lower(), alone > 0))
    labels = np.zeros((height, width), np.uint8)
    for _, _, ignored, alone in sorted(kept, key=lambda each: each[:2], reverse=True):
        labels[alone] = 255 if ignored else 1
    return labels


def test_random_shapes_equal_a_restatement(tmp_path: Path) -> None:
    size = (23, 37)
    for seed in range(60):
        add_reasoning(tmp_path / "data", f"val/{seed:02d}", random_shapes(seed, size), size=size)
    found = {1: 0, 255: 0}
    for seed, sample in enumerate(opened(tmp_path)):
        labels = restated(random_shapes(seed, size), *size)
        np.testing.assert_array_equal(sample.target.any(axis=0), labels == 1)
        assert len(sample.target) == (labels == 1).any()
        np.testing.assert_array_equal(sample.void, labels == 255)
        found = {value: n + (labels == value).any() for value, n in found.items()}
    assert min(found.values()) > 20


def test_polygons_by_geometry() -> None:
    """Pixels inside a polygon are painted, those farther than a pixel from it are not, whoever draws it."""
    rng = np.random.default_rng(3)
    for _ in range(6):
        corners = rng.integers(2, 38, (rng.integers(3, 8), 2))
        painted = paint_shapes([(1, corners.tolist())], 40, 40) > 0
        for y, x in np.ndindex(40, 40):
            distance = cv2.pointPolygonTest(corners.astype(np.float32), (float(x), float(y)), True)
            if abs(distance) > 1:
                crossings = 0
                for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                    crossings += (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                assert painted[y, x] == crossings % 2


def test_texts_splits_and_notices(tmp_path: Path) -> None:
    add_reasoning(tmp_path / "data", "val/b", [], "  the first ", "the second")
    add_reasoning(tmp_path / "data", "val/a", [], "an \u00e4gg")
    add_reasoning(tmp_path / "data", "val/c", [], " ", "the second")
    add_reasoning(tmp_path / "data", "test/d", [])
    dataset = opened(tmp_path)
    assert (dataset.ids, dataset.split) == (("a", "b"), "val")
    assert [dataset.queries_of(n) for n in range(2)] == [(("an \u00e4gg",), ()), (("the first",), ())]
    assert [sample.queries for sample in dataset] == [("an \u00e4gg",), ("the first",)]
    assert dataset.notices == ("left out 1 image with a blank text",)
    assert opened(tmp_path, split="test").ids == ("d",)
    (tmp_path / "ids.txt").write_text("b\n")
    assert opened(tmp_path, split=tmp_path / "ids.txt").ids == ("b",)
    for root in ("data/reason_seg", "data/reason_seg/ReasonSeg"):
        assert load("reasonseg", tmp_path / root, cache_dir=tmp_path / "cache").fingerprint == dataset.fingerprint


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    add_reasoning(tmp_path / "data", "val/a", [])
    path = reasonseg_path(tmp_path / "data", "val/a.json")
    path.write_bytes(b'{"shapes": [], "text": ["the dog\x92s \xa3 5"]}')
    assert opened(tmp_path)[0].queries == ("the dog\u2019s \u00a3 5",)


def test_images_are_read_upright(tmp_path: Path) -> None:
    """As cv2 reads them: a picture of 20 x 30 turned by a quarter has 30 rows."""
    add_reasoning(tmp_path / "data", "val/a", [box(0, 25, 19, 29)])
    path, turned = reasonseg_path(tmp_path / "data", "val/a.jpg"), Image.Exif()
    turned[0x0112] = 6
    with Image.open(path) as image:
        image.save(path, exif=turned)
    sample = opened(tmp_path)[0]
    assert sample.image.shape == cv2.imread(str(path)).shape == (30, 20, 3)
    assert sample.target.sum() == 5 * 20


def test_fingerprints_follow_shapes_and_texts(tmp_path: Path) -> None:
    found = []
    for shapes, text in (([], "a"), ([box(0, 0, 9, 9)], "a"), ([box(0, 0, 9, 8)], "a"), ([box(0, 0, 9, 8)], "b")):
        add_reasoning(tmp_path / "data", "val/a", shapes, text)
        found.append(opened(tmp_path).fingerprint)
    assert len(set(found)) == 4
    assert opened(tmp_path).fingerprint == found[-1]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"text": ["a"]}, "the file: shapes: expected list, found nothing"),
        ({"shapes": [], "text": "a"}, "the file: text: expected list, found str"),
        ({"shapes": [], "text": []}, "text: expected a text first, found []"),
        ({"shapes": [], "text": [3]}, "text: expected a text first, found [3]"),
        ({"shapes": [3], "text": ["a"]}, "shape 0: expected a dict, found int"),
        ({"shapes": [{"points": []}], "text": ["a"]}, "shape 0: label: expected str, found nothing"),
        ({"shapes": [{"label": "a"}], "text": ["a"]}, "shape 0: points: expected list, found nothing"),
        *[
            ({"shapes": [shape(points)], "text": ["a"]}, f"shape 0: points: expected pairs [x, y], {found}")
            for points, found in [
                ([], "found []"),
                ([[1, 2], [3]], "found [3]"),
                ([[1, 2, 3]], "found [1, 2, 3]"),
                ([["1", 2]], "found ['1', 2]"),
                ([[True, 2]], "found [True, 2]"),
                ([[float("nan"), 2]], "found [nan, 2]"),
                ([[float("inf"), 2]], "found [inf, 2]"),
                ([[10**400, 2]], "found [1000"),
            ]
        ],
    ],
    ids=str,
)  # fmt: skip
def test_bad_files_of_shapes_are_named(tmp_path: Path, stored: Any, message: str) -> None:
    add_reasoning(tmp_path / "data", "val/a", [])
    path = reasonseg_path(tmp_path / "data", "val/a.json")
    path.write_text(json.dumps(stored))
    assert refused(lambda: opened(tmp_path)).startswith(f"{path}: {message}")


def test_shapes_far_outside_fail_their_sample(tmp_path: Path) -> None:
    add_reasoning(tmp_path / "data", "val/a", [box(0, 0, 1e8, 9)])
    add_reasoning(tmp_path / "data", "val/b", [box(0, 0, 9, 9)])
    error = failed(opened(tmp_path))
    assert error.path.endswith("val/a.json")
    assert error.reason.startswith("points: expected coordinates in -60..60, found 1e+08")


def test_check_counts_the_splits(tmp_path: Path) -> None:
    add_reasoning(tmp_path / "data", "val/a", [box(0, 0, 9, 9)])
    add_reasoning(tmp_path / "data", "test/b", [box(0, 0, 9, 9, "ignore")])
    lines: list[str] = []
    assert check(find_preparation("reasonseg-test"), tmp_path / "data", lines.append, n_decoded=None) == 6
    assert "fault: val/*.jpg: expected 200 files, found 1" in lines
    assert "fault: reasonseg, split test: expected 779 images, found 1" in lines
    assert any("1 without a target" in line for line in lines)
