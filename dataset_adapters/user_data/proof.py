"""Whether a list of classes fits the masks: the values of both are compared before any work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from dataset_adapters.base.adapter import Row
from dataset_adapters.base.dataset import Dataset
from dataset_adapters.base.index import open_index
from dataset_adapters.errors import DatasetError
from dataset_adapters.formats.images import ImageFileError
from dataset_adapters.user_data.classes import ClassList
from dataset_adapters.user_data.masks import UserDataAdapter
from support.files import write_atomically
from support.text import counted

MOST_MASKS = 1000
"""More masks are not read for the comparison, but as many, evenly spread."""
_MOST_NAMED = 12
_Item = TypeVar("_Item")


@dataclass
class _Seen:
    """n_masks: by value, the masks that hold it. first: the first of them. broken: masks that cannot be read."""

    n_masks: Counter[int] = field(default_factory=Counter)
    first: dict[int, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    n_fit: int = 0


def prove(dataset: Dataset, most: int = MOST_MASKS) -> list[str]:
    """Compare the masks of user-supplied data with their list of classes; as `prove_rows`. None for other data sets.

    What was seen is kept next to the index of the data set, so that it is read once. most: masks that are read.
    """
    adapter = dataset.adapter
    if not isinstance(adapter, UserDataAdapter):
        return []
    listed, selected, index = adapter.read_classes(), dataset.selection, open_index(dataset.index_path)
    chosen = spread(selected, most)
    name = f"{dataset.fingerprint}-{selected.start}-{selected.stop}-{selected.step}-{len(chosen)}.json"
    kept = dataset.index_path.parent.with_name("mask-values") / name
    seen = None
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(kept.read_bytes())
        counts, first = ({int(value): entry for value, entry in stored[key].items()} for key in ("n_masks", "first"))
        seen = _Seen(Counter(counts), first, n_fit=stored["n_fit"])
    if seen is None:
        seen = _look(adapter, listed, dataset.root, index.take(list(chosen)).to_pylist())
        if not seen.broken:  # a later run may have another limit on pixels
            with suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(kept, json.dumps(vars(seen)), synced=False)
    return _judge(listed, seen, len(chosen), len(selected), whole=len(selected) == len(index))


def prove_rows(adapter: UserDataAdapter, root: Path, rows: Sequence[Row]) -> list[str]:
    """Say how the list of classes was read, which values masks hold, and which classes and values do not fit.

    At most `MOST_MASKS` masks are read. Raises DatasetError where all were read and none of them has a pixel of a class
    besides background, or none has only values that are known.
    """
    listed, chosen = adapter.read_classes(), spread(rows, MOST_MASKS)
    return _judge(listed, _look(adapter, listed, root, chosen), len(chosen), len(rows), whole=True)


def spread(items: Sequence[_Item], n: int | None) -> Sequence[_Item]:
    """Return `n` of the items, evenly spread from the first to the last; all for None."""
    if n is None or n >= len(items):
        return items
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, n)] if n else []


def _look(adapter: UserDataAdapter, listed: ClassList, root: Path, rows: Iterable[Row]) -> _Seen:
    seen, known = _Seen(), {listed.ignored, *(each.value for each in listed.classes)}
    for row in rows:
        try:
            values = np.flatnonzero(np.bincount(adapter.read_mask(root, row).ravel())).tolist()
        except ImageFileError as error:
            seen.broken.append(f"{row['id']}: {error.reason}")
            continue
        seen.n_masks.update(values)
        for value in values:
            seen.first.setdefault(value, row["id"])
        seen.n_fit += known.issuperset(values)
    return seen


def _judge(listed: ClassList, seen: _Seen, n_read: int, n_all: int, *, whole: bool) -> list[str]:
    names = {each.value: each.names[0] for each in listed.classes}
    foreground = {each.value for each in listed.classes if not each.is_background}
    scope = f"{n_read} of {n_all} masks" if n_read < n_all else f"the {n_all} masks" if n_all > 1 else "the only mask"
    found = sorted(seen.n_masks)
    shown = _named(
        f"{value} {names.get(value, 'ignored' if value == listed.ignored else 'unlisted')}" for value in found
    )
    unlisted = [value for value in found if value not in names and value != listed.ignored]
    hint = ""
    least = next((value for value in found if value != listed.ignored), None)
    if least == 1 and 0 in names and listed.in_order and len(names) == len(foreground):
        hint = "; if the first class is 1 in the masks, list background before it"
    if least == 0 and len(names) == len(foreground) and (listed.in_order or 0 in unlisted):
        instead = (
            "put `background` on the first line"
            if listed.in_order
            else "list `0: background`, or pass --ignore-value 0"
        )
        hint = f"; if 0 means background, {instead}"
    if whole and n_read == n_all:
        if len(seen.broken) == n_all:
            raise DatasetError(
                f"masks: expected label maps that can be read, found none in {scope}, first that of {seen.broken[0]}"
            )
        name = next((names[value] for value in sorted(foreground) if value not in found), "name")
        stray = next((value for value in found if value and value not in names), None)
        base = "".join(f"`{each.value}: {each.names[0]}`, " for each in listed.classes if each.is_background)
        advice = "" if stray is None else f"; to score {stray}, write the list with values: {base}`{stray}: {name}`"
        if not seen.n_fit:
            n_seen = n_all - len(seen.broken)
            where = f"all {n_seen} masks" if n_seen > 1 else "the only mask"
            where += " that can be read" if seen.broken else ""
            raise DatasetError(f"{listed.path}: values that no class has are in {where}: {shown}{hint or advice}")
        if not foreground & {*found}:
            raise DatasetError(
                f"{listed.path}: expected masks with a pixel of a class, such as {name}, found only the values {shown} "
                f"in {scope}{advice}"
            )
    lines = [
        f"{listed.path}: read as {listed.form}: {counted(len(names), 'class', 'classes')}",
        *listed.notices,
        f"values in {scope}: {shown}{hint}",
    ]
    absent = [f"{name} ({value})" for value, name in names.items() if value not in seen.n_masks]
    if absent:
        lines.append(
            f"no pixel of {_named(absent)} in {scope}; in miou such a class counts as 0 if it is predicted anywhere"
        )
    if unlisted:
        strays = (f"{value} ({counted(seen.n_masks[value], 'mask')}, first {seen.first[value]})" for value in unlisted)
        lines.append(f"no class has the value {_named(strays)}: such a mask is a failed sample")
    if listed.ignored not in (None, 255, *found):
        lines.append(f"the ignored value {listed.ignored} is in none of {scope}")
    if seen.broken:
        lines.append(f"{len(seen.broken)} of {scope} cannot be read, first that of {seen.broken[0]}")
    return lines


def _named(items: Iterable[str]) -> str:
    texts = list(items)
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(texts[:_MOST_NAMED]) + more
