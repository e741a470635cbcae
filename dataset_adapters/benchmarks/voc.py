"""Pascal VOC 2012 segmentation: 20 classes with background scored (voc21) or ignored (voc20)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.class_names import BACKGROUND, read_class_names
from dataset_adapters.base.layout import find_root, find_split, read_ids
from dataset_adapters.base.sample import LabelSpace, NameSet, Row, Sample, register
from dataset_adapters.base.semantic import read_semantic_sample

BORDER = 255  # the unlabeled outline of every object, ignored by the official evaluation


@dataclass(frozen=True)
class VocAdapter:
    """JPEGImages/<id>.jpg, SegmentationClass/<id>.png and ImageSets/Segmentation/<split>.txt.

    scores_background: whether background is scored as a class. If not, pixels whose true label is background are
    ignored; predicting background elsewhere is still a miss.
    """

    name: str
    scores_background: bool
    version: int = 1
    task: str = "semantic"
    default_split: str = "val"
    file_columns: tuple[str, ...] = ("image", "mask")

    def find_root(self, root: Path) -> Path:
        """Return the VOC2012 folder, given it, VOCdevkit or the parent of VOCdevkit. Raises DatasetError."""
        return find_root(root, ("VOC2012", "VOCdevkit/VOC2012"), ("JPEGImages", "SegmentationClass"))

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per id of the split. Raises DatasetError."""
        ids = read_ids(find_split(root / "ImageSets" / "Segmentation", split))
        return [{"id": id, "image": f"JPEGImages/{id}.jpg", "mask": f"SegmentationClass/{id}.png"} for id in ids]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and 1..20, one query per class."""
        return read_class_names("voc20").label_space(
            self.name, names, ignore_label=BORDER, scores_background=self.scores_background
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its mask. Raises SampleError."""
        relabel = {label: label for label in (*range(len(label_space.labels)), BORDER)}
        if not self.scores_background:
            relabel[BACKGROUND] = BORDER
        return read_semantic_sample(root, row, label_space, relabel)


register([VocAdapter("voc21", scores_background=True), VocAdapter("voc20", scores_background=False)])
