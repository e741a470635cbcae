"""User-supplied images and label maps in two folders, with a list of classes."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.adapter import Adapter, Row, register
from dataset_adapters.base.layout import read_ids
from dataset_adapters.errors import DatasetError
from dataset_adapters.user_data.masks import UserDataAdapter
from support.files import expanded

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = ((".png",), (".bmp", ".tif", ".tiff"))  # the first that the folder has


@dataclass(frozen=True)
class OwnFoldersAdapter(UserDataAdapter):
    """<images>/<id>.jpg (or another image format), <masks>/<id>.png and the file <classes>, see `read_class_list`.

    Masks are palette or 8-bit gray PNGs (BMP or TIFF in a folder without PNG), or in the colors of the list of classes.
    An image and its mask have the same stem, whatever Unicode form it is stored in, and are read upright.
    ignore_value: the mask value that no metric counts, or "none"; empty for 255, unless that is a class.
    """

    images: str = ""
    masks: str = ""
    classes: str = ""
    ignore_value: str = ""
    name: str = "own-folders"
    default_split: str = "all"
    locations = ("images", "masks", "classes", "ignore_value")

    def with_options(self, options: Mapping[str, str]) -> Adapter:
        """Return the adapter with these locations, relative ones taken from the current folder."""
        paths = {name: str(expanded(path).absolute()) for name, path in options.items() if name != "ignore_value"}
        return super().with_options({**options, **paths})

    def find_root(self, root: Path) -> Path:
        """Return the deepest folder that holds images and masks; `root` is not used. Raises DatasetError."""
        for option in ("images", "masks", "classes"):
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
        """Return one row (id, image, mask) per image or mask, or per id if `split` is a file of ids.

        Its other columns are `ClassList.columns`. Raises DatasetError for two files of one stem and an unknown split.
        """
        images = _files_by_stem("images", Path(self.images), IMAGE_SUFFIXES)
        masks = _files_by_stem("masks", Path(self.masks), *MASK_SUFFIXES)
        stored = {_key(stem): stem for stem in (*map(_stem, masks.values()), *map(_stem, images.values()))}
        if str(split) == self.default_split:
            ids = sorted(stored.values())
        elif expanded(split).is_file():
            ids = read_ids(expanded(split), known=stored, key=_key)
        else:
            raise DatasetError(f"split: expected a file of ids (stems of image files), found {str(split)!r}")
        columns = self.read_classes().columns
        return [
            {
                "id": id,
                "image": os.path.relpath(Path(self.images, images.get(_key(id), f"{id}.*")), root),
                "mask": os.path.relpath(Path(self.masks, masks.get(_key(id), f"{id}.png")), root),
                **columns,
            }
            for id in ids
        ]


def _files_by_stem(option: str, folder: Path, *choices: tuple[str, ...]) -> dict[str, str]:
    """The names of the files with the first suffixes that any file has, by the key of their stem; no hidden files."""
    visible = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for suffixes in choices:
        names = [name for name in visible if name.lower().endswith(suffixes)]
        if names:
            break
    else:
        expected = ", ".join(f"*{suffix}" for suffixes in choices for suffix in suffixes)
        found = ", ".join(visible[:3]) or "none"
        raise DatasetError(f"{option}: expected files {expected} in {folder}, found {found}")
    by_stem: dict[str, str] = {}
    for name in names:
        other = by_stem.setdefault(_key(_stem(name)), name)
        if other != name:
            forms = ", two Unicode forms of one name" if _key(other) == _key(name) else ""
            raise DatasetError(f"{option}: expected one file of each stem in {folder}, found {other} and {name}{forms}")
    return by_stem


def _stem(name: str) -> str:
    return Path(name).stem


def _key(stem: str) -> str:
    """The same for a stem in any Unicode form: copies from a Mac have decomposed letters, others composed ones."""
    return unicodedata.normalize("NFC", stem)


register([OwnFoldersAdapter()])
