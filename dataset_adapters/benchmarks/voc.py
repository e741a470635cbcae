"""Pascal VOC 2012 segmentation: 20 classes with background scored (voc21) or ignored (voc20)."""

from __future__ import annotations

from dataset_adapters.base.adapter import register
from dataset_adapters.base.semantic import SplitFileAdapter

BORDER = 255  # the unlabeled outline of every object, ignored by the official evaluation

register(
    SplitFileAdapter(
        name=name,
        class_names="voc20",
        nestings=("VOC2012", "VOCdevkit/VOC2012"),
        folders=("JPEGImages", "SegmentationClass"),
        splits="ImageSets/Segmentation",
        masks="SegmentationClass",
        scores_background=scores_background,
        relabel={label: label for label in (*range(21), BORDER)},
        ignored=BORDER,
    )
    for name, scores_background in (("voc21", True), ("voc20", False))
)
