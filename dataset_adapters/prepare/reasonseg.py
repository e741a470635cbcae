"""ReasonSeg, which is in a cloud folder."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import FileCount, ManualStep, Preparation, SplitCount, register

_PAGE = "https://github.com/dvlab-research/LISA"
_SIZES = {"val": 200, "test": 779}
_FILES = tuple(
    FileCount(f"{what} of {split}", f"{split}/*.{suffix}", (size,))
    for split, size in _SIZES.items()
    for what, suffix in (("images", "jpg"), ("shapes", "json"))
)

register(
    Preparation(
        name="reasonseg",
        title="ReasonSeg",
        benchmarks=("reasonseg-val", "reasonseg-test"),
        page=_PAGE,
        terms="see the page",
        manual=(
            ManualStep(
                "download ReasonSeg from the cloud folder that the page links to and unpack val and test in the data"
                " root, or in reason_seg/ReasonSeg there",
                _PAGE,
                _FILES,
            ),
        ),
        nested=("reason_seg/ReasonSeg", "ReasonSeg"),
        counts=_FILES,
        splits=tuple(SplitCount("reasonseg", split, (size,)) for split, size in _SIZES.items()),
    )
)
