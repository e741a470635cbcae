"""User-supplied lists of classes, in the forms that annotation tools and people write."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from dataset_adapters.base.adapter import Row
from dataset_adapters.base.sample import LabelSpace
from dataset_adapters.errors import DatasetError
from support import strict_yaml
from support.files import open_regular, what_is_there
from support.text import counted, unwrapped

IGNORED = 255
"""The mask value that no metric counts, unless another one is asked for or 255 is a class."""
MAX_VALUE = 255

MAX_BYTES = 1 << 20
"""Larger files are not lists of at most 255 classes."""

MAX_LINE = 10_000
"""Characters of the longest line of a text list."""

Color: TypeAlias = tuple[int, int, int]

_ABSENT = "-"
_NONE = "none"
_BACKGROUND = "background"
_LABELME_IGNORED = "__ignore__"
_NOTHING = {_LABELME_IGNORED, "ignore", "ignored", "void", "unlabeled", "unlabelled"}
"""Names of what is not a class."""
_MARKUP = re.compile(r'[<>{}\[\]|"\t]|[\s,;]#|^[#*:=.,/-]|^\(?\'|[,:=]$')

# The possible forms of a line; the first form that all lines have is taken.
_RGB = r"(?P<color>\d+[\s,]+\d+[\s,]+\d+|#[0-9a-fA-F]{6})(?:[\s,]+\d+)?"  # an alpha value is dropped
_WORD = r"(?!\d+(?:[\s,;:]|$))"  # a name that begins with a number may be a column that is not understood
_FORMS = {
    "a label map of CVAT": r"(?P<name>[^:]+):(?P<color>\d+,\d+,\d+)?:[^:]*:[^:]*",
    "`value: name r,g,b`": rf"(?P<value>-?\d+)\s*[:=]\s*(?P<name>.+?)[\s,:;]+{_RGB}",
    "`value: name`": r"(?P<value>-?\d+)\s*[:=]\s*(?P<name>.*)",
    "`r g b name`": rf"{_RGB}[\s,:;]+(?P<name>\D.*)",
    "`value name r g b`": rf"(?P<value>-?\d+)[\s,;]+(?P<name>{_WORD}.+?)[\s,:;]+{_RGB}",
    "`value,name` (or semicolon, or tab)": rf"(?P<value>-?\d+) *(?P<mark>[,;\t]) *(?P<name>{_WORD}(?:(?!(?P=mark)).)*)",
    "`value name`": rf"(?P<value>-?\d+)[.)]?\s+(?P<name>{_WORD}[^\t]*)",
    "`name r g b`": rf"(?P<name>.*?[^\d\s,:;])[\s,:;]+{_RGB}",
    "`name: value`": r"(?P<name>.*[^\s,:;=])\s*[:=,;\t]\s*(?P<value>-?\d+)",
}
_AMBIGUOUS = re.compile(r"-?\d+\s*([\s,;:=]|$)")
_NAME_AND_NUMBER = re.compile(r"(.*\D)\s+\d+")
# The first line of YAML that is a list of names or has one under a key.
_YAML = re.compile(r"---|- .*|(names|classes|categories|labels)\s*:.*")

# Columns of tables and fields of JSON and YAML.
_NAME_FIELDS = ("name", "class name", "classname", "label name", "category name", "class", "label", "category")
_NAME_ALONE = {*_NAME_FIELDS[:5], "names", "class", "classes", "labels"}
_VALUE_FIELDS = ("value", "pixel value", "id", "index", "idx", "class id", "classid", "label id", "category id")
_COLOR_FIELDS = ("color", "colour", "color rgb", "rgb", "hex", "palette")  # codespell:ignore colour
_CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))
_TRAIN_IDS = ("train id", "trainid")  # the values of masks only where there are no others
_OTHER_FIELDS = {"supercategory", "count", "isthing", "attributes", *_TRAIN_IDS, *chain(*_CHANNELS)}
_LISTS = ("names", "classes", "categories", "labels", "id2label")


@dataclass(frozen=True)
class ListedClass:
    """One class. value: its value in masks, 0..255. names: its name, then its synonyms."""

    value: int
    names: tuple[str, ...]

    @property
    def is_background(self) -> bool:
        return self.names[0].casefold() == _BACKGROUND


@dataclass(frozen=True)
class ClassList:
    """The classes in the order of their values.

    form: what the file was recognized as. in_order: whether values follow only from the order. ignored: the mask value
    that no metric counts; None for none. colors: the color of each value in color masks; empty if the file has none.
    notices: what was decided about the ignored value.
    """

    path: Path
    form: str
    classes: tuple[ListedClass, ...]
    in_order: bool
    ignored: int | None
    colors: Mapping[int, Color]
    notices: tuple[str, ...]

    @property
    def nothing(self) -> int:
        """What a saved prediction holds where nothing was found, if background is not listed: no class has it."""
        taken = {listed.value for listed in self.classes}
        return self.ignored if self.ignored is not None else max({*range(MAX_VALUE + 1)} - taken)

    @property
    def in_label_order(self) -> list[ListedClass | None]:
        """The classes by label: background, or None instead, then the others."""
        background = next((listed for listed in self.classes if listed.is_background), None)
        return [background, *(listed for listed in self.classes if not listed.is_background)]

    @property
    def columns(self) -> dict[str, str]:
        """What rows say about their masks: values by label, and, if not as usual, the ignored value and colors."""
        shown = [str(listed.value) if listed else _ABSENT for listed in self.in_label_order]
        found = {"values": " ".join(shown)}
        if self.ignored != IGNORED:
            found["ignored"] = _NONE if self.ignored is None else str(self.ignored)
        if self.colors:
            found["colors"] = " ".join(f"{value}:{r},{g},{b}" for value, (r, g, b) in sorted(self.colors.items()))
        return found

    def label_space(self, name: str) -> LabelSpace:
        """Return label 0 (background) and a label for every other class, in order; each name and synonym is a query.

        Background is scored if it is listed. Its name is not a query, but its synonyms are. If it is not listed, its
        mask value is the ignored one, or one that no class has.
        """
        ordered = self.in_label_order
        labels = (_BACKGROUND, *(each.names[0] for each in ordered if each and not each.is_background))
        queries = [
            (query, label) for label, each in enumerate(ordered) if each for query in each.names[each.is_background :]
        ]
        return LabelSpace(
            name=name,
            labels=labels,
            queries=tuple(query for query, _ in queries),
            query_labels=tuple(label for _, label in queries),
            ignore_label=IGNORED if len(labels) <= IGNORED else 2**16 - 1,
            scored_labels=tuple(label for label, each in enumerate(ordered) if each),
            mask_values=tuple(each.value if each else self.nothing for each in ordered),
        )


def labels_of_values(row: Row, ignore_label: int) -> dict[int, int]:
    """The label of each mask value, given `ClassList.columns`; the ignored value becomes the ignore label."""
    values = {int(value): label for label, value in enumerate(row["values"].split()) if value != _ABSENT}
    ignored = ignored_value(row)
    return values if ignored is None else {**values, ignored: ignore_label}


def ignored_value(row: Row) -> int | None:
    """The ignored mask value, given `ClassList.columns`; None for none."""
    return parse_ignore_value(row.get("ignored", str(IGNORED)))


def parse_ignore_value(text: str) -> int | None:
    """The value of the option: a mask value, or None for "none". Raises DatasetError."""
    if text == _NONE:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= MAX_VALUE):
        raise DatasetError(f"ignore_value: expected a mask value in 0..{MAX_VALUE}, or none, found {text[:60]!r}")
    return int(text)


def read_class_list(path: Path, ignore_value: str = "") -> ClassList:
    """Read the classes.

    A text file has one class per line: only names, which have the values 0, 1, ..., or `value: name` and what tools
    write (see `_FORMS`), or a table with a header; lines that begin with # are comments. JSON and YAML hold names,
    values and names, or objects with these fields. Synonyms follow after semicolons.
    ignore_value: as `parse_ignore_value` reads it; empty for 255, unless that is a class. A listed class that has the
    ignored value is left out.
    Raises DatasetError, naming the line and what is expected there, for what is ambiguous, bytes that are not text,
    markup, repeated names, values and colors, and values over 255.
    """
    ignored = parse_ignore_value(ignore_value) if ignore_value else IGNORED
    form, entries = _read_entries(path, read_list(path))
    if entries and entries[0].value is None and _cleaned(entries[0].name) == _LABELME_IGNORED:
        # labelme numbers from -1, which its 8-bit masks store as 255.
        form, entries = f"labels of labelme ({_LABELME_IGNORED} for {IGNORED})", entries[1:]
    in_order = any(entry.value is None for entry in entries)
    form += ", numbered from 0" if in_order else ""
    classes, colors = [], {}
    where_of: dict[tuple[str, str], str] = {}
    for place, (where, value, written, color) in enumerate(entries):
        value = place if value is None else value
        names = split_texts(path, where, written)
        for name in names:
            if name.isdigit():
                raise DatasetError(f"{path}: {where}: expected a name or `value: name`, found the number {name}")
            if name == _LABELME_IGNORED and value != IGNORED:
                raise DatasetError(
                    f"{path}: {where}: expected {_LABELME_IGNORED} in the first of lines without values, as labelme "
                    f"writes it, or for {IGNORED}; found it for {value} (see --ignore-value)"
                )
        classes.append(ListedClass(value, names))
        for kind, text in (("value", str(value)), *(("name", name.casefold()) for name in names)):
            # CLIP lowercases its texts, so names that differ only in case are one query.
            other = where_of.setdefault((kind, text), where)
            if other != where or (kind == "name" and sum(name.casefold() == text for name in names) > 1):
                raise DatasetError(f"{path}: expected each {kind} once, found {text!r} twice: {other} and {where}")
        if color is not None:
            colors[value] = color
    listed = next((each for each in classes if each.value == ignored), None)
    kept = [each for each in classes if each is not listed]
    notices = [
        f"{path}: {each.names[0]} is a query like any other; --ignore-value {each.value} leaves it out"
        for each in kept
        if each.names[0].casefold() in _NOTHING
    ]
    if listed and not ignore_value and listed.names[0].casefold() not in _NOTHING:
        ignored, kept = None, classes
        notices.append(
            f"{path}: {IGNORED} is the class {listed.names[0]}, so no mask value is ignored (see --ignore-value)"
        )
    elif listed:
        name = listed.names[0]
        notices.append(
            f"{path}: {name} has the ignored value {ignored}: it is not a query, and its pixels do not count"
        )
    if len(kept) > MAX_VALUE:
        raise DatasetError(f"{path}: expected at most {MAX_VALUE} classes, found {len(kept)}")
    if all(listed.is_background for listed in kept):
        left_out = "".join(f" and {listed.names[0]}, which is ignored" for listed in classes if listed not in kept)
        found = counted(len(kept), "class", "classes") + left_out
        raise DatasetError(f"{path}: expected at least one class besides background, found {found}")
    distinct = len(set(colors.values())) == len(colors) == len(classes)  # else colors are no more than decoration
    ordered = tuple(sorted(kept, key=lambda listed: listed.value))
    return ClassList(path, form, ordered, in_order, ignored, colors if distinct else {}, tuple(notices))


def split_texts(path: Path, where: str, written: str) -> tuple[str, ...]:
    """A name and its synonyms, which semicolons separate. Raises DatasetError for a blank one and for markup."""
    names = tuple(_cleaned(name) for name in written.split(";"))
    if not all(names):
        found = repr(written.strip()) if written.strip() else "a blank line"
        raise DatasetError(f"{path}: {where}: expected a class name, synonyms after semicolons, found {found}")
    for name in names:
        if _MARKUP.search(name) or not name.isprintable():
            found = f"markup or control characters or a comment in {name[:60]!r}"
            raise DatasetError(f"{path}: {where}: expected plain text, found {found}")
    return names


class _Entry(NamedTuple):
    where: str
    value: int | None
    name: str
    color: Color | None = None


def _cleaned(name: str) -> str:
    """With single blanks, and the background of labelme and torchvision (`_background_`) by its name."""
    bare = re.sub("[ \u00a0]+", " ", name).strip(" ")
    return _BACKGROUND if bare.strip("_").casefold() == _BACKGROUND else bare


def read_list(path: Path) -> str:
    """The text of a file of class names, UTF-8 or marked UTF-16. Raises DatasetError, also for an empty one."""
    try:
        with open_regular(path) as stream:
            stored = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"{path}: expected a file of class names, found {what_is_there(error)}") from error
    if len(stored) > MAX_BYTES:
        raise DatasetError(f"{path}: expected a list of classes of at most {MAX_BYTES} bytes, found more")
    marked = stored.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell and Notepad write
    try:
        text = stored.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = stored[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{path}: line {line}: expected a UTF-8 text file of class names, found other bytes; save it as UTF-8"
        ) from None
    if not text.strip():
        raise DatasetError(f"{path}: expected at least one class, found none")
    return text


def _read_entries(path: Path, text: str) -> tuple[str, list[_Entry]]:
    """What the text was recognized as, and its entries."""
    suffix = path.suffix.lower()
    numbered = enumerate(re.split(r"\r\n|\r|\n", text.rstrip()), start=1)
    written = [(f"line {number}", line.strip(" \t")) for number, line in numbered]
    lines = [(where, line) for where, line in written if not re.match(r"#(?![0-9a-fA-F]{6}[\s,;])", line)]
    filled = [(where, line) for where, line in lines if line]
    if not filled:
        raise DatasetError(f"{path}: expected at least one class, found only comments")
    first = filled[0][1]
    if suffix == ".json" or first[0] in "[{":
        return "JSON", _nested_entries(path, parse_list(path, text, "JSON"))
    if suffix in (".yaml", ".yml") or _YAML.fullmatch(first):
        return "YAML", _nested_entries(path, parse_list(path, text, "YAML"))
    longest, line = max(filled, key=lambda item: len(item[1]))
    if len(line) > MAX_LINE:
        raise DatasetError(f"{path}: {longest}: expected at most {MAX_LINE} characters, found {len(line)}")
    table = _table_entries(path, filled)
    if table:
        return table
    for form, pattern in _FORMS.items():
        matches = [(where, re.fullmatch(pattern, line)) for where, line in filled]
        if all(match for _, match in matches):
            found = [(where, match.groupdict()) for where, match in matches if match]
            return form, [_entry(path, where, own["name"], own.get("value"), own.get("color")) for where, own in found]
    for form, pattern in _FORMS.items():
        others = [(where, line) for where, line in filled if not re.fullmatch(pattern, line)]
        if len(others) <= len(filled) / 2:
            where, line = others[0]
            raise DatasetError(f"{path}: {where}: expected {form} as in other lines, found {line[:60]!r}")
    all_begin_with_digits = len(filled) > 1 and all(line[0].isdigit() for _, line in filled)
    for where, line in filled:
        if all_begin_with_digits or _AMBIGUOUS.match(line):
            raise DatasetError(f"{path}: {where}: expected a name, or `value: name` in every line, found {line[:60]!r}")
    if len(filled) == 1 and "," in first:
        raise DatasetError(f"{path}: {filled[0][0]}: expected one class per line, found commas in {first[:60]!r}")
    behind = [_NAME_AND_NUMBER.fullmatch(line) for _, line in filled]
    if len(behind) > 1 and all(behind) and len({match[1] for match in behind if match}) == len(behind):
        where, line = filled[0]
        raise DatasetError(
            f"{path}: {where}: expected `value: name`, found a number after the name in every line: {line[:60]!r}"
        )
    n_comments = len(written) - len(lines)
    left_out = f" ({counted(n_comments, 'line')} with # left out)" if n_comments else ""
    return f"names{left_out}", [_Entry(where, None, line) for where, line in lines]


def _table_entries(path: Path, lines: list[tuple[str, str]]) -> tuple[str, list[_Entry]] | None:
    """Entries of a table whose header names its columns; None for what has no such header."""
    header = lines[0][1]
    delimiter = max(",;\t", key=header.count)
    fields = [_field(cell.strip(' "')) for cell in header.split(delimiter)]
    known = {*_NAME_FIELDS, *_VALUE_FIELDS, *_COLOR_FIELDS, *_OTHER_FIELDS} & {*fields}
    if not (fields[0] in _NAME_ALONE if len(fields) == 1 else len(known) > 1 and {*_NAME_FIELDS} & known):
        return None
    entries = []
    for where, line in lines[1:]:
        row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        if len(row) != len(fields):
            raise DatasetError(f"{path}: {where}: expected {len(fields)} cells as in the header, found {len(row)}")
        entries.append(_object_entry(path, where, dict(zip(fields, row, strict=True))))
    return f"a table with the columns {', '.join(fields)}", entries


def _field(text: object) -> str:
    return re.sub(r"[_\-\s]+", " ", str(text)).strip().casefold()


def _object_entry(path: Path, where: str, fields: Mapping[str, Any], key: object = None) -> _Entry:
    """The entry of an object or a table's row. key: its value, if it stands outside the object."""

    def is_number(value: object) -> bool:
        return isinstance(value, int) or (isinstance(value, str) and value.strip().isdigit())

    named = [name for name in _NAME_FIELDS if name in fields]
    names = [name for name in named if not is_number(fields[name])]
    values = [name for name in (*_VALUE_FIELDS, *named) if name in fields and name not in names]
    if not names or len(values) + (key is not None) > 1:
        expected = "one column or field of names and at most one of values"
        raise DatasetError(f"{path}: {where}: expected {expected}, found {', '.join(fields)[:100]}")
    if not values and key is None:
        values = [name for name in _TRAIN_IDS if name in fields]
    value = fields[values[0]] if values else key
    for name in fields.keys() - {*_COLOR_FIELDS, *_OTHER_FIELDS} if value is None else ():
        if is_number(fields[name]):
            raise DatasetError(f"{path}: {where}: expected values in a column or field `value`, found them in {name!r}")
    color = next((fields[name] for name in _COLOR_FIELDS if name in fields), None)
    channels = next((found for found in _CHANNELS if fields.keys() >= {*found}), ())
    if channels:
        color = ",".join(str(fields[channel]) for channel in channels)
    if not isinstance(fields[names[0]], str):
        raise DatasetError(f"{path}: {where}: expected a name, found {str(fields[names[0]])[:60]}")
    return _entry(path, where, fields[names[0]], value, color)


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} twice")
        found[key] = value
    return found


