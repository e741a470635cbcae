"""Label files with classes: adapters of them, and reading one with its image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dataset_adapters.base.adapter import Row
from dataset_adapters.base.class_names import BACKGROUND, read_class_names
from dataset_adapters.base.layout import LayoutAdapter, find_image_folder, find_split, read_ids, stems
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.errors import DatasetError, LabelSourceMissingError, SampleError
from dataset_adapters.formats.images import (
    ImageFile,
    ImageFileError,
    exif_orientation,
    read_image,
    read_label_map,
    sample_errors,
)
from support.arrays import BoolArray, Int32Array, RGBArray
from support.choices import NameSet

_FOLDERS = {"val": "validation", "train": "training"}

OpenOwn: TypeAlias = Callable[[str], ImageFile]
"""Opens the file of a sample in the column "image" or "mask"."""


@dataclass(frozen=True, kw_only=True)
class SemanticAdapter(LayoutAdapter):
    """A data set of label files with classes of labels/*.json.

    class_names: which file. relabel: label id, or `ignored`, for every value of a label file, as `read_labels` decodes
    it. scores_background: whether pixels of no class, label 0, count; if not, they are ignored, and predicting
    background elsewhere is still a miss.
    """

    name: str
    class_names: str
    ignored: int = 255
    scores_background: bool = False
    relabel: Mapping[int, int] = field(default_factory=dict)
    read_labels: Callable[[Path], Int32Array] = read_label_map

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and class id + 1, one query per class: things first, then stuff."""
        classes = read_class_names(self.class_names)
        texts = classes.released if names == "released" else classes.dataset
        order = (*classes.things, *classes.stuff)
        class_labels = tuple(range(1, len(classes.dataset) + 1))
        return LabelSpace(
            name=self.name.partition("/")[0],
            labels=("background", *classes.dataset),
            queries=tuple(texts[class_id] for class_id in order),
            query_labels=tuple(class_id + 1 for class_id in order),
            ignore_label=self.ignored,
            scored_labels=(BACKGROUND, *class_labels) if self.scores_background else class_labels,
            stuff_queries=tuple(class_id in classes.stuff for class_id in order) if classes.stuff else (),
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        relabel = {value: label or self.background for value, label in self.relabel.items()}
        return read_semantic_sample(root, row, label_space, relabel, self.read_labels)

    @property
    def background(self) -> int:
        """What targets hold where there is no class."""
        return BACKGROUND if self.scores_background else self.ignored


@dataclass(frozen=True, kw_only=True)
class FolderAdapter(SemanticAdapter):
    """<images>/<folder>/<id>.jpg (the only one of `folders`) and <masks>/<folder>/<id><suffix>, as of ADE20K.

    The folder of the split val is "validation", that of train "training".
    """

    nestings: tuple[str, ...]
    folders: tuple[str, ...] = ("images",)
    masks: str
    suffix: str

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per image or label map of the split. Raises DatasetError."""
        pattern = f"{self.masks}/*/*{self.suffix}"
        if not any(root.glob(pattern)):
            raise LabelSourceMissingError(pattern)
        folder = _FOLDERS.get(str(split), split)
        images, chosen = find_image_folder(root, self.folders, folder, _FOLDERS[self.default_split])
        masks = Path(self.masks, images.name)
        ids = chosen or sorted(stems(root / images, ".jpg") | stems(root / masks, self.suffix))
        if not ids:
            raise DatasetError(f"{root / images}: expected at least one image, found none")
        return [{"id": id, "image": f"{images}/{id}.jpg", "mask": f"{masks}/{id}{self.suffix}"} for id in ids]


