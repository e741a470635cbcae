"""Hugging Face data sets with a column of images and one of label maps: on the hub, in a local folder, or saved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_adapters.base.adapter import Row, register
from dataset_adapters.errors import DatasetError
from dataset_adapters.formats.images import ImageFile, ImageFileError
from dataset_adapters.user_data.masks import UserDataAdapter
from support.files import expanded, read_regular
from support.text import unwrapped

if TYPE_CHECKING:  # the library takes seconds to import, so functions import it when they need it
    import datasets

IMAGE_COLUMNS = ("image", "img", "images")
MASK_COLUMNS = ("mask", "label", "annotation", "segmentation_mask", "label_map", "labels", "masks", "segmentation")
_ID_COLUMNS = ("id", "image_id", "file_name", "filename")
_ONLY_SPLIT = "all"
# Of single files, by suffix. The library would take a suffix for the name of any reader, and some run what they read.
_FORMATS = {
    ".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv",
    ".tar": "webdataset",
}  # fmt: skip


@dataclass(frozen=True)
class OwnHfAdapter(UserDataAdapter):
    """The data set `hf`: a name on the hub, a folder or file that `datasets` can load, or the output of `save_to_disk`.

    hf_config: one of the data set's configurations. image_column, mask_column: empty for the first column of images
    that has one of the usual names. classes, ignore_value: see `read_class_list`. Masks are encoded palette or 8-bit
    gray images, or in the colors of the list of classes.
    The split "all" is the only one of a data set. Ids come from a column of ids, else from file names, else "row<n>".
    """

    hf: str = ""
    hf_config: str = ""
    image_column: str = ""
    mask_column: str = ""
    classes: str = ""
    ignore_value: str = ""
    name: str = "own-hf"
    default_split: str = _ONLY_SPLIT
    file_columns = ()
    locations = ("hf", "hf_config", "image_column", "mask_column", "classes", "ignore_value")

    def find_root(self, root: Path) -> Path:
        """Return `root`, which is not used. Raises DatasetError if the data set or the classes are not named."""
        for option in ("hf", "classes"):
            if not getattr(self, option):
                raise DatasetError(f"{option}: expected --{option}, found nothing given")
        return root

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row per row of the split: id, position, split, image, mask, contents, and `ClassList.columns`.

        image, mask: the columns. contents: the size of the encoded image and the hash of the encoded mask, so that the
        fingerprint covers them.
        Raises DatasetError for a data set that cannot be loaded, unknown splits and columns, columns without images,
        and a split without rows.
        """
        dataset = open_hf(self.hf, self.hf_config, str(split))
        image = _column(dataset, "image_column", self.image_column, IMAGE_COLUMNS)
        mask = _column(dataset, "mask_column", self.mask_column, MASK_COLUMNS)
        encoded = _encoded(dataset, image, mask)
        contents, paths = _contents_and_paths(encoded, image, mask)
        if not paths:
            raise DatasetError(f"{self.hf}: expected at least one row in the split, found none")
        shared = {"split": str(split), "image": image, "mask": mask, **self.read_classes().columns}
        # Ids come from the first of the usual sources that has a distinct one for each row.
        columns = [
            ["" if value is None else str(value) for value in dataset[name]]
            for name in _ID_COLUMNS
            if name in dataset.column_names
        ]
        candidates = (*columns, [Path(path).stem if path else "" for path in paths])
        distinct = (ids for ids in candidates if all(ids) and len(set(ids)) == len(ids))
        ids = next(distinct, [f"row{number}" for number in range(len(paths))])
        return [
            {"id": id, "position": str(number), "contents": content, **shared}
            for number, (id, content) in enumerate(zip(ids, contents, strict=True))
        ]

    def named(self, row: Row) -> dict[str, str]:
        return {name: f"row {row['position']}, column {row[name]}" for name in ("image", "mask")}

    def open(self, root: Path, row: Row, column: str) -> ImageFile:
        encoded = _encoded(open_hf(self.hf, self.hf_config, row["split"]), row["image"], row["mask"])
        cell = _row_of(encoded, int(row["position"]))[row[column]]
        if cell is None or not (cell["bytes"] or cell["path"]):
            raise ImageFileError("", "expected an image file, found an empty cell")
        return BytesIO(cell["bytes"]) if cell["bytes"] is not None else str(cell["path"])


