"""Cityscapes: 19 classes of fine annotation; every other pixel is ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_adapters.base.adapter import Row, register
from dataset_adapters.base.layout import find_image_folder
from dataset_adapters.base.semantic import SemanticAdapter, class_ids
from dataset_adapters.errors import DatasetError, LabelSourceMissingError

IGNORED = 255
IMAGES, LABELS = "leftImg8bit", "gtFine"
# Of the official ids 0..33, those of the 19 classes in the order of their train ids.
CLASS_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_OF_IDS = dict.fromkeys(range(34), IGNORED) | {id_: label for label, id_ in enumerate(CLASS_IDS, start=1)}


@dataclass(frozen=True, kw_only=True)
class CityscapesAdapter(SemanticAdapter):
    """leftImg8bit/<split>/<city>/<id>_leftImg8bit.png and gtFine/<split>/<city>/<id>_gtFine_<kind>.png."""

    class_names: str = "cityscapes"
    kind: str
    nestings = ("cityscapes",)
    folders = (IMAGES, LABELS)

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


def _ids(folder: Path, ending: str) -> set[str]:
    return {path.name.removesuffix(ending) for path in folder.glob(f"*/*{ending}")}


# Drawn from the same polygons in the same order, both kinds hold the same pixels. The archives have only labelIds.
register(
    CityscapesAdapter(name=f"cityscapes/{kind}", kind=kind, relabel=relabel)
    for kind, relabel in (("labelTrainIds", class_ids(len(CLASS_IDS), IGNORED)), ("labelIds", _OF_IDS))
)
