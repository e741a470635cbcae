"""COCO-Object and RefCOCO on real annotations, where they lie beside the repository, pixel by pixel.

What is counted over them, and over real VOC files, is in test_statistics.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from dataset_adapters import load
from dataset_adapters.formats.coco_masks import decode_segmentation

ROOT = Path(__file__).parents[2].parent / "shared" / "realdata"
REFCOCO = ROOT / "refer" / "refcoco"

pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real files at {ROOT}")


def test_coco_sources_agree_in_every_pixel(tmp_path: Path) -> None:
    maps, instances = (load("coco-object", ROOT, source=s, cache_dir=tmp_path) for s in ("stuffthingmaps", "instances"))
    assert len(maps) == 48
    for one, other in zip(maps, instances, strict=True):
        assert one.id == other.id
        np.testing.assert_array_equal(one.target, other.target)


@pytest.fixture(scope="module")
def coco() -> COCO:
    return COCO(str(REFCOCO / "instances.json"))


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_refcoco_targets_equal_pycocotools(tmp_path: Path, coco: COCO, split: str) -> None:
    refs = [ref for ref in pickle.loads((REFCOCO / "refs(unc).p").read_bytes()) if ref["split"] == split]
    for sample, ref in zip(load("refcoco", ROOT / "refer", split=split, cache_dir=tmp_path), refs, strict=True):
        assert list(sample.queries) == list(dict.fromkeys(sentence["raw"] for sentence in ref["sentences"]))
        np.testing.assert_array_equal(sample.target, coco.annToMask(coco.anns[ref["ann_id"]]).astype(bool))


def test_refcoco_annotations_are_all_decoded(coco: COCO) -> None:
    annotations = json.loads((REFCOCO / "instances.json").read_text())["annotations"]
    assert {type(annotation["segmentation"]) for annotation in annotations} == {list, dict}
    for annotation in annotations:
        size = (coco.imgs[annotation["image_id"]]["height"], coco.imgs[annotation["image_id"]]["width"])
        found = decode_segmentation(annotation["segmentation"], *size)
        np.testing.assert_array_equal(found, coco.annToMask(annotation).astype(bool))
