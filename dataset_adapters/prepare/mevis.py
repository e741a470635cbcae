"""MeViS, which is in cloud folders."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import FileCount, ManualStep, Preparation, SplitCount, register

_PAGE = "https://github.com/henghuiding/MeViS"
_FILES = (
    FileCount("expressions", "valid_u/meta_expressions.json", (1,)),
    FileCount("masks", "valid_u/mask_dict.json", (1,)),
    FileCount("videos", "valid_u/JPEGImages/*", (50,)),
)

register(
    Preparation(
        name="mevis",
        title="MeViS, valid_u",
        benchmarks=("mevis",),
        page=_PAGE,
        terms="see the page",
        manual=(
            ManualStep(
                "download valid_u from the cloud folder that the page links to and unpack it in the data root, or in"
                " mevis there (valid and test have no masks)",
                _PAGE,
                _FILES,
            ),
        ),
        nested=("mevis", "MeViS"),
        counts=_FILES,
        splits=(SplitCount("mevis", "valid_u", noun="frames under their expressions"),),
    )
)
