"""Cityscapes, whose archives need an account."""

from __future__ import annotations

from dataset_adapters.prepare.preparation import FileCount, ManualStep, Preparation, SplitCount, register

_IMAGES = (FileCount("images", "leftImg8bit/val/*/*_leftImg8bit.png", (500,)),)
_LABELS = (FileCount("label maps", "gtFine/val/*/*_gtFine_labelIds.png", (500,)),)
_PAGE = "https://www.cityscapes-dataset.com/downloads/"

register(
    Preparation(
        name="cityscapes",
        title="Cityscapes, 19 classes of fine annotation",
        benchmarks=("cityscapes",),
        page=_PAGE,
        terms="an account and a license of its own: not commercial, no redistribution",
        manual=(
            ManualStep("download leftImg8bit_trainvaltest.zip and unpack it in the data root", _PAGE, _IMAGES),
            ManualStep("download gtFine_trainvaltest.zip and unpack it in the data root", _PAGE, _LABELS),
        ),
        nested=("cityscapes",),
        counts=(*_IMAGES, *_LABELS),
        splits=(SplitCount("cityscapes", "val", (500,)),),
    )
)
