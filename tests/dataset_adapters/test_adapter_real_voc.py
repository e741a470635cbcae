"""The VOC adapters on real photos and masks, where they lie beside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_adapters import load

ROOT = Path(__file__).parents[2].parent / "shared" / "realdata" / "VOCdevkit"
VOC = ROOT / "VOC2012"

pytestmark = pytest.mark.skipif(not VOC.is_dir(), reason=f"no real VOC files at {VOC}")


def stored_ids(split: str) -> list[str]:
    return (VOC / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()


@pytest.mark.parametrize(("split", "count"), [("val", 11), ("train", 13), ("trainval", 24)])
def test_ids(tmp_path: Path, split: str, count: int) -> None:
    dataset = load("voc21", ROOT, split=split, cache_dir=tmp_path)
    assert len(dataset) == count
    assert list(dataset.ids) == stored_ids(split)


@pytest.mark.parametrize("name", ["voc21", "voc20"])
def test_pixels_per_label(tmp_path: Path, name: str) -> None:
    dataset = load(name, ROOT, cache_dir=tmp_path)
    counts = sum(np.bincount(sample.target.ravel(), minlength=256) for sample in dataset)
    expected = np.zeros(256, np.int64)
    for sample_id in stored_ids("val"):
        mask = np.array(Image.open(VOC / "SegmentationClass" / f"{sample_id}.png"))
        for value in range(256):
            expected[value] += (mask == value).sum()
    assert expected[1:21].sum() > 0
    if name == "voc20":
        expected[255] += expected[0]
        expected[0] = 0
    np.testing.assert_array_equal(counts, expected)


def test_images_are_the_stored_pixels(tmp_path: Path) -> None:
    for sample in load("voc21", ROOT, cache_dir=tmp_path):
        stored = np.array(Image.open(VOC / "JPEGImages" / f"{sample.id}.jpg").convert("RGB"))
        np.testing.assert_array_equal(sample.image, stored)
        assert sample.target.shape == stored.shape[:2]
