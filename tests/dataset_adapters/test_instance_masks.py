"""Masks of COCO segmentations against pycocotools and loops."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from dataset_adapters.formats.coco_masks import decode_segmentation, encode_segmentation, stubs_notices

A, B = [2, 2, 9, 2, 9, 12, 2, 12], [6, 6, 15, 6, 15, 20, 6, 20]


def of_pycocotools(polygon: list[float], height: int, width: int) -> np.ndarray:
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], height, width))).astype(bool)


def runs(mask: np.ndarray) -> list[int]:
    """Column-major run lengths, counted pixel by pixel, zeros first."""
    counts, last = [0], False
    for value in mask.T.ravel().tolist():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return counts


def test_overlapping_polygons_are_kept_or_lost() -> None:
    a, b = (of_pycocotools(polygon, 30, 20) for polygon in (A, B))
    assert (a & b).sum() > 10
    np.testing.assert_array_equal(decode_segmentation([A, B], 30, 20), a | b)
    np.testing.assert_array_equal(decode_segmentation([A, B], 30, 20, "lost"), a ^ b)
    assert decode_segmentation([A], 30, 20).dtype == np.bool_


def test_three_polygons_over_one_pixel_lose_it() -> None:
    a = of_pycocotools(A, 30, 20)
    np.testing.assert_array_equal(decode_segmentation([A, A, A], 30, 20), a)
    assert not decode_segmentation([A, A, A], 30, 20, "lost").any()


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_in_every_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2).tolist()
    mask = rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])
    compressed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    for counts in (runs(mask), compressed):
        rle = {"size": [height, width], "counts": counts}
        np.testing.assert_array_equal(decode_segmentation(rle, height, width), mask)
        np.testing.assert_array_equal(decode_segmentation([rle], height, width), mask)


def test_long_runs_in_compressed_form() -> None:
    mask = np.zeros((900, 1100), np.uint8)
    mask[5:880, 30:1000] = 1
    mask[300:310, 400] = 0
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    rle = {"size": [900, 1100], "counts": counts}
    np.testing.assert_array_equal(decode_segmentation(rle, 900, 1100), mask.astype(bool))


def test_parts_of_fewer_than_three_points_are_left_out() -> None:
    """frPyObjects alone would read four numbers as a box, and fail at fewer."""
    expected = of_pycocotools(A, 30, 20)
    for parts in ([[1, 1, 9, 9], A], [A, []], [[], [3], [1, 2], [1, 2, 3, 4, 5], A]):
        np.testing.assert_array_equal(decode_segmentation(parts, 30, 20), expected)
        counts = encode_segmentation(parts, 30, 20)
        np.testing.assert_array_equal(coco_mask.decode({"size": [30, 20], "counts": counts}), expected)
    assert encode_segmentation([], 30, 20) is encode_segmentation([[], [1, 2, 3, 4]], 30, 20) is None
    assert stubs_notices(Path("a.json"), [[A], {"counts": [600]}, None]) == []
    assert stubs_notices(Path("a.json"), [[A, [1, 2], []], [], [[3, 4]]]) == [
        "a.json: 3 polygons of fewer than 3 points left out; 2 annotations left without a mask"
    ]
    assert stubs_notices(Path("a.json"), [[A], []]) == ["a.json: 1 annotation left without a mask"]


def test_numbers_written_as_floats_are_numbers() -> None:
    rle = {"size": [30.0, "20"], "counts": [100.0, 50, 450]}
    expected = np.zeros(600, bool)
    expected[100:150] = True
    np.testing.assert_array_equal(decode_segmentation(rle, 30, 20), expected.reshape(20, 30).T)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([], "at least one polygon of 3 or more points, found none"),
        ([[1, 2, 3, 4]], "at least one polygon of 3 or more points, found none"),
        ([[1, 2, 3, 4, 5, 6, 7]], "found 7 numbers"),
        ([1, 2, 3, 4, 5, 6], "found int"),
        ([[1, 2, 3, 4, 5, None]], "found None"),
        ([[1, 2, 3, 4, 5, 10**400]], "coordinates in -60..60, found 1000"),
        (["0123456"], "found str"),
        ([[[1, 2], [3, 4], [5, 6]]], r"coordinates in -60..60, found \[1, 2\]"),
        ([[1, 2, 3, 4, 5, float("nan")]], "found nan"),
        ([[1, 2, 3, 4, 5, 1e9]], r"coordinates in -60..60, found 1000000000\.0"),
        ([[1, 2, 3, 4, 5, "6"]], "found '6'"),
        ([[1, 2, 3, 4, 5, True]], "found True"),
        ({"size": [20, 30], "counts": [600]}, r"size \[30, 20\], found \[20, 30\]"),
        ({"counts": [600]}, "found None"),
        ({"size": [30, 20], "counts": [599]}, "of 600 pixels, found 599"),
        ({"size": [30, 20], "counts": [700, -100]}, "non-negative integers"),
        ({"size": [30, 20], "counts": [600.5]}, "non-negative integers"),
        ({"size": [30, 20], "counts": [None, 600]}, "non-negative integers"),
        ({"size": "30 20", "counts": [600]}, r"size \[30, 20\], found '30 20'"),
        ({"size": [30, 20]}, "non-negative integers"),
        ({"size": [30, 20], "counts": "0`0"}, "of 600 pixels, found 16"),
        ({"size": [30, 20], "counts": "`"}, "compressed text"),
        ({"size": [30, 20], "counts": "0~"}, "compressed text"),
        ({"size": [30, 20], "counts": ""}, "of 600 pixels, found 0"),
        (None, "found null"),
    ],
)
def test_bad_segmentations_never_reach_the_decoder(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_segmentation(segmentation, 30, 20)
    if "found none" not in message:
        with pytest.raises(ValueError, match=message):
            encode_segmentation(segmentation, 30, 20)


def test_parts_without_number_take_the_memory_of_one() -> None:
    """All at once, the parts would take 92 MB (20,000 of them 6 GB), and pycocotools does not check that it gets it."""
    tracemalloc.start()
    mask = decode_segmentation([A] * 300, 480, 640)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(mask, of_pycocotools([float(value) for value in A], 480, 640))
    assert peak < 30_000_000
    assert not decode_segmentation([A] * 3, 480, 640, "lost").any()


def test_a_run_of_endless_digits_is_no_run() -> None:
    text = "o" * 200_000 + "0"
    with pytest.raises(ValueError, match="expected RLE counts as compressed text or non-negative integers"):
        decode_segmentation({"size": [30, 20], "counts": text}, 30, 20)
