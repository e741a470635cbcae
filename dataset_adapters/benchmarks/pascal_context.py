"""Pascal Context: 59 classes of things and stuff, with background scored (context60) or ignored (context59), or 459."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dataset_adapters.base.adapter import Row, Rows, register
from dataset_adapters.base.class_names import BACKGROUND
from dataset_adapters.base.layout import find_split, read_ids
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.base.semantic import FolderAdapter, SemanticAdapter, add_image, class_ids
from dataset_adapters.errors import DatasetError, LabelSourceMissingError
from dataset_adapters.formats.annotation_json import read_field, read_images, read_json
from dataset_adapters.formats.coco_masks import paint_segments, read_segments
from dataset_adapters.formats.images import read_label_map16
from dataset_adapters.formats.matlab import read_matlab_labels

IGNORED16 = 65535
DETAIL = "trainval_merged.json"
_SPLITS = "ImageSets/SegmentationContext"
PHASES = ("train", "val", "test")
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
class _ContextAdapter(SemanticAdapter):
    """What the label sources share: JPEGImages/<id>.jpg and ImageSets/SegmentationContext/<split>.txt."""

    class_names: str = "context59"
    folders: tuple[str, ...] = ("JPEGImages", "ImageSets")
    nestings = ("VOC2010", "VOCdevkit/VOC2010")


@dataclass(frozen=True, kw_only=True)
class ContextMapsAdapter(_ContextAdapter):
    """Label files <folder>/<id><suffix>."""

    folder: str
    suffix: str

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per id of the split. Raises DatasetError."""
        pattern = f"*{self.suffix}"
        if not any((root / self.folder).glob(pattern)):
            raise LabelSourceMissingError(f"{self.folder}/{pattern}")
        ids = read_ids(find_split(root / _SPLITS, split))
        return [{"id": id, "image": _image(id), "mask": f"{self.folder}/{id}{self.suffix}"} for id in ids]


@dataclass(frozen=True, kw_only=True)
class ContextDetailAdapter(_ContextAdapter):
    """trainval_merged.json of PASCAL in Detail, the origin of the converted label maps.

    Without a file of the split, its images are those of that phase in the annotations.
    """

    file_columns = ("image",)

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return the file of annotations and the file of ids, if there is one. Raises DatasetError."""
        if not (root / DETAIL).is_file():
            raise LabelSourceMissingError(DETAIL)
        ids = _split_file(root, split)
        return root / DETAIL, *([ids] if ids else [])

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row (id, image, mask, height, width, segments) per id of the split. Raises DatasetError.

        mask: the file of annotations. segments: their labels and masks, see `paint_segments`.
        """
        annotated, notices = read_detail(root / DETAIL)
        file = _split_file(root, split)
        ids = read_ids(file) if file else sorted(id for id in annotated if annotated[id]["phase"] == split)
        missing = [id for id in ids if id not in annotated]
        if missing or not ids:
            found = f"none with the file name {missing[0]}.jpg" if missing else f"none of the phase {split}"
            raise DatasetError(f"{root / DETAIL}: images: expected every image of the split, found {found}")
        return Rows(({"id": id, "image": _image(id), "mask": DETAIL, **annotated[id]} for id in ids), notices)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and paint its segments. Raises SampleError."""
        target = paint_segments(row, row["segments"])
        return add_image(root, row, label_space, np.where(target == BACKGROUND, self.background, target))


def _image(id: str) -> str:
    return f"JPEGImages/{id}.jpg"


def _split_file(root: Path, split: str | Path) -> Path | None:
    """The file of a split; None for a phase of the annotations without a file. Raises DatasetError."""
    if split in PHASES and not (root / _SPLITS / f"{split}.txt").is_file():
        return None
    return find_split(root / _SPLITS, split)


def read_detail(path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read trainval_merged.json, of which only "images" and "annos_segmentation" are used: masks of one category each.

    Returns the columns phase, height, width and segments (see `paint_segments`) by the stem of the image's file name,
    and notices of what was left out.
    Raises DatasetError naming entry and field for a file that is not such JSON or has a repeated image or another
    phase, and as `read_segments`.
    """
    stored = read_json(path)
    images = read_images(path, stored, "image_id")
    columns = {}
    for image, entry in zip(images.values(), stored["images"], strict=True):
        phase = read_field(path, image.file_name, entry, "phase", str)
        if phase not in PHASES:
            found = repr(phase[:40])
            raise DatasetError(f"{path}: {image.file_name}: phase: expected {' or '.join(PHASES)}, found {found}")
        columns[image.stem] = {"phase": phase, "height": str(image.height), "width": str(image.width)}
    segments, notices = read_segments(path, stored, "annos_segmentation", images, _RAW_LABELS, by_area=False)
    return {image.stem: {**columns[image.stem], "segments": segments[image.id]} for image in images.values()}, notices


_mats = partial(ContextMapsAdapter, folder="trainval", suffix=".mat", read_labels=read_matlab_labels)

for _name, _scores_background in (("context60", True), ("context59", False)):
    register(
        [
            # The converted label maps, then the annotation they come from, then the original annotation.
            ContextMapsAdapter(
                name=f"{_name}/png",
                scores_background=_scores_background,
                folder="SegmentationClassContext",
                suffix=".png",
                relabel={label: label for label in range(len(_RAW_IDS) + 1)},
            ),
            ContextDetailAdapter(name=f"{_name}/json", scores_background=_scores_background, relabel=_RAW_LABELS),
            _mats(name=f"{_name}/mat", scores_background=_scores_background, relabel=_RAW_LABELS),
        ]
    )

register(
    [
        # All classes, and pixels without one ignored. As converted for detectron2: class ids 0..458, and 65535.
        FolderAdapter(
            name="pc459/tif",
            class_names="pc459",
            nestings=("pascal_ctx_d2",),
            masks="annotations_ctx459",
            suffix=".tif",
            read_labels=read_label_map16,
            relabel=class_ids(N_RAW, IGNORED16),
            ignored=IGNORED16,
        ),
        # The original annotation, which the other was converted from: classes are 1..459, and 0 is not a class.
        _mats(
            name="pc459/mat",
            class_names="pc459",
            ignored=IGNORED16,
            folders=("JPEGImages", "ImageSets", "trainval"),
            relabel={label: label for label in range(N_RAW + 1)},
        ),
    ]
)
