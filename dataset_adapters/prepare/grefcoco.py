"""gRefCOCO: expressions of several objects or none, on COCO's train2014."""

from __future__ import annotations

from dataset_adapters.prepare.coco_object import TERMS
from dataset_adapters.prepare.preparation import FileCount, ManualStep, Preparation, SplitCount, register
from dataset_adapters.prepare.refcoco import TRAIN2014

_PAGE = "https://github.com/henghuiding/gRefCOCO"
_LAYOUT = (
    FileCount("references", "grefcoco/grefs(unc).json", (1,)),
    FileCount("instances", "grefcoco/instances.json", (1,)),
)

register(
    Preparation(
        name="grefcoco",
        title="gRefCOCO",
        benchmarks=("grefcoco-val", "grefcoco-testA", "grefcoco-testB"),
        page=_PAGE,
        terms=f"{TERMS}; see the page for the expressions",
        downloads=(TRAIN2014,),
        manual=(
            ManualStep(
                "download the annotation from the cloud folder that the page links to and put grefs(unc).json and"
                " instances.json into grefcoco/ in the data root",
                _PAGE,
                _LAYOUT,
            ),
        ),
        nested=("refer",),
        counts=(*_LAYOUT, *TRAIN2014.provides),
        # The first release had only val.
        splits=(
            SplitCount("grefcoco", "val", noun="references"),
            SplitCount("grefcoco", "testA", noun="references", optional=True),
            SplitCount("grefcoco", "testB", noun="references", optional=True),
        ),
    )
)
