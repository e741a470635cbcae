"""The entries of COCO's kind of annotation files: images, and annotations that refer to them by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.formats.images import max_pixels
from dataset_adapters.formats.json_fields import read_field, read_integer
from support.text import visible


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


class Annotation(NamedTuple):
    """An annotation of an image. where: its id and image, for errors. entry: all its fields."""

    where: str
    image: StoredImage
    category: int
    entry: Mapping[str, Any]


def read_image(path: Path, entry: Any, where: str, id_field: str = "id") -> StoredImage:
    """Return the fields of an image. where: names an entry that does not name itself. Raises DatasetError."""
    if isinstance(entry, dict):
        where = f"image {visible(str(entry.get(id_field)), 40)} ({visible(str(entry.get('file_name')), 80)})"
    id, height, width = (read_integer(path, where, entry, field) for field in (id_field, "height", "width"))
    name = read_field(path, where, entry, "file_name", str)
    if not name or Path(name).name != name:
        raise DatasetError(f"{path}: {where}: file_name: expected a name without folders, found {name!r}")
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


def read_annotations(path: Path, stored: Any, kind: str, images: Mapping[int, StoredImage]) -> Iterator[Annotation]:
    """Yield the annotations of a file in its order. Raises DatasetError, also for one of an unknown image."""
    for number, entry in enumerate(read_field(path, "the file", stored, kind, list)):
        where = f"{kind} {number}"
        if isinstance(entry, dict) and "id" in entry:
            where = f"annotation {visible(str(entry['id']), 40)}"
        image_id = read_integer(path, where, entry, "image_id")
        if image_id not in images:
            raise DatasetError(f"{path}: {where}: image_id: expected an image of the file, found {image_id}")
        where = f"{where} of {images[image_id].file_name}"
        yield Annotation(where, images[image_id], read_integer(path, where, entry, "category_id"), entry)
