"""RefCOCO, RefCOCO+ and RefCOCOg: the cleaned annotation of the refer toolbox, and COCO's train2014."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataset_adapters.benchmarks.refcoco_files import IMAGES
from dataset_adapters.prepare.coco_object import TERMS
from dataset_adapters.prepare.preparation import Download, FileCount, Preparation, SplitCount, register

TRAIN2014 = Download(
    urls=("http://images.cocodataset.org/zips/train2014.zip",),
    hash="md5:0da8cfa0e090c266b78f30e2d2874f1a",
    megabytes=13511,
    into=IMAGES.rpartition("/")[0],
    provides=(FileCount("images", f"{IMAGES}/*.jpg", (82783,)),),
)
_HOST = "https://bvisionweb1.cs.unc.edu/licheng/referit/data"


def _preparation(
    name: str, title: str, copy: str, refs: Sequence[str], benchmarks: Sequence[str], splits: Mapping[str, int]
) -> Preparation:
    """One of the three. splits: references by split.

    copy: time of the Wayback Machine's copy of the annotation, because its own host has often been out of reach.
    """
    files = (f"refs({split_by}).p" for split_by in refs)
    annotation = Download(
        urls=(f"{_HOST}/{name}.zip", f"https://web.archive.org/web/{copy}id_/{_HOST}/{name}.zip"),
        hash=None,
        megabytes=None,
        into=".",
        provides=(
            FileCount("instances", f"{name}/instances.json", (1,)),
            *(FileCount("references", f"{name}/{file}", (1,)) for file in files),
        ),
    )
    return Preparation(
        name=name,
        title=title,
        benchmarks=tuple(benchmarks),
        page="https://github.com/lichengunc/refer",
        terms=f"{TERMS}; expressions: none stated",
        downloads=(annotation, TRAIN2014),
        nested=("refer",),
        splits=tuple(SplitCount(name, split, (n,), "references") for split, n in splits.items()),
    )


register(
    _preparation(
        "refcoco",
        "RefCOCO, split by UNC",
        "20220413011718",
        ["unc"],
        ["refcoco-val", "refcoco-testA", "refcoco-testB"],
        {"val": 3811, "testA": 1975, "testB": 1810},
    ),
    _preparation(
        "refcoco+",
        "RefCOCO+, split by UNC",
        "20220413011656",
        ["unc"],
        ["refcoco+-val", "refcoco+-testA", "refcoco+-testB"],
        {"val": 3805, "testA": 1975, "testB": 1798},
    ),
    _preparation(
        "refcocog",
        "RefCOCOg, split by UMD and by Google",
        "20220413012904",
        ["umd", "google"],
        ["refcocog-val-umd", "refcocog-test-umd", "refcocog-val-google"],
        {"val-umd": 2573, "test-umd": 5023, "val-google": 5000},
    ),
)
