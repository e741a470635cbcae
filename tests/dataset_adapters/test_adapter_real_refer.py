"""The RefCOCO adapter on real photos and masks, where they lie beside the repository."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from dataset_adapters import load

ROOT = Path(__file__).parents[2].parent / "shared" / "realdata" / "refer"
REFCOCO = ROOT / "refcoco"

pytestmark = pytest.mark.skipif(not REFCOCO.is_dir(), reason=f"no real RefCOCO files at {REFCOCO}")


def stored(split: str) -> list[dict]:
    return [ref for ref in pickle.loads((REFCOCO / "refs(unc).p").read_bytes()) if ref["split"] == split]


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_counts_and_texts(tmp_path: Path, split: str) -> None:
    joint, single = (
        load("refcoco", ROOT, split=split, options={"sentences": sentences}, cache_dir=tmp_path)
        for sentences in ("joint", "single")
    )
    refs = stored(split)
    assert (len(joint), len(single)) == (25, 50) == (len(refs), sum(len(ref["sentences"]) for ref in refs))
    for sample, ref in zip(joint, refs, strict=True):
        assert sample.id == f"ref{ref['ref_id']}"
        assert list(sample.queries) == list(dict.fromkeys(sentence["raw"] for sentence in ref["sentences"]))


@pytest.fixture(scope="module")
def coco() -> COCO:
    return COCO(str(REFCOCO / "instances.json"))


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_areas_equal_those_of_pycocotools(tmp_path: Path, coco: COCO, split: str) -> None:
    dataset = load("refcoco", ROOT, split=split, cache_dir=tmp_path)
    for sample, ref in zip(dataset, stored(split), strict=True):
        annotation = coco.anns[ref["ann_id"]]
        expected = coco.annToMask(annotation).astype(bool)
        np.testing.assert_array_equal(sample.target, expected)
        assert sample.image.shape[:2] == sample.target.shape
        assert sample.target.sum() == pytest.approx(annotation["area"], rel=0.15, abs=60)


def test_lost_overlaps_are_a_subset(tmp_path: Path) -> None:
    kept, lost = (
        load("refcoco", ROOT, split="val", options={"overlaps": overlaps}, cache_dir=tmp_path)
        for overlaps in ("kept", "lost")
    )
    for a, b in zip(kept, lost, strict=True):
        assert not (b.target & ~a.target).any()


def test_every_annotation_is_decoded(coco: COCO) -> None:
    from dataset_adapters.formats.coco_masks import decode_segmentation

    sizes = {image["id"]: (image["height"], image["width"]) for image in coco.imgs.values()}
    annotations = json.loads((REFCOCO / "instances.json").read_text())["annotations"]
    kinds = {type(annotation["segmentation"]) for annotation in annotations}
    assert kinds == {list, dict}
    for annotation in annotations:
        found = decode_segmentation(annotation["segmentation"], *sizes[annotation["image_id"]])
        np.testing.assert_array_equal(found, coco.annToMask(annotation).astype(bool))
