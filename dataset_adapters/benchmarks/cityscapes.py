"""Cityscapes: 19 classes of fine annotation; every other pixel is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.class_names import read_class_names
from dataset_adapters.base.folders import class_ids
from dataset_adapters.base.layout import find_image_folder, find_root
from dataset_adapters.base.sample import (
    DatasetError,
    LabelSourceMissingError,
    LabelSpace,
    NameSet,
    Row,
    Sample,
    register,
)
from dataset_adapters.base.semantic import read_semantic_sample

IGNORED = 255
IMAGES, LABELS = "leftImg8bit", "gtFine"
# Of the official ids 0..33, those of the 19 classes in the order of their train ids.
CLASS_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_OF_IDS = dict.fromkeys(range(34), IGNORED) | {id_: label for label, id_ in enumerate(CLASS_IDS, start=1)}


@dataclass(frozen=True)
class CityscapesAdapter:
    """leftImg8bit/<split>/<city>/<id>_leftImg8bit.png and gtFine/<split>/<city>/<id>_gtFine_<kind>.png.

    relabel: label id, or 255, for every value of a label map of this kind.
    """

    kind: str
    relabel: Mapping[int, int]
    version: int = 1
    task: str = "semantic"
    default_split: str = "val"
    file_columns: tuple[str, ...] = ("image", "mask")

    @property
    def name(self) -> str:
        """The data set and its label source."""
        return f"cityscapes/{self.kind}"

    def find_root(self, root: Path) -> Path:
        """Return the folder of leftImg8bit and gtFine, given it or its parent. Raises DatasetError."""
        return find_root(root, ("cityscapes",), (IMAGES, LABELS))

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per image or label map of the split. Raises DatasetError."""
        images, chosen = find_image_folder(root, (IMAGES,), split, self.default_split)
        masks, ending = Path(LABELS, images.name), f"_gtFine_{self.kind}.png"
        labeled = _ids(root / masks, ending)
        if not labeled:
            raise LabelSourceMissingError(f"{masks}/*/*{ending}")
        ids = chosen or sorted(labeled | _ids(root / images, f"_{IMAGES}.png"))
        if wrong := [id_ for id_ in ids if "_" not in id_]:
            raise DatasetError(f"split: expected ids such as frankfurt_000000_000294, found {wrong[0]!r}")
        folder = {id_: id_.rsplit("_", 2)[0] for id_ in ids}
        return [
            {"id": id_, "image": f"{images}/{city}/{id_}_{IMAGES}.png", "mask": f"{masks}/{city}/{id_}{ending}"}
            for id_, city in folder.items()
        ]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (of no class) and train id + 1, one query per class: things first, then stuff."""
        return read_class_names("cityscapes").label_space(
            "cityscapes", names, ignore_label=IGNORED, scores_background=False
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its label map. Raises SampleError."""
        return read_semantic_sample(root, row, label_space, self.relabel)


def _ids(folder: Path, ending: str) -> set[str]:
    return {path.name.removesuffix(ending) for path in folder.glob(f"*/*{ending}")}


# Drawn from the same polygons in the same order, both kinds hold the same pixels. The archives have only labelIds.
register(
    [
        CityscapesAdapter("labelTrainIds", class_ids(len(CLASS_IDS), IGNORED)),
        CityscapesAdapter("labelIds", _OF_IDS),
    ]
)
