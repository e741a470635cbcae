"""PC-459: the full annotation of Pascal Context."""

from __future__ import annotations

from dataset_adapters.prepare.pascal_context import ANNOTATION, IMAGES, N_VAL, NOTE, PAGE, VOC2010, write_splits
from dataset_adapters.prepare.preparation import Preparation, SplitCount, register
from dataset_adapters.prepare.voc import TERMS

register(
    Preparation(
        name="pc459",
        title="Pascal Context, all 459 classes",
        benchmarks=("pc459",),
        page=PAGE,
        terms=TERMS,
        downloads=(IMAGES, ANNOTATION),
        folder=VOC2010,
        splits=(SplitCount("pc459", "val", N_VAL, note=NOTE),),
        convert=write_splits,
    )
)
