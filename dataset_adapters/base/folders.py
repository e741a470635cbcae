"""Data sets with a folder of images and a folder of label maps per split, such as ADE20K."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.class_names import read_class_names
from dataset_adapters.base.layout import find_image_folder, find_root, stems
from dataset_adapters.base.sample import DatasetError, LabelSourceMissingError, LabelSpace, NameSet, Row, Sample
from dataset_adapters.base.semantic import read_semantic_sample
from support.arrays import Int32Array

_FOLDERS = {"val": "validation", "train": "training"}


@dataclass(frozen=True)
class FolderAdapter:
    """<images>/<folder>/<id>.jpg and <masks>/<folder>/<id><suffix>; background is ignored.

    The folder of the split val is "validation", that of train "training".

    relabel: label id, or `ignored`, for every value of a label map, as decoded by `read_labels`.
    nestings: where the layout may be below the given root.
    """

    name: str
    class_names: str
    nestings: tuple[str, ...]
    images: str
    masks: str
    suffix: str
    read_labels: Callable[[Path], Int32Array]
    relabel: Mapping[int, int]
    ignored: int
    version: int = 1
    task: str = "semantic"
    default_split: str = "val"
    file_columns: tuple[str, ...] = ("image", "mask")

    def find_root(self, root: Path) -> Path:
        """Return the folder of images and label maps, given it or a parent of it. Raises DatasetError."""
        return find_root(root, self.nestings, (self.images,))

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per image or label map of the split. Raises DatasetError."""
        pattern = f"{self.masks}/*/*{self.suffix}"
        if not any(root.glob(pattern)):
            raise LabelSourceMissingError(pattern)
        folder = _FOLDERS.get(str(split), split)
        images, chosen = find_image_folder(root, (self.images,), folder, _FOLDERS[self.default_split])
        masks = Path(self.masks, images.name)
        ids = chosen or sorted(stems(root / images, ".jpg") | stems(root / masks, self.suffix))
        if not ids:
            raise DatasetError(f"{root / images}: expected at least one image, found none")
        return [{"id": id, "image": f"{images}/{id}.jpg", "mask": f"{masks}/{id}{self.suffix}"} for id in ids]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and class id + 1, one query per class: things first, then stuff."""
        return read_class_names(self.class_names).label_space(
            self.name.partition("/")[0], names, ignore_label=self.ignored, scores_background=False
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its label map. Raises SampleError."""
        return read_semantic_sample(root, row, label_space, self.relabel, self.read_labels)


def class_ids(n_classes: int, ignored: int) -> dict[int, int]:
    """The `relabel` of label maps that hold class ids 0..n_classes - 1, and `ignored` where there is no class."""
    return {class_id: class_id + 1 for class_id in range(n_classes)} | {ignored: ignored}
