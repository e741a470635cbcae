"""Pascal Context: 59 classes of things and stuff, with background scored (context60) or ignored (context59)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_adapters.base.class_names import BACKGROUND, read_class_names
from dataset_adapters.base.layout import find_root, find_split, read_ids
from dataset_adapters.base.sample import (
    Adapter,
    DatasetError,
    LabelSourceMissingError,
    LabelSpace,
    NameSet,
    Row,
    Rows,
    Sample,
    register,
)
from dataset_adapters.base.semantic import add_image, read_semantic_sample
from dataset_adapters.benchmarks.pascal_detail import PHASES, paint_segments, read_detail
from dataset_adapters.formats.images import read_label_map
from dataset_adapters.formats.matlab import read_matlab_labels
from support.arrays import Int32Array

IGNORED = 255
DETAIL = "trainval_merged.json"
_SPLITS = "ImageSets/SegmentationContext"
N_RAW = 459  # classes of the full annotation, of which the benchmark uses 59

# The raw ids of classes 1, 2, ... 59. Both raw ids and class names are in alphabetical order.
# fmt: off
_RAW_IDS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)
# fmt: on
_RAW_LABELS = dict.fromkeys(range(N_RAW + 1), BACKGROUND) | {raw: label for label, raw in enumerate(_RAW_IDS, start=1)}


@dataclass(frozen=True, kw_only=True)
class _ContextAdapter:
    """What the label sources share: JPEGImages/<id>.jpg, ImageSets/SegmentationContext/<split>.txt, the label space.

    scores_background: whether background is scored as a class. If not, pixels whose true label is background are
    ignored; predicting background elsewhere is still a miss.
    """

    name: str
    scores_background: bool
    class_names: str = "context59"
    ignored: int = IGNORED
    folders: tuple[str, ...] = ("JPEGImages", "ImageSets")
    version: int = 1
    task: str = "semantic"
    default_split: str = "val"

    def find_root(self, root: Path) -> Path:
        """Return the VOC2010 folder, given it, VOCdevkit or the parent of VOCdevkit. Raises DatasetError."""
        return find_root(root, ("VOC2010", "VOCdevkit/VOC2010"), self.folders)

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and class id + 1, one query per class: things first, then stuff."""
        return read_class_names(self.class_names).label_space(
            self.name.partition("/")[0], names, ignore_label=self.ignored, scores_background=self.scores_background
        )

    @property
    def _background(self) -> int:
        return BACKGROUND if self.scores_background else self.ignored


@dataclass(frozen=True, kw_only=True)
class ContextMapsAdapter(_ContextAdapter):
    """Label files <folder>/<id><suffix>.

    relabel: label id for every value of a label file, as decoded by `read_labels`.
    """

    folder: str
    suffix: str
    read_labels: Callable[[Path], Int32Array]
    relabel: Mapping[int, int]
    file_columns: tuple[str, ...] = ("image", "mask")

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per id of the split. Raises DatasetError."""
        pattern = f"*{self.suffix}"
        if not any((root / self.folder).glob(pattern)):
            raise LabelSourceMissingError(f"{self.folder}/{pattern}")
        ids = read_ids(find_split(root / _SPLITS, split))
        return [{"id": id, "image": _image(id), "mask": f"{self.folder}/{id}{self.suffix}"} for id in ids]

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its label file. Raises SampleError."""
        relabel = {value: label or self._background for value, label in self.relabel.items()}
        return read_semantic_sample(root, row, label_space, relabel, self.read_labels)


@dataclass(frozen=True, kw_only=True)
class ContextDetailAdapter(_ContextAdapter):
    """trainval_merged.json of PASCAL in Detail, the origin of the converted label maps.

    Without a file of the split, its images are those of that phase in the annotations.
    """

    file_columns: tuple[str, ...] = ("image",)

    @property
    def relabel(self) -> Mapping[int, int]:
        """The label of each raw id."""
        return _RAW_LABELS

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return the file of annotations and the file of ids, if there is one. Raises DatasetError."""
        if not (root / DETAIL).is_file():
            raise LabelSourceMissingError(DETAIL)
        ids = _split_file(root, split)
        return root / DETAIL, *([ids] if ids else [])

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask, height, width, segments) per id of the split. Raises DatasetError.

        mask: the file of annotations. segments: their labels and masks, see `paint_segments`.
        """
        annotated, notices = read_detail(root / DETAIL, _RAW_LABELS)
        file = _split_file(root, split)
        ids = read_ids(file) if file else sorted(id for id in annotated if annotated[id]["phase"] == split)
        missing = [id for id in ids if id not in annotated]
        if missing or not ids:
            found = f"none with the file name {missing[0]}.jpg" if missing else f"none of the phase {split}"
            raise DatasetError(f"{root / DETAIL}: images: expected every image of the split, found {found}")
        return Rows(({"id": id, "image": _image(id), "mask": DETAIL, **annotated[id]} for id in ids), notices)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and paint its segments. Raises SampleError."""
        target = paint_segments(row)
        return add_image(root, row, label_space, np.where(target == BACKGROUND, self._background, target))


def _image(id: str) -> str:
    return f"JPEGImages/{id}.jpg"


def _split_file(root: Path, split: str | Path) -> Path | None:
    """The file of a split; None for a phase of the annotations without a file. Raises DatasetError."""
    if split in PHASES and not (root / _SPLITS / f"{split}.txt").is_file():
        return None
    return find_split(root / _SPLITS, split)


def _sources(name: str, *, scores_background: bool) -> list[Adapter]:
    """The converted label maps, then the annotation they come from, then the original annotation."""
    return [
        ContextMapsAdapter(
            name=f"{name}/png",
            scores_background=scores_background,
            folder="SegmentationClassContext",
            suffix=".png",
            read_labels=read_label_map,
            relabel={label: label for label in range(len(_RAW_IDS) + 1)},
        ),
        ContextDetailAdapter(name=f"{name}/json", scores_background=scores_background),
        ContextMapsAdapter(
            name=f"{name}/mat",
            scores_background=scores_background,
            folder="trainval",
            suffix=".mat",
            read_labels=read_matlab_labels,
            relabel=_RAW_LABELS,
        ),
    ]


register([*_sources("context60", scores_background=True), *_sources("context59", scores_background=False)])
