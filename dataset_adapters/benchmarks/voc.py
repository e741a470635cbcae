"""Pascal VOC 2012 segmentation: 20 classes with background scored (voc21) or ignored (voc20)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.adapter import Row, register
from dataset_adapters.base.layout import find_split, read_ids
from dataset_adapters.base.semantic import SemanticAdapter

BORDER = 255  # the unlabeled outline of every object, ignored by the official evaluation


@dataclass(frozen=True, kw_only=True)
class VocAdapter(SemanticAdapter):
    """JPEGImages/<id>.jpg, SegmentationClass/<id>.png and ImageSets/Segmentation/<split>.txt."""

    nestings = ("VOC2012", "VOCdevkit/VOC2012")
    folders = ("JPEGImages", "SegmentationClass")

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per id of the split. Raises DatasetError."""
        ids = read_ids(find_split(root / "ImageSets" / "Segmentation", split))
        return [{"id": id, "image": f"JPEGImages/{id}.jpg", "mask": f"SegmentationClass/{id}.png"} for id in ids]


register(
    VocAdapter(
        name=name,
        class_names="voc20",
        scores_background=scores_background,
        relabel={label: label for label in (*range(21), BORDER)},
        ignored=BORDER,
    )
    for name, scores_background in (("voc21", True), ("voc20", False))
)
