"""Vocabularies (`--names`): the texts of a benchmark's classes and its background words, of a family or from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from dataset_adapters import DatasetError, LabelSpace
from dataset_adapters.base.adapter import Adapter
from dataset_adapters.base.class_names import BACKGROUND
from dataset_adapters.user_data.classes import parse_list, read_list, split_texts
from evaluation.request.benchmark import BenchmarkError
from evaluation.request.options import OWN_NAMES
from support.choices import NameSet
from support.files import expanded
from support.strict_json import identity_of
from support.text import clip_words, counted, did_you_mean, find_twins, shortened, unknown_name

PLAIN = "plain"
"""The family made from the data set itself: its plain names, and "background" where the background is scored."""
_BACKGROUND_KEY = "background"
_FOLDER = resources.files("evaluation") / "vocabularies"


class NoTextsError(DatasetError, BenchmarkError):
    """A vocabulary has nothing for a data set."""


@dataclass(frozen=True)
class Vocabulary:
    """The texts of one benchmark.

    name: the family's, or the file's without its folder. classes: the texts of each class by its name in the label
    space, the first of which is its query. background: the background words; None leaves those of the benchmark.
    is_own: whether the method provides it, so that the benchmark's fields win over what it sets.
    """

    name: str
    classes: Mapping[str, tuple[str, ...]]
    background: tuple[str, ...] | None = None
    is_own: bool = False

    @property
    def sha256(self) -> str:
        """Hash of the texts by class and of the background words, wherever they come from."""
        return identity_of({"classes": self.classes, "background": self.background})

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of methods that it sets, for those methods that have them."""
        several = {texts[0]: texts for texts in self.classes.values() if len(texts) > 1}
        return {"synonyms": several} | ({} if self.background is None else {"background": self.background})

    def label_space(self, space: LabelSpace) -> LabelSpace:
        """The label space with one query per class, in its order. Raises BenchmarkError for a class without texts."""
        order = _classes_of(space)
        if missing := [space.labels[label] for label in order if space.labels[label] not in self.classes]:
            raise BenchmarkError(f"names {self.name}: expected texts of {missing[0]}, found none")
        is_stuff = dict(zip(space.query_labels, space.stuff_queries, strict=False))
        return replace(
            space,
            queries=tuple(self.classes[space.labels[label]][0] for label in order),
            query_labels=tuple(order),
            stuff_queries=tuple(is_stuff[label] for label in order) if is_stuff else (),
        )


def family_names() -> list[str]:
    """All families, by name."""
    files = (entry.name for entry in _FOLDER.iterdir())
    return sorted([PLAIN, *(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))])


