"""User-supplied images and label maps in two folders, with a list of classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from dataset_adapters.base.layout import read_ids
from dataset_adapters.base.sample import DatasetError, LabelSpace, NameSet, Row, Sample, register
from dataset_adapters.base.semantic import read_semantic_sample
from dataset_adapters.user_data.classes import format_values, own_label_space, parse_values, read_class_list
from support.files import expanded

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png",)


@dataclass(frozen=True)
class OwnFoldersAdapter:
    """<images>/<id>.jpg (or another image format), <masks>/<id>.png and the file <classes>, see `read_class_list`.

    Masks are palette or 8-bit gray PNGs; the value 255 is ignored. An image and its mask have the same stem.
    """

    images: str = ""
    masks: str = ""
    classes: str = ""
    name: str = "own-folders"
    version: int = 1
    task: str = "semantic"
    default_split: str = "all"
    file_columns: tuple[str, ...] = ("image", "mask")
    locations: tuple[str, ...] = ("images", "masks", "classes")

    @property
    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """No options besides the locations."""
        return {}

    def with_options(self, options: Mapping[str, str]) -> OwnFoldersAdapter:
        """Return the adapter with these locations, relative ones taken from the current folder."""
        paths = {name: str(expanded(path).absolute()) for name, path in options.items()}
        return replace(self, **cast(Mapping[str, Any], paths))

    def find_root(self, root: Path) -> Path:
        """Return the deepest folder that holds images and masks; `root` is not used. Raises DatasetError."""
        for option in self.locations:
            if not getattr(self, option):
                raise DatasetError(f"{option}: expected --{option}, found nothing given")
        for option, folder in (("images", self.images), ("masks", self.masks)):
            if not Path(folder).is_dir():
                found = "a file" if Path(folder).exists() else "nothing"
                raise DatasetError(f"{option}: expected a folder, found {found}: {folder}")
        if Path(self.images).samefile(self.masks):
            raise DatasetError(f"masks: expected another folder than that of the images, found {self.masks}")
        return Path(os.path.commonpath([self.images, self.masks]))

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask, values) per image or mask, or per id if `split` is a file of ids.

        values: the mask value of each label. Raises DatasetError for two files of one stem and an unknown split.
        """
        images = _files_by_stem("images", Path(self.images), IMAGE_SUFFIXES)
        masks = _files_by_stem("masks", Path(self.masks), MASK_SUFFIXES)
        if str(split) == self.default_split:
            ids = sorted({*images, *masks})
        elif expanded(split).is_file():
            ids = read_ids(expanded(split))
        else:
            raise DatasetError(f"split: expected a file of ids (stems of image files), found {str(split)!r}")
        values = format_values(read_class_list(Path(self.classes)))
        return [
            {
                "id": id,
                "image": os.path.relpath(Path(self.images, images.get(id, f"{id}.*")), root),
                "mask": os.path.relpath(Path(self.masks, masks.get(id, f"{id}.png")), root),
                "values": values,
            }
            for id in ids
        ]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and 1.. in the order of the list, whatever `names` is."""
        return own_label_space(self.name, read_class_list(Path(self.classes)))

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its mask. Raises SampleError."""
        return read_semantic_sample(root, row, label_space, parse_values(row["values"], label_space.ignore_label))


def _files_by_stem(option: str, folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The names of the files with one of the suffixes, by stem; hidden files are ignored."""
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(suffixes) and not name.startswith("."))
    if not names:
        raise DatasetError(
            f"{option}: expected files {', '.join('*' + each for each in suffixes)} in {folder}, found none"
        )
    by_stem: dict[str, str] = {}
    for name in names:
        other = by_stem.setdefault(Path(name).stem, name)
        if other != name:
            raise DatasetError(f"{option}: expected one file of each stem in {folder}, found {other} and {name}")
    return by_stem


register([OwnFoldersAdapter()])
