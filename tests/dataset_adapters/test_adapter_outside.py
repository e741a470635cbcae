"""Adapters of other packages: what they lack has defaults, whether they inherit from ours or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.plugin_package import Install, write_fruit
from PIL import Image

from dataset_adapters import DatasetError, load, option_choices
from dataset_adapters.base.adapter import Adapter, annotation_sets, find_sources
from dataset_adapters.base.sample import LabelSpace

PARTS = """
import json
from dataclasses import dataclass, replace

from dataset_adapters import LabelSpace, Sample, read_image
from dataset_adapters.base.adapter import Adapter


@dataclass(frozen=True)
class Ripe(BASE):
    name: str = "ripe"
    version: int = 3
    task: str = "referring"
    default_split: str = "all"
    file_columns: tuple = ("image",)
    kind: str = "apple"
    extra = "of its own"

    @property
    def choices(self):
        return {"kind": ("apple", "pear")}

    def with_options(self, options):
        return replace(self, **options)

    def find_root(self, root):
        return root

    def annotation_files(self, root, split):
        return (root / "texts.json",)

    def rows(self, root, split):
        for id, text in json.loads((root / "texts.json").read_text()).items():
            yield {"id": id, "image": f"fruit/images/{id}.png", "text": f"{text} {self.kind}"}

    def label_space(self, names):
        return LabelSpace.of_objects(self.name)

    def queries(self, row):
        return (row["text"],), ()

    def read(self, root, row, label_space):
        image = read_image(root / row["image"])
        return Sample(row["id"], image, self.queries(row)[0], self.task, image[..., 0] > 100)
"""


def test_an_adapter_with_four_functions_has_our_defaults(install: Install, tmp_path: Path) -> None:
    install()
    [adapter] = find_sources("fruit")
    assert isinstance(adapter, Adapter)
    assert (adapter.version, adapter.default_split, adapter.file_columns) == (1, "all", ("image", "mask"))
    assert (adapter.choices, adapter.locations, adapter.relabel, adapter.queries({})) == ({}, (), {}, None)
    assert adapter.annotation_files(tmp_path, "all") == ()
    with pytest.raises(DatasetError, match="fruit: expected no option, found 'kind'"):
        load("fruit", tmp_path, options={"kind": "pear"})
    dataset = load("fruit", write_fruit(tmp_path / "data"), cache_dir=tmp_path / "c")
    assert dataset.value_labels() == {0: 0, 1: 1, 2: 2}
    assert dataset.queries_of(0) == (("apple", "pear"), ())
    assert [sample.id for sample in dataset] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("base", ["object", "Adapter"])
def test_an_adapter_has_options_queries_and_annotation_files(install: Install, tmp_path: Path, base: str) -> None:
    install(source=PARTS.replace("BASE", base), points={"datasets": {"ripe": "fruitbox:Ripe"}})
    root = write_fruit(tmp_path / "data", n=2)
    (root / "texts.json").write_text('{"1": "the ripe", "0": "a green"}')

    def read(**options: Any) -> Any:
        return load("ripe", root, cache_dir=tmp_path / "c", options=options)

    assert option_choices("ripe") == {"kind": ("apple", "pear")}
    dataset, pears = read(), read(kind="pear")
    assert [dataset.queries_of(n) for n in range(2)] == [(("the ripe apple",), ()), (("a green apple",), ())]
    assert [sample.queries for sample in pears] == [("the ripe pear",), ("a green pear",)]
    assert len({dataset.fingerprint, pears.fingerprint, read(kind="apple").fingerprint}) == 2
    assert (dataset.adapter.version, getattr(pears.adapter, "extra", None)) == (3, "of its own")
    image = np.asarray(Image.open(root / "fruit/images/1.png"))
    np.testing.assert_array_equal(pears[0].target, image[..., 0] > 100)
    with pytest.raises(DatasetError, match="ripe: kind: expected one of apple, pear, found 'plum'"):
        read(kind="plum")
    (root / "texts.json").unlink()
    with pytest.raises(DatasetError, match=r"texts\.json: expected a file, found nothing"):
        read()


def test_only_ref_davis_averages_over_sets_of_expressions() -> None:
    names = ("ref-davis17/text", "ref-davis17/meta_expressions", "mevis", "refcoco", "of another package")
    found = {name: annotation_sets(LabelSpace.of_objects(name)) for name in names}
    davis = ("anno_0", "anno_1", "anno_2", "anno_3")
    assert found == {**dict.fromkeys(names, ()), **dict.fromkeys(names[:2], davis)}
