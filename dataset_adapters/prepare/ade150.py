"""ADE20K with 150 classes, as in the scene parsing challenge of 2016."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import Download, FileCount, Preparation, SplitCount, register

_LAYOUT = (
    FileCount("images", "ADEChallengeData2016/images/validation/*.jpg", (2000,)),
    FileCount("label maps", "ADEChallengeData2016/annotations/validation/*.png", (2000,)),
)

register(
    Preparation(
        name="ade150",
        title="ADE20K, 150 classes (scene parsing challenge 2016)",
        benchmarks=("ade150",),
        page="http://sceneparsing.csail.mit.edu/",
        terms="images for research and education that is not commercial; see the page",
        downloads=(
            Download(
                urls=("http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",),
                hash="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
                megabytes=970,
                into=".",
                provides=_LAYOUT,
            ),
        ),
        nested=("ade",),
        folder="ADEChallengeData2016",
        counts=_LAYOUT,
        splits=(SplitCount("ade150", "val", (2000,)),),
    )
)