def parse_list(path: Path, text: str, language: str) -> Any:
    """The value of JSON or YAML from strangers. Raises DatasetError."""
    try:
        if language == "JSON":
            return json.loads(text.lstrip("\ufeff"), object_pairs_hook=_once)
        return strict_yaml.loads(text, integer_keys=True)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected {language}, found other text: {unwrapped(error)}") from error


def _nested_entries(path: Path, stored: Any) -> list[_Entry]:
    """Entries of a list of names or objects, an object by value or by name, or one of these under a usual key."""
    if isinstance(stored, dict):
        inner = [key for key in _LISTS if isinstance(stored.get(key), (dict, list))]
        if len(inner) == 1:
            return _nested_entries(path, stored[inner[0]])
        keyed = [(f"key {key}", key, entry) for key, entry in stored.items()]
        if keyed and not inner:
            if all(str(key).isdecimal() and isinstance(entry, (str, dict)) for _, key, entry in keyed):
                return [_nested_entry(path, where, entry, key) for where, key, entry in keyed]
            if all(isinstance(key, str) and type(entry) is int for _, key, entry in keyed):
                return [_entry(path, where, key, entry) for where, key, entry in keyed]
            if all(isinstance(key, str) and isinstance(entry, list) for _, key, entry in keyed):
                return [_entry(path, where, key, color=entry) for where, key, entry in keyed]
    elif isinstance(stored, list) and stored and all(isinstance(entry, (str, dict)) for entry in stored):
        entries = [_nested_entry(path, f"item {n}", entry) for n, entry in enumerate(stored, start=1)]
        if len({entry.value is None for entry in entries}) == 1:
            return entries
    expected = 'a list of names, an object {"0": "wall", ...} or a list of objects {"id": 0, "name": "wall"}'
    raise DatasetError(f"{path}: expected {expected}, found {type(stored).__name__}: {str(stored)[:60]}")


