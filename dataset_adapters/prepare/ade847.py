"""ADE20K with 847 classes: the full data set, which asks for an account."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import FileCount, ManualStep, Preparation, SplitCount, register

_FOLDER = "ADE20K_2021_17_01"
_PAGE = "https://groups.csail.mit.edu/vision/datasets/ADE20K/"
_LAYOUT = (
    FileCount("index", f"{_FOLDER}/index_ade20k.pkl", (1,)),
    FileCount("objects", f"{_FOLDER}/objects.txt", (1,)),
    FileCount("images", f"{_FOLDER}/images/ADE/validation/**/*.jpg", (2000,)),
)
# What the benchmark reads.
_CONVERTED = (
    FileCount("converted images", f"{_FOLDER}/images_detectron2/validation/*.jpg", (2000,)),
    FileCount("converted label maps", f"{_FOLDER}/annotations_detectron2/validation/*.tif", (2000,)),
)

register(
    Preparation(
        name="ade847",
        title="ADE20K, 847 classes",
        benchmarks=("ade847",),
        page=_PAGE,
        terms="for research and education that is not commercial; an account is needed",
        manual=(
            ManualStep(
                f"register, download the archive from your personal address and unpack it, so that {_FOLDER}/ is"
                " in the data root; then convert its images and label maps with the script"
                " prepare_ade20k_full_sem_seg.py of https://github.com/bytedance/fc-clip",
                _PAGE,
                (*_LAYOUT, *_CONVERTED),
            ),
        ),
        nested=("ade",),
        folder=_FOLDER,
        counts=(*_LAYOUT, *_CONVERTED),
        splits=(SplitCount("ade847", "val", (2000,)),),
    )
)