@dataclass(frozen=True, kw_only=True)
class SplitFileAdapter(SemanticAdapter):
    """JPEGImages/<id>.jpg and <masks>/<id><suffix>, for the ids of <splits>/<split>.txt, as of Pascal VOC."""

    nestings: tuple[str, ...]
    folders: tuple[str, ...]
    splits: str
    masks: str
    suffix: str = ".png"

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per id of the split. Raises DatasetError."""
        pattern = f"*{self.suffix}"
        if not any((root / self.masks).glob(pattern)):
            raise LabelSourceMissingError(f"{self.masks}/{pattern}")
        ids = read_ids(find_split(root / self.splits, split))
        return [{"id": id, "image": f"JPEGImages/{id}.jpg", "mask": f"{self.masks}/{id}{self.suffix}"} for id in ids]


def class_ids(n_classes: int, ignored: int) -> dict[int, int]:
    """The `relabel` of label maps that hold class ids 0..n_classes - 1, and `ignored` where there is no class."""
    return {class_id: class_id + 1 for class_id in range(n_classes)} | {ignored: ignored}


def read_semantic_sample(
    root: Path,
    row: Mapping[str, str],
    label_space: LabelSpace,
    relabel: Mapping[int, int],
    read_labels: Callable[[Path], Int32Array] = read_label_map,
    open_own: OpenOwn | None = None,
) -> Sample:
    """Decode `row` ("id", "image", "mask") to a Sample with the mask's values replaced by `relabel`.

    relabel: label id (or ignore label) for every value that a mask may hold.
    read_labels: decodes a mask file to int32 [H, W] of values >= 0, raising ImageFileError.
    open_own: as in `read_matching_image`.
    Raises SampleError if a file cannot be decoded, a mask value is not in `relabel`, or the two sizes differ.
    """
    with sample_errors(row, "mask"):
        target = replace_values(read_labels(root / row["mask"]), relabel)
    image = read_matching_image(root, row, target, open_own)
    return Sample(row["id"], image, label_space.queries, "semantic", target)


def replace_values(stored: Int32Array, relabel: Mapping[int, int]) -> Int32Array:
    """The label of every stored value >= 0. Raises ValueError for a value without one."""
    present = np.flatnonzero(np.bincount(stored.ravel())).tolist()
    unknown = [value for value in present if value not in relabel]
    if unknown:
        raise ValueError(f"expected labels {_ranges(relabel)}, found {', '.join(map(str, unknown))}")
    table = np.zeros(max(present, default=-1) + 1, np.int32)
    table[present] = [relabel[value] for value in present]
    return table[stored]


def read_matching_image(
    root: Path, row: Mapping[str, str], target: Int32Array | BoolArray, open_own: OpenOwn | None = None
) -> RGBArray:
    """Decode the image of `row` ("id", "image", "mask"), which must have the size of its target, [..., H, W].

    open_own: opens user-supplied data, which are read upright; None for the files of a data set, read as stored.
    Raises SampleError, which holds the target, if the image cannot be decoded or has another size.
    """

    def find(column: str) -> ImageFile:
        return open_own(column) if open_own else root / row[column]

    try:
        image = read_image(find("image"), apply_exif=open_own is not None)
    except ImageFileError as error:
        raise SampleError(row["id"], row["image"], error.reason, target) from error
    if image.shape[:2] != target.shape[-2:]:
        expected, found = (f"{width} x {height}" for height, width in (image.shape[:2], target.shape[-2:]))
        reason = f"expected the size of its image, {expected}, found {found}"
        exchanged = image.shape[:2] == target.shape[:-3:-1]
        if exchanged and any(exif_orientation(find(column)) > 4 for column in ("image", "mask")):
            reason += ", which fits only the other orientation (EXIF): own data are read upright, others as stored"
        raise SampleError(row["id"], row["mask"], reason, target)
    return image


def _ranges(values: Mapping[int, int]) -> str:
    """Write integers as ranges: 0, 1, 2, 255 becomes "0..2, 255"."""
    starts = sorted(value for value in values if value - 1 not in values)
    ends = sorted(value for value in values if value + 1 not in values)
    return ", ".join(str(start) if start == end else f"{start}..{end}" for start, end in zip(starts, ends, strict=True))