@lru_cache(maxsize=2)
def open_hf(name: str, config: str, split: str) -> datasets.Dataset:
    """Open one split, once per process. Raises DatasetError if `datasets` cannot load it or the split is unknown."""
    import datasets

    path = expanded(name)
    if path.is_file() and path.suffix not in _FORMATS:
        raise DatasetError(f"{name}: expected a file of the type {', '.join(_FORMATS)}, found {path.suffix!r}")
    try:
        if any((path / saved).is_file() for saved in ("state.json", "dataset_dict.json")):
            loaded = datasets.load_from_disk(str(path))
        elif path.is_file():
            loaded = datasets.load_dataset(_FORMATS[path.suffix], data_files=str(path))
        else:
            loaded = datasets.load_dataset(str(path) if path.is_dir() else name, config or None)
    except Exception as error:  # the library and the network raise errors of many types
        reason = unwrapped(error)[:300] or type(error).__name__
        raise DatasetError(f"{name}: expected a data set that the library `datasets` loads, found: {reason}") from error
    if isinstance(loaded, datasets.Dataset):
        splits = {str(loaded.split or _ONLY_SPLIT): loaded}
    else:
        splits = {str(key): part for key, part in loaded.items()}
    if split == _ONLY_SPLIT and len(splits) == 1:
        return next(iter(splits.values()))
    if split not in splits:
        raise DatasetError(f"split: expected one of {', '.join(splits)} of {name}, found {split!r}")
    return splits[split]


def _column(dataset: datasets.Dataset, field: str, given: str, usual: Sequence[str]) -> str:
    """The column named by the user, else the first with a usual name that holds images, or else could."""
    if given in dataset.column_names:
        return given
    if given:
        found = ", ".join(dataset.column_names)
        raise DatasetError(f"{field}: expected the column {given!r}, found the columns {found}")
    kinds = {name: _kind(dataset.features[name]) for name in usual if name in dataset.features}
    candidates = [name for name in kinds if kinds[name]]
    if not candidates:
        types = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in dataset.features.items())
        raise DatasetError(
            f"{field}: expected a column of images, named or one of {', '.join(usual)}, found the columns "
            f"{types[:300]}; for two folders of files see --images and --masks"
        )
    return min(candidates, key=lambda name: kinds[name])


def _kind(feature: Any) -> int:
    """1 for a column of images, 2 for one that may hold encoded images, 3 for paths, 0 for what is none of these."""
    if isinstance(feature, dict):
        return 2 * (feature.keys() == {"bytes", "path"})
    kinds = {"Image": 1, "binary": 2, "large_binary": 2, "string": 3, "large_string": 3}
    name = type(feature).__name__
    return kinds.get(str(feature.dtype) if name == "Value" else name, 0)


@lru_cache(maxsize=2)
def _encoded(dataset: datasets.Dataset, image: str, mask: str) -> datasets.Dataset:
    """The two columns as encoded images: {"bytes": a file or None, "path": its path or None}.

    Raises DatasetError if one of them has no images.
    """
    import datasets

    chosen = dataset.select_columns(list(dict.fromkeys((image, mask))))
    try:
        for column in (image, mask):
            chosen = chosen.cast_column(column, datasets.Image(decode=False))
    except Exception as error:  # arrow raises errors of several types
        field, found = "image_column" if column == image else "mask_column", str(dataset.features[column])[:100]
        raise DatasetError(f"{field}: column {column}: expected encoded images, found {found}") from error
    return chosen


@lru_cache(maxsize=1)  # an image, then its mask
def _row_of(encoded: datasets.Dataset, position: int) -> dict[str, Any]:
    row: dict[str, Any] = encoded[position]
    return row


def _contents_and_paths(encoded: datasets.Dataset, image: str, mask: str) -> tuple[list[str], list[str | None]]:
    """Size of the image and sha256 of the mask, and the image's path, of every row; images are not read.

    The hash is empty for an empty cell and for a file that cannot be read; decoding it reports the reason.
    """
    import pyarrow.compute as pc

    contents: list[str] = []
    paths: list[str | None] = []
    for batch in encoded.with_format("arrow").iter(batch_size=1000):
        stored, files = (pc.struct_field(batch.column(image), field) for field in ("bytes", "path"))
        files = files.to_pylist()
        for length, path, cell in zip(pc.binary_length(stored).to_pylist(), files, batch.column(mask), strict=True):
            size = length if length is not None else os.path.getsize(path) if path and os.path.isfile(path) else 0
            content = cell["bytes"].as_py()
            if content is None:
                with suppress(OSError):
                    content = read_regular(Path(cell["path"].as_py() or ""))
            contents.append(f"{size} {'' if content is None else hashlib.sha256(content).hexdigest()}")
        paths += files
    return contents, paths


register([OwnHfAdapter()])
