"""User-supplied lists of classes: a text file with one class per line, or a JSON object of names by value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.sample import DatasetError, LabelSpace

IGNORED = 255
"""The mask value that no metric counts."""

MAX_BYTES = 1 << 20
"""Larger files are not lists of at most 255 classes."""

_ABSENT = "-"
_BACKGROUND = "background"
_INDEXED = re.compile(r"(\d+)\s*:(.*)")
_MARKUP = re.compile(r"[<>{}\[\]|]")


@dataclass(frozen=True)
class ListedClass:
    """One class. value: its value in masks, 0..254. names: its name, then its synonyms."""

    value: int
    names: tuple[str, ...]

    @property
    def is_background(self) -> bool:
        """Whether its name is "background"."""
        return self.names[0].casefold() == _BACKGROUND


def read_class_list(path: Path) -> tuple[ListedClass, ...]:
    """Read the classes in the order of their values.

    A text file has one class per line, either only names, which have the values 0, 1, ..., or `value: name`; synonyms
    follow after semicolons. A .json file is an object {"value": "name"}. Raises DatasetError, naming the line, for
    bytes that are not text, blank lines between names without values, markup, repeated names and values, and values
    over 254.
    """
    try:
        with path.open("rb") as stream:
            stored = stream.read(MAX_BYTES + 1)
        text = stored.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: expected a UTF-8 text file of class names, found other bytes") from None
    except OSError as error:
        raise DatasetError(f"{path}: expected a file of class names, found: {error.strerror}") from error
    if len(stored) > MAX_BYTES:
        raise DatasetError(f"{path}: expected a list of classes of at most {MAX_BYTES} bytes, found more")
    if not text.strip():
        raise DatasetError(f"{path}: expected at least one class, found none")
    entries = _json_entries(path, text) if path.suffix.lower() == ".json" else _text_entries(path, text)
    classes = []
    for where, value, written in entries:
        names = tuple(" ".join(name.split()) for name in written.split(";"))
        if not all(names):
            found = repr(written.strip()) if written.strip() else "a blank line"
            raise DatasetError(f"{path}: {where}: expected a class name, synonyms after semicolons, found {found}")
        for name in names:
            if _MARKUP.search(name) or not name.isprintable():
                found = f"markup or control characters in {name[:60]!r}"
                raise DatasetError(f"{path}: {where}: expected plain text, found {found}")
        classes.append(ListedClass(value, names))
    if len(classes) > IGNORED:
        raise DatasetError(f"{path}: expected at most {IGNORED} classes, found {len(classes)}")
    _require_once(path, "value", (str(listed.value) for listed in classes))
    # CLIP lowercases its texts, so names that differ only in case are one query.
    _require_once(path, "name", (name.casefold() for listed in classes for name in listed.names))
    if all(listed.is_background for listed in classes):
        raise DatasetError(f"{path}: expected at least one class besides background, found {len(classes)} classes")
    return tuple(sorted(classes, key=lambda listed: listed.value))


def own_label_space(name: str, classes: Sequence[ListedClass]) -> LabelSpace:
    """Return label 0 (background) and a label for every other class, in order; each name and synonym is a query.

    Background is scored if it is listed. Its name is not a query, but its synonyms are. If it is not listed, its mask
    value is the ignored one.
    """
    ordered = _in_label_order(classes)
    labels = (_BACKGROUND, *(listed.names[0] for listed in ordered if listed and not listed.is_background))
    queries = [
        (query, label)
        for label, listed in enumerate(ordered)
        if listed
        for query in listed.names[listed.is_background :]
    ]
    return LabelSpace(
        name=name,
        labels=labels,
        queries=tuple(query for query, _ in queries),
        query_labels=tuple(label for _, label in queries),
        ignore_label=IGNORED if len(labels) <= IGNORED else 2**16 - 1,
        scored_labels=tuple(label for label, listed in enumerate(ordered) if listed),
        mask_values=tuple(listed.value if listed else IGNORED for listed in ordered),
    )


def format_values(classes: Sequence[ListedClass]) -> str:
    """Return the mask value of each label of `own_label_space`, "-" for a background that is not listed."""
    return " ".join(str(listed.value) if listed else _ABSENT for listed in _in_label_order(classes))


def parse_values(text: str, ignore_label: int) -> dict[int, int]:
    """Return the label of each mask value, given what `format_values` wrote; 255 becomes the ignore label."""
    values = {int(value): label for label, value in enumerate(text.split()) if value != _ABSENT}
    return {**values, IGNORED: ignore_label}


def _in_label_order(classes: Sequence[ListedClass]) -> list[ListedClass | None]:
    """The classes by label: background, or None instead, then the others."""
    background = next((listed for listed in classes if listed.is_background), None)
    return [background, *(listed for listed in classes if not listed.is_background)]


Entry = tuple[str, int, str]
"""Where it is in the file, the value, and the names as written there."""


def _text_entries(path: Path, text: str) -> list[Entry]:
    lines = [(f"line {number}", line.strip()) for number, line in enumerate(text.rstrip().split("\n"), start=1)]
    indexed = [(where, _INDEXED.fullmatch(line)) for where, line in lines if line]
    if not any(match for _, match in indexed):
        return [(where, value, line) for value, (where, line) in enumerate(lines)]
    plain = [where for where, match in indexed if not match]
    if plain:
        raise DatasetError(f"{path}: {plain[0]}: expected `value: name` as in other lines, found no value")
    return [(where, _value(path, where, match[1]), match[2]) for where, match in indexed if match]


def _json_entries(path: Path, text: str) -> list[Entry]:
    try:
        stored = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    except ValueError as error:
        raise DatasetError(f"{path}: expected JSON, found other text: {error}") from error
    # An object is read as a list of pairs, which keeps repeated keys.
    if not isinstance(stored, list) or not all(
        isinstance(pair, tuple) and isinstance(pair[1], str) and pair[0].isdecimal() for pair in stored
    ):
        raise DatasetError(
            f'{path}: expected an object of class names by value, {{"0": "wall", ...}}, found other JSON'
        )
    return [(f"key {key}", _value(path, f"key {key}", key), name) for key, name in stored]


def _value(path: Path, where: str, digits: str) -> int:
    # The length is checked first: Python refuses to convert very long numbers.
    if len(digits) > 3 or int(digits) >= IGNORED:
        raise DatasetError(f"{path}: {where}: expected a value in 0..254 ({IGNORED} is ignored), found {digits[:20]}")
    return int(digits)


def _require_once(path: Path, what: str, found: Iterable[str]) -> None:
    seen: set[str] = set()
    for text in found:
        if text in seen:
            raise DatasetError(f"{path}: expected each {what} once, found {text!r} twice")
        seen.add(text)
