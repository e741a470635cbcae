"""Class names and query texts, as stored in labels/*.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

BACKGROUND = 0
"""The label of background, in every label space with background."""


@dataclass(frozen=True)
class ClassNames:
    """The classes of a data set without background, by zero-based class id.

    dataset: the data set's plain names, indexed by class id. released: the query texts of the released code,
    also by class id. things, stuff: class ids in the order in which the released code queries them.
    """

    dataset: tuple[str, ...]
    released: tuple[str, ...]
    things: tuple[int, ...]
    stuff: tuple[int, ...]


@cache
def read_class_names(stem: str) -> ClassNames:
    """Read labels/<stem>.json."""
    stored = json.loads(files("dataset_adapters").joinpath(f"labels/{stem}.json").read_text("utf-8"))
    texts = {entry["id"]: entry["name"] for entry in [*stored["things"], *stored["stuff"]]}
    return ClassNames(
        dataset=tuple(stored["dataset_names"]),
        released=tuple(texts[class_id] for class_id in range(len(texts))),
        things=tuple(entry["id"] for entry in stored["things"]),
        stuff=tuple(entry["id"] for entry in stored["stuff"]),
    )