def find_vocabulary(name: str, adapter: Adapter) -> Vocabulary:
    """The vocabulary of a family or a file for the classes of a data set.

    The file is YAML: ``class: text; text`` lines, classes by their names in the data set or by the released query
    texts, and ``background: word; word``; or several of these under the names of the data sets that they are for.
    Background words count only where the background is scored.
    One of these may be the name of a family whose texts they are.
    Raises BenchmarkError for an unknown name, with near matches; NoTextsError for a data set without classes, or that
    the file has none for; DatasetError for a file that says something else, and for unknown, repeated and missing
    classes, naming file and class.
    """
    space, data_set = adapter.label_space("dataset"), adapter.name.partition("/")[0]
    classes = [space.labels[label] for label in _classes_of(space)]
    if not classes:
        expected = f"{' or '.join(get_args(NameSet))} for {data_set}, whose samples have their own texts"
        raise NoTextsError(f"names: expected {expected}, found {name!r}")
    scores_background = BACKGROUND in space.scored_labels and space.labels[BACKGROUND] not in classes
    if name == PLAIN:
        plain = {each: (each,) for each in classes}
        return Vocabulary(name, plain, (_BACKGROUND_KEY,) if scores_background else None)
    if name in family_names():
        path = Path(str(_FOLDER.joinpath(f"{name}.yaml")))
    elif Path(name).suffix or os.sep in name or expanded(name).exists():
        path = expanded(name)
    elif "," in name:
        raise BenchmarkError(f"names: expected one family or file, found {name!r}; several: car sweep --names")
    else:
        raise BenchmarkError(unknown_name("names", name, [OWN_NAMES, *get_args(NameSet), *family_names()]))
    stored, families = parse_list(path, read_list(path), "YAML"), family_names()
    parts = stored.values() if isinstance(stored, dict) else ()
    grouped = [isinstance(part, dict) for part in parts]
    if any(grouped) and all(is_group or part in families for is_group, part in zip(grouped, parts, strict=True)):
        own = [value for key, value in stored.items() if data_set in str(key).split()]
        if len(own) != 1:
            texts = f"{len(own)} such parts" if own else f"texts for {', '.join(' '.join(stored).split())}"
            error = DatasetError if own else NoTextsError
            raise error(f"names: {name}: expected texts for {data_set}, found {shortened(texts, 200)}")
        [stored] = own
    if stored in families:
        return replace(find_vocabulary(stored, adapter), name=Path(name).name)
    released = adapter.label_space("released")
    known = {
        text.casefold(): space.labels[label]
        for text, label in zip(released.queries, released.query_labels, strict=True)
        if space.labels[label] in classes
    } | {each.casefold(): each for each in classes}
    found = _texts(stored, path, data_set, known)
    if missing := [each for each in classes if each not in found]:
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        of_all = counted(len(classes), "class", "classes")
        raise DatasetError(f"{path}: expected texts of all {of_all} of {data_set}, found none of {listed}")
    background = found.pop(_BACKGROUND_KEY, None)
    return Vocabulary(
        Path(name).name, {each: found[each] for each in classes}, background if scores_background else None
    )


def _texts(stored: Any, path: Path, data_set: str, known: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The texts of each class and, as "background", the background words, of a part of a file.

    known: classes of the label space, by their names and released query texts, lowercase. Raises DatasetError as
    `find_vocabulary`.
    """
    if not isinstance(stored, dict):
        raise DatasetError(f"{path}: expected `class: text; text` in every line, found {shortened(str(stored))!r}")
    texts: dict[str, tuple[str, ...]] = {}
    for key, value in stored.items():
        each = _BACKGROUND_KEY if key == _BACKGROUND_KEY else known.get(" ".join(key.split()).casefold())
        if each is None:
            near = did_you_mean(key, known)
            raise DatasetError(f"{path}: expected a class of {data_set} or background, found {shortened(key)!r}{near}")
        if each in texts:
            raise DatasetError(f"{path}: {key}: expected each class once, found {each} again")
        if value == [] and each == _BACKGROUND_KEY:
            texts[each] = ()
            continue
        written = value if isinstance(value, list) else [value]
        if not written or not all(isinstance(text, str) for text in written):
            found = shortened(str(value))
            raise DatasetError(
                f"{path}: {key}: expected a text, or several with semicolons or as a list, found {found}"
            )
        texts[each] = split_texts(path, key, ";".join(written))
        if blank := [text for text in texts[each] if not clip_words(text)]:
            raise DatasetError(f"{path}: {key}: expected texts, found {blank[0]!r}, which is blank to CLIP")
    for group in ([_BACKGROUND_KEY], [each for each in texts if each != _BACKGROUND_KEY]):
        listed = [(each, text) for each in group for text in texts.get(each, ())]
        if twins := find_twins(text for _, text in listed):
            (first, text), (second, again) = (listed[index] for index in twins)
            same = "" if text == again else f", which CLIP reads as {text!r}"
            of_other = f" of {first}" if first != second else ""
            raise DatasetError(f"{path}: {second}: expected each text once, found {again!r} again{of_other}{same}")
    return texts


def _classes_of(space: LabelSpace) -> list[int]:
    """The labels that queries stand for, in order, without the background."""
    has_background = bool(space.labels) and space.labels[BACKGROUND] == _BACKGROUND_KEY
    return [label for label in dict.fromkeys(space.query_labels) if not (has_background and label == BACKGROUND)]
