"""Class names and query texts, as stored in labels/*.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dataset_adapters.base.sample import LabelSpace, NameSet

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

    def queries(self, names: NameSet) -> tuple[str, ...]:
        """Return the query texts of one name set, indexed by class id."""
        return self.released if names == "released" else self.dataset

    def label_space(self, name: str, names: NameSet, *, ignore_label: int, scores_background: bool) -> LabelSpace:
        """Return labels 0 (background) and class id + 1, one query per class: things first, then stuff.

        scores_background: whether background enters the mean.
        """
        order = (*self.things, *self.stuff)
        texts = self.queries(names)
        class_labels = tuple(range(1, len(self.dataset) + 1))
        return LabelSpace(
            name=name,
            labels=("background", *self.dataset),
            queries=tuple(texts[class_id] for class_id in order),
            query_labels=tuple(class_id + 1 for class_id in order),
            ignore_label=ignore_label,
            scored_labels=(BACKGROUND, *class_labels) if scores_background else class_labels,
            stuff_queries=tuple(class_id in self.stuff for class_id in order) if self.stuff else (),
        )


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
