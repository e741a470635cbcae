"""ADE20K (release 2021_17_01) with 847 classes, as converted for detectron2; other objects are ignored.

The conversion shrinks images and label maps with a shorter side above 512, so targets are not at the original size.
Its label maps have 16 bits, as 8 bits cannot hold 847 class ids.
"""

from __future__ import annotations

from dataset_adapters.base.folders import FolderAdapter, class_ids
from dataset_adapters.base.sample import register
from dataset_adapters.formats.images import read_label_map16

N_CLASSES = 847
IGNORED = 65535

register(
    [
        FolderAdapter(
            name="ade847",
            class_names="ade847",
            nestings=("ADE20K_2021_17_01", "ade/ADE20K_2021_17_01"),
            images="images_detectron2",
            masks="annotations_detectron2",
            suffix=".tif",
            read_labels=read_label_map16,
            relabel=class_ids(N_CLASSES, IGNORED),
            ignored=IGNORED,
        )
    ]
)
