"""Pascal VOC 2012, segmentation."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import Download, FileCount, Preparation, SplitCount, register

TERMS = "images under Flickr's terms of use, for research; see the page"

register(
    Preparation(
        name="voc",
        title="Pascal VOC 2012, segmentation",
        benchmarks=("voc21", "voc20"),
        page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        terms=TERMS,
        downloads=(
            Download(
                urls=("http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",),
                hash="md5:6cd6e144f989b92b3379bac3b3de84fd",
                megabytes=2000,
                into=".",
                provides=(
                    FileCount("images", "VOCdevkit/VOC2012/JPEGImages/*.jpg", (17125,)),
                    FileCount("label maps", "VOCdevkit/VOC2012/SegmentationClass/*.png", (2913,)),
                    FileCount("split", "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", (1,)),
                ),
            ),
        ),
        folder="VOCdevkit/VOC2012",
        splits=(SplitCount("voc21", "val", (1449,)),),
    )
)