def _nested_entry(path: Path, where: str, entry: str | dict[Any, Any], key: object = None) -> _Entry:
    if isinstance(entry, dict):
        return _object_entry(path, where, {_field(name): value for name, value in entry.items()}, key)
    return _entry(path, where, entry, key)


def _entry(path: Path, where: str, name: str, value: object = None, color: object = None) -> _Entry:
    """The entry with its value and color as written. Raises DatasetError for others than those of 8-bit files."""
    number = rgb = None
    if value is not None:
        digits = str(value).strip()
        # The length is checked first: Python refuses to convert very long numbers.
        if not digits.isdecimal() or len(digits) > 3 or int(digits) > MAX_VALUE:
            raise DatasetError(f"{path}: {where}: expected a value in 0..{MAX_VALUE}, found {digits[:20]}")
        number = int(digits)
    if color is not None and color != "":
        text = str(color).strip().strip("()[]")
        parts = re.split(r"[\s,;]+", text)
        if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
            parts = [str(channel) for channel in bytes.fromhex(text.lstrip("#"))]
        fits = all(part.isdecimal() and len(part) < 4 and int(part) < 256 for part in parts)
        if len(parts) not in (3, 4) or not fits:
            raise DatasetError(f"{path}: {where}: expected a color r,g,b of 0..255, found {text[:40]!r}")
        rgb = int(parts[0]), int(parts[1]), int(parts[2])
    return _Entry(where, number, name, rgb)
