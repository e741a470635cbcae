"""Pascal Context with all 459 classes of its annotation; pixels without a class are ignored."""

from __future__ import annotations

from dataset_adapters.base.folders import FolderAdapter, class_ids
from dataset_adapters.base.sample import register
from dataset_adapters.benchmarks.pascal_context import N_RAW, ContextMapsAdapter
from dataset_adapters.formats.images import read_label_map16
from dataset_adapters.formats.matlab import read_matlab_labels

IGNORED = 65535

register(
    [
        # The annotation converted for detectron2: class ids 0..458, and 65535 is no class.
        FolderAdapter(
            name="pc459/tif",
            class_names="pc459",
            nestings=("pascal_ctx_d2",),
            images="images",
            masks="annotations_ctx459",
            suffix=".tif",
            read_labels=read_label_map16,
            relabel=class_ids(N_RAW, IGNORED),
            ignored=IGNORED,
        ),
        # The original annotation, which the other was converted from: classes are 1..459, and 0 is no class.
        ContextMapsAdapter(
            name="pc459/mat",
            scores_background=False,
            class_names="pc459",
            ignored=IGNORED,
            folders=("JPEGImages", "ImageSets", "trainval"),
            folder="trainval",
            suffix=".mat",
            read_labels=read_matlab_labels,
            relabel={label: label for label in range(N_RAW + 1)},
        ),
    ]
)
