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
from dataset_adapters.base.semantic import (
    FolderAdapter,
    SemanticAdapter,
    SplitFileAdapter,
    class_ids,
    read_matching_image,
)
from dataset_adapters.errors import DatasetError, LabelSourceMissingError
from dataset_adapters.formats.annotation_json import read_field, read_json
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


_NESTINGS, _FOLDERS = ("VOC2010", "VOCdevkit/VOC2010"), ("JPEGImages", "ImageSets")


@dataclass(frozen=True, kw_only=True)
class ContextDetailAdapter(SemanticAdapter):
    """trainval_merged.json of PASCAL in Detail, the origin of the converted label maps.

    Without a file of the split, its images are those of that phase in the annotations.
    """

    class_names: str = "context59"
    nestings = _NESTINGS
    folders = _FOLDERS
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
        rows = ({"id": id, "image": f"JPEGImages/{id}.jpg", "mask": DETAIL, **annotated[id]} for id in ids)
        return Rows(rows, notices)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        labels = paint_segments(row, row["segments"])
        target = np.where(labels == BACKGROUND, self.background, labels)
        return Sample(row["id"], read_matching_image(root, row, target), label_space.queries, self.task, target)


def _split_file(root: Path, split: str | Path) -> Path | None:
    """The file of a split; None for a phase of the annotations without a file. Raises DatasetError."""
    if split in PHASES and not (root / _SPLITS / f"{split}.txt").is_file():
        return None
    return find_split(root / _SPLITS, split)


def read_detail(path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read trainval_merged.json, of which only "images" and "annos_segmentation" are used: masks of one category each.

    Returns the columns phase, height, width and segments (see `paint_segments`) by the stem of the image's file name,
    and notices of what was left out.
    Raises DatasetError naming entry and field for a file that is not such JSON or has another phase, and as
    `read_segments`.
    """
    stored = read_json(path)
    found, notices = read_segments(path, stored, "annos_segmentation", _RAW_LABELS, id_field="image_id", by_area=False)
    columns = {}
    for (stem, (size, segments)), entry in zip(found.items(), stored["images"], strict=True):
        phase = read_field(path, entry["file_name"], entry, "phase", str)
        if phase not in PHASES:
            expected = " or ".join(PHASES)
            raise DatasetError(f"{path}: {entry['file_name']}: phase: expected {expected}, found {phase[:40]!r}")
        columns[stem] = {"phase": phase, **size, "segments": segments}
    return columns, notices


_maps = partial(SplitFileAdapter, class_names="context59", nestings=_NESTINGS, folders=_FOLDERS, splits=_SPLITS)
_mats = partial(_maps, masks="trainval", suffix=".mat", read_labels=read_matlab_labels)

for _name, _scores_background in (("context60", True), ("context59", False)):
    register(
        [
            # The converted label maps, then the annotation they come from, then the original annotation.
            _maps(
                name=f"{_name}/png",
                scores_background=_scores_background,
                masks="SegmentationClassContext",
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
