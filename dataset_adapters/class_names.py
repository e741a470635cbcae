"""Class names and query texts, as stored in labels/*.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dataset_adapters.sample import NameSet


@dataclass(frozen=True)
class ClassNames:
    """The classes of a data set without background; both tuples are indexed by zero-based class id.

    dataset: the data set's plain names. released: the query texts of the released code.
    """

    dataset: tuple[str, ...]
    released: tuple[str, ...]

    def queries(self, names: NameSet) -> tuple[str, ...]:
        """Return the query texts of one name set."""
        choices: Mapping[str, tuple[str, ...]] = {"released": self.released, "dataset": self.dataset}
        return choices[names]


@cache
def read_class_names(stem: str) -> ClassNames:
    """Read labels/<stem>.json."""
    stored = json.loads(files("dataset_adapters").joinpath(f"labels/{stem}.json").read_text("utf-8"))
    texts = {entry["id"]: entry["name"] for entry in [*stored["things"], *stored["stuff"]]}
    return ClassNames(
        dataset=tuple(stored["dataset_names"]),
        released=tuple(texts[class_id] for class_id in range(stored["n_class"])),
    )
