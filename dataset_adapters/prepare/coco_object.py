"""COCO val2017 with COCO-Stuff's label maps, for COCO-Object and COCO-Stuff."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import Download, FileCount, Preparation, SplitCount, register

TERMS = "annotations CC BY 4.0, images under Flickr's terms of use"

_IMAGES_AND_MAPS = (
    Download(
        urls=("http://images.cocodataset.org/zips/val2017.zip",),
        hash="md5:442b8da7639aecaf257c1dceb8ba8c80",
        megabytes=816,
        into=".",
        provides=(FileCount("images", "val2017/*.jpg", (5000,)),),
    ),
    Download(
        urls=("http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",),
        hash=None,
        megabytes=659,
        into="stuffthingmaps",
        provides=(FileCount("label maps", "stuffthingmaps/val2017/*.png", (5000,)),),
    ),
)

register(
    *(
        Preparation(
            name=name,
            title=title,
            benchmarks=(name,),
            page="https://cocodataset.org/#download and https://github.com/nightrome/cocostuff",
            terms=TERMS,
            downloads=_IMAGES_AND_MAPS,
            nested=("coco",),
            splits=(SplitCount(name, "val2017", (5000,)),),
        )
        for name, title in (
            ("coco-object", "COCO val2017 with the label maps of COCO-Stuff"),
            ("coco-stuff", "COCO-Stuff 164k, val2017: the files of coco-object"),
        )
    )
)
