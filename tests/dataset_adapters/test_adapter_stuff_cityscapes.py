"""COCO-Stuff and Cityscapes on made trees: every value of their tables, all label sources, and values outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.made_trees import CITY, STUFF_IDS, write_city, write_stuff

from dataset_adapters import Dataset, DatasetError, LabelSpace, load
from dataset_adapters.base.adapter import find_sources
from dataset_adapters.prepare import find_preparation

SOURCES = {
    "coco-stuff": ["stuffthingmaps", "labelTrainIds", "detectron2"],
    "cityscapes": ["labelTrainIds", "labelIds"],
}


WRITE = {"coco-stuff": write_stuff, "cityscapes": write_city}
EXPECTED = {
    "coco-stuff": [[*range(1, 172), 255]],
    "cityscapes": [[list(CITY).index(id_) + 1 if id_ in CITY else 255 for id_ in range(34)]],
}
CASES = [(name, source) for name, sources in SOURCES.items() for source in sources]


def opened(tmp_path: Path, name: str, **options: Any) -> Dataset:
    return load(name, tmp_path / "data", cache_dir=tmp_path / "cache", **options)


@pytest.mark.parametrize(("name", "source"), CASES)
def test_every_value_of_every_source(tmp_path: Path, name: str, source: str) -> None:
    WRITE[name](tmp_path / "data", source)
    dataset = opened(tmp_path, name)
    assert (dataset.name, len(dataset)) == (f"{name}/{source}", 1)
    sample = dataset[0]
    assert sample.target.tolist() == EXPECTED[name]
    space = dataset.label_space
    assert (space.name, space.ignore_label, space.scored_labels) == (name, 255, tuple(range(1, len(space.labels))))
    assert sample.queries == space.queries


def test_names_and_things() -> None:
    def space(name: str) -> LabelSpace:
        return find_sources(name)[0].label_space("released")

    stuff_space, city_space = space("coco-stuff"), space("cityscapes")
    assert city_space.labels[1:] == tuple(CITY.values())
    assert city_space.things == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert (len(stuff_space.labels), len(stuff_space.things), len(stuff_space.stuff)) == (172, 80, 91)
    by_id = {id_: stuff_space.labels[label] for label, id_ in enumerate(STUFF_IDS, start=1)}
    # Names that also stand for a thing without pixels (66 mirror, 68 window, 69 desk, 71 door) are told from stuff.
    assert [by_id[id_] for id_ in (1, 90, 92, 182)] == ["person", "toothbrush", "banner", "wood"]
    assert {"window-other", "desk-stuff", "mirror-stuff", "door-stuff"} <= set(stuff_space.stuff)


def test_cityscapes_train_ids_are_never_mapped_again(tmp_path: Path) -> None:
    for source in SOURCES["cityscapes"]:
        write_city(tmp_path / "data", source)
    assert opened(tmp_path, "cityscapes").name == "cityscapes/labelTrainIds"
    both = [opened(tmp_path, "cityscapes", source=source)[0].target for source in SOURCES["cityscapes"]]
    np.testing.assert_array_equal(*both)
    write_city(tmp_path / "data", "labelIds", id_="munster_000001_000019")  # train ids of some images only
    with pytest.raises(DatasetError, match=r"munster_000001_000019_gtFine_labelTrainIds\.png: expected the mask"):
        opened(tmp_path, "cityscapes")


def test_objects_and_stuff_of_the_same_files(tmp_path: Path) -> None:
    write_stuff(tmp_path / "data", "stuffthingmaps")
    objects = opened(tmp_path, "coco-object")[0].target
    assert objects.tolist() == [[*range(1, 81), *[0] * 92]]


def test_cityscapes_by_a_file_of_ids(tmp_path: Path) -> None:
    for id_ in ("lindau_000000_000019", "munster_000001_000019"):
        write_city(tmp_path / "data", "labelIds", id_=id_)
    chosen = tmp_path / "ids.txt"
    chosen.write_text("munster_000001_000019\n")
    assert opened(tmp_path, "cityscapes", split=chosen).ids == ("munster_000001_000019",)
    chosen.write_text("munster\n")
    with pytest.raises(DatasetError, match="expected ids such as"):
        opened(tmp_path, "cityscapes", split=chosen)


def test_cityscapes_is_gotten_by_hand(tmp_path: Path) -> None:
    known = find_preparation("cityscapes")
    assert not known.downloads
    assert [step.text.partition(" and ")[0] for step in known.manual] == [
        "download leftImg8bit_trainvaltest.zip",
        "download gtFine_trainvaltest.zip",
    ]


def test_categories_of_coco_json_are_those_of_the_table() -> None:
    categories = find_sources("coco-stuff")[0].categories  # type: ignore[attr-defined]
    assert categories == {0: 0, **{id_: label for label, id_ in enumerate(STUFF_IDS, start=1)}}
    assert max(find_sources("coco-object")[0].categories) == 90  # type: ignore[attr-defined]
