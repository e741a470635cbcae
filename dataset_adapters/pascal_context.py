"""Pascal Context: 59 classes of things and stuff, with background scored (context60) or ignored (context59)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.class_names import BACKGROUND, read_class_names
from dataset_adapters.images import read_label_map
from dataset_adapters.layout import find_root, find_split, read_ids
from dataset_adapters.matlab import read_matlab_labels
from dataset_adapters.sample import LabelMap, LabelSpace, NameSet, Row, Sample, SourceAbsentError, register
from dataset_adapters.semantic import read_semantic_sample

IGNORED = 255
N_RAW = 459  # classes of the whole annotation, of which the benchmark takes 59

# The raw id of class 1, 2, ... 59.
# fmt: off
_RAW_IDS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)
# fmt: on


@dataclass(frozen=True)
class ContextAdapter:
    """JPEGImages/<id>.jpg, ImageSets/SegmentationContext/<split>.txt and label files <folder>/<id><suffix>.

    relabel: label id for every value of a label file, as `read_labels` decodes it.
    scores_background: whether background is a class of its own. If not, pixels whose true label is background
    are ignored; predicting background elsewhere is still a miss.
    """

    name: str
    scores_background: bool
    folder: str
    suffix: str
    read_labels: Callable[[Path], LabelMap]
    relabel: Mapping[int, int]
    version: int = 1
    task: str = "semantic"
    default_split: str = "val"
    file_columns: tuple[str, ...] = ("image", "mask")

    def find_root(self, root: Path) -> Path:
        """Return the VOC2010 folder, given it, VOCdevkit or the parent of VOCdevkit. Raises DatasetError."""
        return find_root(root, ("VOC2010", "VOCdevkit/VOC2010"), ("JPEGImages", "ImageSets"))

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per id of the split. Raises DatasetError."""
        pattern = f"*{self.suffix}"
        if not any((root / self.folder).glob(pattern)):
            raise SourceAbsentError(f"{self.folder}/{pattern}")
        ids = read_ids(find_split(root / "ImageSets" / "SegmentationContext", split))
        return [{"id": id, "image": f"JPEGImages/{id}.jpg", "mask": f"{self.folder}/{id}{self.suffix}"} for id in ids]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and 1..59, one query per class: things first, then stuff."""
        return read_class_names("context59").label_space(
            self.name.partition("/")[0], names, ignore_label=IGNORED, scores_background=self.scores_background
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its label file. Raises SampleError."""
        background = BACKGROUND if self.scores_background else IGNORED
        relabel = {value: label or background for value, label in self.relabel.items()}
        return read_semantic_sample(root, row, label_space, relabel, self.read_labels)


def _sources(name: str, *, scores_background: bool) -> list[ContextAdapter]:
    """The converted label maps, then the original annotation that they are made from."""
    converted = {label: label for label in range(len(_RAW_IDS) + 1)}
    original = dict.fromkeys(range(N_RAW + 1), BACKGROUND) | {raw: i for i, raw in enumerate(_RAW_IDS, start=1)}
    return [
        ContextAdapter(f"{name}/png", scores_background, "SegmentationClassContext", ".png", read_label_map, converted),
        ContextAdapter(f"{name}/mat", scores_background, "trainval", ".mat", read_matlab_labels, original),
    ]


register([*_sources("context60", scores_background=True), *_sources("context59", scores_background=False)])
