"""ADE20K with 150 classes (the scene parsing challenge of 2016) and with 847; pixels of no class are ignored."""

from __future__ import annotations

from functools import partial

from dataset_adapters.base.adapter import register
from dataset_adapters.base.semantic import FolderAdapter, class_ids
from dataset_adapters.formats.images import read_label_map16

IGNORED, IGNORED16 = 255, 65535

_of_150 = partial(
    FolderAdapter,
    class_names="ade150",
    nestings=("ADEChallengeData2016", "ade/ADEChallengeData2016"),
    suffix=".png",
    ignored=IGNORED,
)

register(
    [
        # The official label maps: classes are 1..150, and 0 is not a class, to be ignored rather than background.
        _of_150(
            name="ade150/annotations",
            masks="annotations",
            relabel={0: IGNORED} | {label: label for label in range(1, 151)},
        ),
        # Detectron2's copies: class ids 0..149, and 255 is not a class. 0 is a class here.
        _of_150(
            name="ade150/annotations_detectron2",
            masks="annotations_detectron2",
            relabel=class_ids(150, IGNORED),
        ),
        # Release 2021_17_01 as converted for detectron2, which shrinks images and label maps with a shorter side above
        # 512, so targets are not at the original size. Its label maps have 16 bits, as 8 cannot hold 847 class ids.
        FolderAdapter(
            name="ade847",
            class_names="ade847",
            nestings=("ADE20K_2021_17_01", "ade/ADE20K_2021_17_01"),
            folders=("images_detectron2",),
            masks="annotations_detectron2",
            suffix=".tif",
            read_labels=read_label_map16,
            relabel=class_ids(847, IGNORED16),
            ignored=IGNORED16,
        ),
    ]
)
