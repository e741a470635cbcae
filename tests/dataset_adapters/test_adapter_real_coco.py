"""COCO-Object on real photos and annotations, where they lie beside the repository, against pycocotools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO

from dataset_adapters import load

ROOT = Path(__file__).parents[2].parent / "shared" / "realdata" / "coco"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real COCO files at {ROOT}")


@pytest.fixture(scope="module")
def official() -> COCO:
    return COCO(str(ROOT / "annotations" / "instances_val2017.json"))


@pytest.mark.parametrize("source", ["stuffthingmaps", "instances"])
def test_pixels_per_label(tmp_path: Path, official: COCO, source: str) -> None:
    dataset = load("coco-object", ROOT.parent, source=source, cache_dir=tmp_path)
    counts = sum(np.bincount(sample.target.ravel(), minlength=81) for sample in dataset)
    number = {category: label for label, category in enumerate(sorted(official.cats), start=1)}
    expected = np.zeros(81, np.int64)
    for image_id in official.imgs:
        smallest = np.full((official.imgs[image_id]["height"], official.imgs[image_id]["width"]), np.inf)
        labels = np.zeros(smallest.shape, np.int64)
        for annotation in official.imgToAnns[image_id]:
            on_top = (official.annToMask(annotation) > 0) & (annotation["area"] <= smallest)
            smallest[on_top], labels[on_top] = annotation["area"], number[annotation["category_id"]]
        expected += np.bincount(labels.ravel(), minlength=81)
    assert (expected > 0).sum() > 40
    np.testing.assert_array_equal(counts, expected)


def test_both_sources_agree_in_every_pixel(tmp_path: Path) -> None:
    maps, instances = (load("coco-object", ROOT, source=s, cache_dir=tmp_path) for s in ("stuffthingmaps", "instances"))
    assert len(maps) == 48
    assert maps.ids == instances.ids
    for one, other in zip(maps, instances, strict=True):
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.image, np.array(Image.open(ROOT / f"val2017/{one.id}.jpg").convert("RGB")))


def test_ids_labels_and_areas_of_the_instances(tmp_path: Path, official: COCO) -> None:
    from dataset_adapters.base.index_cache import open_index

    dataset = load("coco-object", ROOT, source="instances", cache_dir=tmp_path)
    rows = open_index(dataset.index_path).to_pylist()
    assert [int(sample_id) for sample_id in dataset.ids] == sorted(official.imgs)
    found = [
        (
            dataset.label_space.labels[label],
            int(mask.area({"size": [int(row["height"]), int(row["width"])], "counts": c})),
        )
        for row in rows
        for label, c in json.loads(row["instances"])
    ]
    expected = [
        (official.cats[annotation["category_id"]]["name"], int(mask.area(official.annToRLE(annotation))))
        for annotation in official.anns.values()
    ]
    assert sorted(found) == sorted(expected)
    mean, stated = np.mean([area for _, area in found]), np.mean([a["area"] for a in official.anns.values()])
    assert mean == pytest.approx(stated, rel=0.01)
