"""COCO-Stuff and Cityscapes on made trees: every value of their tables, all label sources, and values outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.made_trees import write_noise, write_png

from dataset_adapters import Dataset, DatasetError, LabelSpace, SampleError, load
from dataset_adapters.base.adapter import find_sources
from dataset_adapters.prepare import find_preparation

# By hand from labels.txt of COCO-Stuff: the ids that no pixel has.
NEVER = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
STUFF_IDS = [id_ for id_ in range(1, 183) if id_ not in NEVER]  # dataset ids in the order of the train ids
# By hand from helpers/labels.py of cityscapesScripts.
CITY = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
SOURCES = {
    "coco-stuff": ["stuffthingmaps", "labelTrainIds", "detectron2"],
    "cityscapes": ["labelTrainIds", "labelIds"],
}


def stuff(root: Path, source: str, values: np.ndarray | None = None, id_: str = "000000000139") -> None:
    """An image whose label map has every class once and one pixel of none; the train id of column c is c."""
    write_noise(root / f"coco/val2017/{id_}.jpg", 1, 172)
    own = [id_ - 1 for id_ in STUFF_IDS] if source == "stuffthingmaps" else list(range(171))
    folder, suffix = {
        "stuffthingmaps": ("stuffthingmaps", ".png"),
        "labelTrainIds": ("annotations", "_labelTrainIds.png"),
        "detectron2": ("stuffthingmaps_detectron2", ".png"),
    }[source]
    write_png(root / f"coco/{folder}/val2017/{id_}{suffix}", np.array([[*own, 255]]) if values is None else values)


def city(root: Path, source: str, values: np.ndarray | None = None, id_: str = "lindau_000000_000019") -> None:
    """As `stuff`; column c has the official id c, those of no class included."""
    where = id_.partition("_")[0]
    write_noise(root / f"cityscapes/leftImg8bit/val/{where}/{id_}_leftImg8bit.png", 1, 34)
    order = list(CITY)
    own = range(34) if source == "labelIds" else [order.index(id_) if id_ in CITY else 255 for id_ in range(34)]
    write_png(
        root / f"cityscapes/gtFine/val/{where}/{id_}_gtFine_{source}.png",
        np.array([list(own)]) if values is None else values,
    )


WRITE = {"coco-stuff": stuff, "cityscapes": city}
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


@pytest.mark.parametrize(
    ("name", "source", "value", "expected"),
    [
        ("coco-stuff", "stuffthingmaps", 11, "0..10, 12..24"),
        ("coco-stuff", "stuffthingmaps", 182, "91..181, 255"),
        ("coco-stuff", "labelTrainIds", 171, "0..170, 255"),
        ("coco-stuff", "detectron2", 181, "0..170, 255"),
        ("cityscapes", "labelIds", 34, "0..33"),
        ("cityscapes", "labelIds", 255, "0..33"),
        ("cityscapes", "labelTrainIds", 19, "0..18, 255"),
        ("cityscapes", "labelTrainIds", 33, "0..18, 255"),
    ],
)
def test_a_value_outside_the_table_is_refused(
    tmp_path: Path, name: str, source: str, value: int, expected: str
) -> None:
    WRITE[name](tmp_path / "data", source, np.full((1, 172 if name == "coco-stuff" else 34), value))
    with pytest.raises(SampleError) as error:
        opened(tmp_path, name)[0]
    assert expected in error.value.reason
    assert str(value) in error.value.reason


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


def test_train_ids_that_are_there_are_read_and_never_mapped_again(tmp_path: Path) -> None:
    for source in SOURCES["cityscapes"]:
        city(tmp_path / "data", source)
    assert opened(tmp_path, "cityscapes").name == "cityscapes/labelTrainIds"
    both = [opened(tmp_path, "cityscapes", source=source)[0].target for source in SOURCES["cityscapes"]]
    np.testing.assert_array_equal(*both)
    city(tmp_path / "data", "labelIds", id_="munster_000001_000019")  # train ids of some images only
    with pytest.raises(DatasetError, match=r"munster_000001_000019_gtFine_labelTrainIds\.png: expected the mask"):
        opened(tmp_path, "cityscapes")


def test_objects_and_stuff_of_the_same_files(tmp_path: Path) -> None:
    stuff(tmp_path / "data", "stuffthingmaps")
    objects = opened(tmp_path, "coco-object")[0].target
    assert objects.tolist() == [[*range(1, 81), *[0] * 92]]


def test_cityscapes_by_a_file_of_ids_and_a_missing_image(tmp_path: Path) -> None:
    for id_ in ("lindau_000000_000019", "munster_000001_000019"):
        city(tmp_path / "data", "labelIds", id_=id_)
    chosen = tmp_path / "ids.txt"
    chosen.write_text("munster_000001_000019\n")
    assert opened(tmp_path, "cityscapes", split=chosen).ids == ("munster_000001_000019",)
    chosen.write_text("munster\n")
    with pytest.raises(DatasetError, match="expected ids such as"):
        opened(tmp_path, "cityscapes", split=chosen)
    (tmp_path / "data/cityscapes/leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png").unlink()
    with pytest.raises(DatasetError, match=r"lindau_000000_000019_leftImg8bit\.png: expected the image"):
        opened(tmp_path, "cityscapes")


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
