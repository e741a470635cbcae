"""Pascal Context: the images of VOC 2010 with the annotation of 459 classes."""

from __future__ import annotations

from pathlib import Path

from dataset_adapters.prepare.preparation import Download, FileCount, Preparation, SplitCount, register
from dataset_adapters.prepare.voc import TERMS

VOC2010 = "VOCdevkit/VOC2010"

IMAGES = Download(
    urls=("http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",),
    hash="md5:da459979d0c395079b5c75ee67908abb",
    megabytes=1350,
    into=".",
    provides=(
        FileCount("images", f"{VOC2010}/JPEGImages/*.jpg", (11321,)),
        FileCount("splits", f"{VOC2010}/ImageSets/Main/val.txt", (1,)),
    ),
)
ANNOTATION = Download(
    urls=("https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz",),
    hash=None,
    megabytes=31,
    into=VOC2010,
    provides=(FileCount("annotations", f"{VOC2010}/trainval/*.mat", (10103,)),),
)
N_VAL = (5105, 5104)
NOTE = "either is whole: val of the paper and of VOC 2010 has 5105 images, mmsegmentation's list of it 5104"
PAGE = "https://cs.stanford.edu/~roozbeh/pascal-context/"


def write_splits(root: Path) -> None:
    """Write ImageSets/SegmentationContext/{train,val}.txt, where absent: the splits of VOC 2010's main task."""
    target = root / VOC2010 / "ImageSets" / "SegmentationContext"
    for split in ("train", "val"):
        source = root / VOC2010 / "ImageSets" / "Main" / f"{split}.txt"
        if source.is_file() and not (target / split).with_suffix(".txt").exists():
            target.mkdir(parents=True, exist_ok=True)
            (target / f"{split}.txt").write_bytes(source.read_bytes())


register(
    Preparation(
        name="context",
        title="Pascal Context, 59 classes from the annotation of 459",
        benchmarks=("context60", "context59"),
        page=PAGE,
        terms=TERMS,
        downloads=(IMAGES, ANNOTATION),
        folder=VOC2010,
        splits=(SplitCount("context60", "val", N_VAL, note=NOTE),),
        convert=write_splits,
    )
)
