"""Data sets with a folder of images and a folder of label maps per split, such as ADE20K."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.layout import find_image_folder, stems
from dataset_adapters.base.sample import DatasetError, LabelSourceMissingError, Row
from dataset_adapters.base.semantic import SemanticAdapter

_FOLDERS = {"val": "validation", "train": "training"}


@dataclass(frozen=True, kw_only=True)
class FolderAdapter(SemanticAdapter):
    """<images>/<folder>/<id>.jpg (the only one of `folders`) and <masks>/<folder>/<id><suffix>; background is ignored.

    The folder of the split val is "validation", that of train "training".
    """

    nestings: tuple[str, ...]
    folders: tuple[str, ...] = ("images",)
    masks: str
    suffix: str

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per image or label map of the split. Raises DatasetError."""
        pattern = f"{self.masks}/*/*{self.suffix}"
        if not any(root.glob(pattern)):
            raise LabelSourceMissingError(pattern)
        folder = _FOLDERS.get(str(split), split)
        images, chosen = find_image_folder(root, self.folders, folder, _FOLDERS[self.default_split])
        masks = Path(self.masks, images.name)
        ids = chosen or sorted(stems(root / images, ".jpg") | stems(root / masks, self.suffix))
        if not ids:
            raise DatasetError(f"{root / images}: expected at least one image, found none")
        return [{"id": id, "image": f"{images}/{id}.jpg", "mask": f"{masks}/{id}{self.suffix}"} for id in ids]


def class_ids(n_classes: int, ignored: int) -> dict[int, int]:
    """The `relabel` of label maps that hold class ids 0..n_classes - 1, and `ignored` where there is no class."""
    return {class_id: class_id + 1 for class_id in range(n_classes)} | {ignored: ignored}
