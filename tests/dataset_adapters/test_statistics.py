"""What labels cover, on the miniature's families and on real files, against pycocotools and plain counting."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.davis_tree import davis_tree
from helpers.every_tree import make_tree
from helpers.made_trees import ContextTree
from helpers.refer_tree import grefer_tree
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from dataset_adapters import embedded_root, load
from dataset_adapters.prepare import check, find_preparation
from dataset_adapters.statistics import TargetStatistics, describe, describe_labels
from evaluation.cli.app import app

Masks = list[np.ndarray]
REAL = Path(__file__).parents[2].parent / "shared" / "realdata"
ROOTS = [
    pytest.param(embedded_root(), id="miniature"),
    pytest.param(REAL, id="real", marks=pytest.mark.skipif(not REAL.is_dir(), reason=f"no real files at {REAL}")),
]


def statistics_of(name: str, root: Path, cache: Path, **options: object) -> TargetStatistics:
    statistics = TargetStatistics()
    for sample in load(name, root, cache_dir=cache, **options):  # type: ignore[arg-type]
        statistics.add(sample)
    return statistics


def agrees(statistics: TargetStatistics, expected: Masks) -> None:
    """Compare with label maps [H, W], whose values are counted."""
    __tracebackhide__ = True
    pixels: Counter[int] = Counter()
    samples: Counter[int] = Counter()
    for labels in expected:
        found = dict(zip(*(each.tolist() for each in np.unique(labels, return_counts=True)), strict=True))
        pixels.update(found)
        samples.update(found.keys())
    assert sum(pixels.values()) > 0
    assert statistics.n_pixels == pixels
    assert statistics.n_samples == samples
    assert sorted(statistics.sizes) == sorted(labels.shape for labels in expected)


def painted(coco: COCO, image_id: int) -> np.ndarray:
    """Labels 1..80 of an image's instances, the smallest on top."""
    order = sorted(coco.imgToAnns[image_id], key=lambda annotation: -annotation["area"])
    labels = np.zeros((coco.imgs[image_id]["height"], coco.imgs[image_id]["width"]), np.int64)
    for annotation in order:
        labels[coco.annToMask(annotation) > 0] = sorted(coco.cats).index(annotation["category_id"]) + 1
    return labels


def test_coco_object_statistics_equal_pycocotools(tmp_path: Path) -> None:
    root = embedded_root()
    coco = COCO(str(root / "coco/annotations/instances_val2017.json"))
    instances = [painted(coco, image_id) for image_id in coco.imgs]
    agrees(statistics_of("coco-object", root, tmp_path, source="instances"), instances)
    label_of = np.zeros(256, np.int64)
    label_of[np.array(sorted(coco.cats)) - 1] = range(1, len(coco.cats) + 1)
    stored = [np.array(Image.open(path)) for path in sorted((root / "coco/stuffthingmaps/val2017").glob("*.png"))]
    agrees(statistics_of("coco-object", root, tmp_path, source="stuffthingmaps"), [label_of[each] for each in stored])


@pytest.mark.parametrize("root", ROOTS)
def test_referred_objects_cover_what_pycocotools_says(root: Path, tmp_path: Path) -> None:
    folder = root / "refer/refcoco"
    coco = COCO(str(folder / "instances.json"))
    refs = [ref for ref in pickle.loads((folder / "refs(unc).p").read_bytes()) if ref["split"] == "val"]
    masks = [coco.annToMask(coco.anns[ref["ann_id"]]) for ref in refs]
    agrees(statistics_of("refcoco", root, tmp_path), masks)


@pytest.mark.parametrize("root", ROOTS)
def test_voc_covers_what_its_files_say(root: Path, tmp_path: Path) -> None:
    folder = root / "VOCdevkit/VOC2012"
    ids = (folder / "ImageSets/Segmentation/val.txt").read_text().split()
    agrees(
        statistics_of("voc21", root, tmp_path),
        [np.array(Image.open(folder / f"SegmentationClass/{each}.png")) for each in ids],
    )


def test_context_covers_what_its_files_say(tmp_path: Path) -> None:
    folder = embedded_root() / "VOCdevkit/VOC2010"
    ids = (folder / "ImageSets/SegmentationContext/val.txt").read_text().split()
    stored = [np.array(Image.open(folder / f"SegmentationClassContext/{each}.png")) for each in ids]
    agrees(statistics_of("context60", embedded_root(), tmp_path), stored)
    agrees(statistics_of("context59", embedded_root(), tmp_path), [np.where(m == 0, 255, m) for m in stored])


