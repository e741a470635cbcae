"""Reading annotation files in JSON: every field is checked, and errors name file, entry and field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from dataset_adapters.errors import DatasetError
from dataset_adapters.formats.images import max_pixels
from support.files import read_regular
from support.text import visible

_MOST_BYTES = 2**32  # the largest annotation files have about one gigabyte
_INTEGER_TEXT = re.compile(r"-?[0-9]{1,18}")


def read_json(path: Path, otherwise: str | None = None) -> Any:
    """Parse a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    otherwise: the encoding of a file that is in none of these. Raises DatasetError if it is not JSON, OSError if it
    cannot be read.
    """
    content = read_regular(path, most=_MOST_BYTES)
    try:
        try:
            return json.loads(content)
        except UnicodeDecodeError:
            if otherwise is None:
                raise
            return json.loads(content.decode(otherwise))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected JSON, found other text: {error}") from error


def read_field(path: Path, where: str, entry: Any, field: str, kind: type | tuple[type, ...]) -> Any:
    """Return a field of `entry`. Raises DatasetError unless `entry` is a dict that has it, of that type."""
    if not isinstance(entry, dict):
        raise DatasetError(f"{path}: {where}: expected a dict, found {type(entry).__name__}")
    value = entry.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        found = type(value).__name__ if field in entry else "nothing"
        raise DatasetError(f"{path}: {where}: {field}: expected {kinds}, found {found}")
    return value


def read_integer(path: Path, where: str, entry: Any, field: str) -> int:
    """As `read_field`, for an integer that may be written as text or with a zero fraction, as some exporters do."""
    value = entry.get(field) if isinstance(entry, dict) else read_field(path, where, entry, field, int)
    number = as_integer(value)
    if number is None:
        found = "null" if value is None else f"the text {value[:40]!r}" if isinstance(value, str) else repr(value)[:40]
        found = found if field in entry else "nothing"
        raise DatasetError(f"{path}: {where}: {field}: expected an integer, found {found}")
    return number


def as_integer(value: Any) -> int | None:
    """The integer that is meant: itself, its text, or the same as a float that is exact; else None."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        return int(value)
    return value if type(value) is int else None


def file_name(where: Path | str, name: str) -> str:
    """Return a name that an annotation has for a file or folder. Raises DatasetError if it leads elsewhere."""
    if Path(name).name != name or name in ("", ".."):
        raise DatasetError(f"{where}: expected a name without folders, found {name!r}")
    return name


class StoredImage(NamedTuple):
    """An image as an annotation file describes it; height and width in pixels."""

    id: int
    file_name: str
    height: int
    width: int

    @property
    def stem(self) -> str:
        """The file name without its suffix: the sample's id."""
        return Path(self.file_name).stem


def read_image(path: Path, entry: Any, where: str, id_field: str = "id") -> StoredImage:
    """Return the fields of an image. where: names an entry that does not name itself. Raises DatasetError."""
    if isinstance(entry, dict):
        where = f"image {visible(str(entry.get(id_field)), 40)} ({visible(str(entry.get('file_name')), 80)})"
    id, height, width = (read_integer(path, where, entry, field) for field in (id_field, "height", "width"))
    name = file_name(f"{path}: {where}: file_name", read_field(path, where, entry, "file_name", str))
    if min(height, width) < 1 or height * width > max_pixels():
        expected = f"expected height and width in 1..{max_pixels()} pixels in all (--max-pixels)"
        raise DatasetError(f"{path}: {where}: {expected}, found {height} and {width}")
    return StoredImage(id, name, height, width)


def read_images(path: Path, stored: Any, id_field: str = "id") -> dict[int, StoredImage]:
    """Return the images of a file by id. Raises DatasetError, also for an id or file name that is repeated."""
    images: dict[int, StoredImage] = {}
    by_stem: dict[str, int] = {}
    for number, entry in enumerate(read_field(path, "the file", stored, "images", list)):
        image = read_image(path, entry, f"images {number}", id_field)
        again = None
        if image.id in images:
            again = f"id {image.id} again, of {images[image.id].file_name} and {image.file_name}"
        elif image.stem in by_stem:
            again = f"{image.file_name} again, of ids {by_stem[image.stem]} and {image.id}"
        if again:
            raise DatasetError(f"{path}: images: expected each id and file name once, found {again}")
        images[image.id], by_stem[image.stem] = image, image.id
    return images
