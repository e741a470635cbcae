"""MESS' sets as files of the user's: every layout on made trees, CoI-mIoU by brute force from saved predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.made_trees import write_noise, write_png
from PIL import Image
from typer.testing import CliRunner

from dataset_adapters import DatasetError, SampleError, load
from dataset_adapters.base.adapter import find_sources
from evaluation.cli.app import app
from evaluation.request.benchmark import load_benchmark

MESS = Path(__file__).parents[2] / "examples/mess"
FILES = sorted(MESS.glob("*.yaml"))
# By hand from the table of the sets: classes, and which are of interest (None: all but the background).
SETS: dict[str, tuple[int, int | None, list[int] | None]] = {
    "bdd100k": (19, None, None), "dark-zurich": (20, 0, None), "mhp-v1": (19, 0, None), "foodseg103": (104, 0, None),
    "atlantis": (56, None, None), "dram": (12, 11, None), "isaid": (16, 0, None), "isprs-potsdam": (6, 5, None),
    "worldfloods": (3, 0, [1]), "floodnet": (10, 0, [1, 3]), "uavid": (8, 0, None), "kvasir-instrument": (2, 0, None),
    "chase-db1": (2, 0, None), "cryonuseg": (2, 0, None), "paxray-lungs": (2, 0, None),
    "paxray-mediastinum": (2, 0, None), "paxray-bones": (2, 0, None), "paxray-diaphragm": (2, 0, None),
    "corrosion-cs": (4, 0, None), "deepcrack": (2, 0, None), "pst900": (5, 0, None), "zerowaste-f": (5, 0, None),
    "suim": (8, 0, None), "cub-200": (201, 0, None), "cwfid": (3, 0, None),
}  # fmt: skip


def made(root: Path, own: Any, n: int = 1, size: tuple[int, int] = (20, 30)) -> dict[str, np.ndarray]:
    """Images and masks in a set's layout, with every class and ignored pixels; the masks by id."""
    rng = np.random.default_rng(n)
    masks = {}
    for i in range(n):
        folder, (of_image, of_mask) = root / own.folder, own.suffixes
        noise = folder / own.images / f"{i:03d}.png"
        write_noise(noise, *size)
        noise.rename(folder / own.images / f"{i:03d}{of_image}")
        mask = rng.integers(0, len(own.names.split(", ")) + 1, size)
        masks[f"{i:03d}"] = np.where(mask == len(own.names.split(", ")), 255, mask)
        write_png(folder / own.masks / "mask.png", masks[f"{i:03d}"])
        (folder / own.masks / "mask.png").rename(folder / own.masks / f"{i:03d}{of_mask}")
    return masks


def test_there_is_a_file_for_each_set() -> None:
    assert {path.stem for path in FILES} == SETS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_set_in_its_layout(path: Path, tmp_path: Path) -> None:
    benchmark = load_benchmark(str(path))
    assert benchmark.name == f"mess-{path.stem}"
    [own] = find_sources(benchmark.adapter)
    n_classes, background, of_interest = SETS[path.stem]
    assert own.name == benchmark.name
    assert len({*own.names.split(", ")}) == n_classes
    expected = of_interest or [id_ for id_ in range(n_classes) if id_ != background]
    assert [id_ for id_ in range(n_classes) if id_ not in own.not_of_interest] == expected
    layout = [f"{folder}/*{suffix}" for folder, suffix in zip((own.images, own.masks), own.suffixes, strict=True)]
    cells = [*(f"`{each}`" for each in (path.name, own.folder, *layout)), str(n_classes), str(len(expected))]
    assert f"| {' | '.join(cells)} |" in (MESS / "README.md").read_text().splitlines()
    masks = made(tmp_path / "data", own)
    dataset = load(benchmark.adapter, tmp_path / "data", cache_dir=tmp_path / "cache")
    assert dataset.ids == ("000",)
    np.testing.assert_array_equal(dataset[0].target, np.where(masks["000"] == 255, 255, masks["000"] + 1))
    assert len(dataset.label_space.queries) == n_classes
    write_png(tmp_path / "mask.png", np.full((20, 30), n_classes))
    (tmp_path / "mask.png").rename(tmp_path / "data" / own.folder / own.masks / f"000{own.suffixes[1]}")
    with pytest.raises(SampleError, match=f"255, found {n_classes}"):
        load(benchmark.adapter, tmp_path / "data", cache_dir=tmp_path / "cache")[0]
    with pytest.raises(DatasetError, match="expected"):
        load(benchmark.adapter, tmp_path / "data", split="train", cache_dir=tmp_path / "cache")


def test_a_data_file_is_described_before_and_after_its_data_are_there(tmp_path: Path) -> None:
    path, root = MESS / "suim.yaml", tmp_path / "data"
    shown = ["mess-suim: of ", "  task: semantic", "  classes: 8", "  split: test"]

    def listed() -> list[str]:
        result = CliRunner().invoke(app, ["data", "list", str(path), f"--data-root={root}"])
        assert result.exit_code == 0, result.stderr
        return result.stdout.splitlines()

    *lines, last = listed()
    assert [line[: len(start)] for line, start in zip(lines, shown, strict=True)] == shown
    assert last == f"  data: not found: {root}: expected a folder, found nothing"
    [own] = find_sources(load_benchmark(str(path)).adapter)
    made(root, own, n=3)
    assert listed() == [*lines, f"  data: 3 samples in {root / 'SUIM'}"]
    chosen = tmp_path / "some.yaml"
    chosen.write_text(f"name: some\nbase: context59\nadapter: {MESS}/mess.py:suim\nsplit: {tmp_path}/two.txt\n")
    (tmp_path / "two.txt").write_text("000\n002\n")
    path = chosen
    assert listed()[-2:] == [f"  split: {tmp_path}/two.txt", f"  data: 2 samples in {root / 'SUIM'}"]


def test_classes_of_interest_by_brute_force(tiny_model: Path, tmp_path: Path) -> None:
    name = "floodnet"
    [own] = find_sources(load_benchmark(str(MESS / f"{name}.yaml")).adapter)
    masks = made(tmp_path / "data", own, n=2)
    out = tmp_path / "run"
    settings = {"proposal_model": str(tiny_model), "templates": ["{}"]}
    arguments = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    result = CliRunner().invoke(
        app,
        ["eval", str(MESS / f"{name}.yaml"), f"--data-root={tmp_path / 'data'}", "--method=maskclip", *arguments,
         "--weights=random:1", f"--metrics={MESS / 'mess.py'}:ClassesOfInterest", "--save-predictions=png",
         f"--out={out}"],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    ious = []
    for id_ in SETS[name][2] or ():
        both = either = 0
        for sample, mask in masks.items():
            predicted = np.asarray(Image.open(out / "predictions" / f"{sample}.png")).astype(int) - 1
            there, found = (mask == id_), (predicted == id_) & (mask != 255)
            both, either = both + int((there & found).sum()), either + int((there | found).sum())
        if either:
            ious.append(both / either)
    header = json.loads((out / "run.json").read_text())
    assert header["metrics"]["coi/miou"] == pytest.approx(np.mean(ious))
