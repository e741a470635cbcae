"""ADE20K with 150 classes (the scene parsing challenge of 2016); pixels of no class are ignored."""

from __future__ import annotations

from collections.abc import Mapping

from dataset_adapters.base.folders import FolderAdapter, class_ids
from dataset_adapters.base.sample import register
from dataset_adapters.formats.images import read_label_map

N_CLASSES = 150
IGNORED = 255


def _adapter(masks: str, relabel: Mapping[int, int]) -> FolderAdapter:
    return FolderAdapter(
        name=f"ade150/{masks}",
        class_names="ade150",
        nestings=("ADEChallengeData2016", "ade/ADEChallengeData2016"),
        images="images",
        masks=masks,
        suffix=".png",
        read_labels=read_label_map,
        relabel=relabel,
        ignored=IGNORED,
    )


register(
    [
        # The official label maps: classes are 1..150, and 0 is no class, to be ignored rather than background.
        _adapter("annotations", {0: IGNORED} | {label: label for label in range(1, N_CLASSES + 1)}),
        # Detectron2's copies: class ids 0..149, and 255 is no class. 0 is a class here.
        _adapter("annotations_detectron2", class_ids(N_CLASSES, IGNORED)),
    ]
)
