"""Ref-DAVIS 2017: DAVIS 2017 (unsupervised, 480p) with four sets of expressions."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import Download, FileCount, ManualStep, Preparation, SplitCount, register

_DAVIS = "https://data.vision.ee.ethz.ch/csergi/share/davis"
_TEXTS_PAGE = (
    "https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/research/video-segmentation/"
    "video-object-segmentation-with-language-referring-expressions"
)
_TEXTS = (FileCount("expressions", "davis_text_annotations/Davis17_annot[12]*.txt", (4,)),)
_FRAMES = (
    FileCount("videos of val", "DAVIS/ImageSets/2017/val.txt", (1,)),
    FileCount("videos", "DAVIS/JPEGImages/480p/*/00000.jpg", (90,)),
    FileCount("label maps of first frames", "DAVIS/Annotations_unsupervised/480p/*/00000.png", (90,)),
)
_SEMANTICS = (FileCount("objects", "DAVIS/davis_semantics.json", (1,)),)

register(
    Preparation(
        name="ref-davis17",
        title="Ref-DAVIS 2017",
        benchmarks=("ref-davis17", "ref-davis17-temporal"),
        page="https://davischallenge.org/davis2017/code.html",
        terms="see the pages of DAVIS and of the expressions",
        downloads=(
            Download((f"{_DAVIS}/DAVIS-2017-Unsupervised-trainval-480p.zip",), None, None, ".", _FRAMES),
            Download((f"{_DAVIS}/DAVIS-2017_semantics-480p.zip",), None, None, ".", _SEMANTICS),
        ),
        manual=(
            ManualStep(
                "download davis_text_annotations.zip from the page and unpack it in the data root",
                _TEXTS_PAGE,
                _TEXTS,
            ),
        ),
        nested=("ref-davis",),
        folder="DAVIS",
        counts=(*_FRAMES, *_SEMANTICS, *_TEXTS),
        splits=(SplitCount("ref-davis17", "val", noun="frames under the four sets of expressions"),),
    )
)