def test_the_documented_figures_of_the_miniature_are_so(tmp_path: Path) -> None:
    lines = (Path(__file__).parents[2] / "docs/datasets.md").read_text().splitlines()
    documented = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    assert len(documented) == 5
    for name, *facts in documented:
        adapter, _, source = name.partition("/")
        dataset = load(adapter, embedded_root(), source=source or None, cache_dir=tmp_path)
        statistics = statistics_of(adapter, embedded_root(), tmp_path, source=source or None)
        own = [label for label in statistics.n_pixels if 0 < label < len(dataset.label_space.labels)]
        pixels, areas = (sum(each[label] for label in own) for each in (statistics.n_pixels, statistics.n_samples))
        expected = [dataset.split, str(len(dataset)), str(len(own)), str(pixels), f"{pixels / areas:.1f}"]
        assert facts == expected, name


def test_masks_of_objects_count_as_their_union(tmp_path: Path) -> None:
    tree = grefer_tree(tmp_path)
    statistics = statistics_of("grefcoco", tree.root, tmp_path / "c")
    assert (len(statistics.sizes), statistics.n_empty, statistics.n_samples) == (4, 1, {0: 4, 1: 3})
    assert statistics.n_pixels[1] == 192 + (192 + 24) + 70
    space = tree.load().label_space
    assert ", 1 without a target, 2 labels: background " in describe(statistics, space)
    assert describe_labels(statistics, space)[1] == "object: samples 3, pixels 478, mean area 159.3"
    video = davis_tree(tmp_path)
    frames = sum(map(len, video.labels.values()))
    statistics = statistics_of("ref-davis17", video.root, tmp_path / "c")
    assert statistics.n_pixels[1] == 4 * sum(int((labels > 0).sum()) for labels in video.labels.values())
    assert len(statistics.sizes) == 4 * frames


@pytest.mark.parametrize(
    ("name", "adapter", "lines"),
    [
        ("pc459", "pc459/mat", ["pc459, split val: 3 images (pc459/mat)", "either is whole", "labels: "]),
        (
            "context",
            "context60/mat",
            ["context60, split val: 3 images (context60/mat)", "either is whole", "background"],
        ),
        ("grefcoco", "grefcoco", ["split val: 4 references", "1 without a target, 2 labels: background"]),
        ("ref-davis17", "ref-davis17/text", ["split val: 28 frames under the four sets", "2 labels: background"]),
        ("ade847", "ade847", ["split val: 3 images (ade847)", "3 decoded, ", " labels: "]),
    ],
)
def test_check_shows_the_labels_of_every_data_set(tmp_path: Path, name: str, adapter: str, lines: list[str]) -> None:
    root = make_tree(adapter, tmp_path).parent
    result = CliRunner().invoke(app, ["data", "check", name, f"--root={root}", "--labels"])
    assert result.exit_code in (0, 5), result.stderr
    for line in (*lines, "mean area "):
        assert line in result.stdout
    if name == "grefcoco":
        assert "split testB: " in result.stdout
        assert "found testA, val; not every release has it" in result.stdout
        assert "fault: grefcoco, split" not in result.stdout


@pytest.mark.parametrize("name", ["context", "pc459"])
def test_either_known_number_of_context_images_is_whole(context: ContextTree, name: str) -> None:
    context.write_mats()
    entry = find_preparation(name)
    assert {split.expected for split in entry.splits if split.split == "val"} == {(5105, 5104)}
    few = replace(entry, splits=tuple(replace(split, expected=(3, 2)) for split in entry.splits))
    for n_val, n_faults in ((1, 1), (2, 0), (3, 0)):
        context.write_split(list(context.raw)[:n_val])
        lines: list[str] = []
        check(few, context.parent, lines.append, n_decoded=0)
        assert sum(line.endswith(f"expected 3 or 2 images, found {n_val}") for line in lines) == n_faults


def test_check_of_one_source(coco: object) -> None:
    root = f"--root={embedded_root()}"
    result = CliRunner().invoke(app, ["data", "check", "coco-object", root, "--source=instances", "--decode=2"])
    assert "images (coco-object/instances)" in result.stdout
    wrong = CliRunner().invoke(app, ["data", "check", "voc", root, "--source=png"])
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)
    assert "none: this data set has one source" in wrong.stderr
