"""COCO-Object (80 classes and background) and COCO-Stuff (171 classes): label maps, and annotations of instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset_adapters.base.adapter import Row, Rows, register
from dataset_adapters.base.class_names import BACKGROUND, read_class_names
from dataset_adapters.base.layout import find_image_folder, stems
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.base.semantic import SemanticAdapter, class_ids, read_matching_image
from dataset_adapters.errors import DatasetError, LabelSourceMissingError
from dataset_adapters.formats.annotation_json import read_field, read_integer, read_json
from dataset_adapters.formats.coco_masks import paint_segments, read_segments
from support.files import expanded

# The benchmark has no ignored pixels: unannotated pixels are background. No target holds this value.
NO_IGNORE = -1
N_CLASSES = 80
N_STUFF_CLASSES = 171

_IMAGE_PARENTS = (".", "images")
# A pixel of COCO-Stuff holds the category id - 1. Category ids reach 90 but only 80 are used, so labels are not pixel
# values + 1: these are the gaps.
_UNUSED_VALUES = frozenset({11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
_CATEGORY_VALUES = tuple(value for value in range(91) if value not in _UNUSED_VALUES)
CATEGORY_LABELS = {value + 1: label for label, value in enumerate(_CATEGORY_VALUES, start=1)}
_CATEGORIES = {BACKGROUND: BACKGROUND, **CATEGORY_LABELS}
_THING_LABELS = {value: label for label, value in enumerate(_CATEGORY_VALUES, start=1)}
# GroupViT's rule: all stuff (91 and above) and unlabeled pixels (255) are background.
_OBJECT_LABELS = {**_THING_LABELS, **dict.fromkeys(range(91, 256), BACKGROUND)}
# COCO-Stuff scores stuff, too (91..181), and ignores unlabeled pixels. Five names stand for an unused thing and for
# stuff (window, desk, mirror, door, plate), so values are matched, never names.
UNLABELED = 255
_STUFF_LABELS = {**_THING_LABELS, **{value: value - 10 for value in range(91, 182)}, UNLABELED: UNLABELED}
_TRAIN_IDS = class_ids(N_STUFF_CLASSES, UNLABELED)


@dataclass(frozen=True, kw_only=True)
class _CocoAdapter(SemanticAdapter):
    """What the label sources share: val2017/<id>.jpg or images/val2017/<id>.jpg."""

    default_split: str = "val2017"
    class_names: str = "coco_object"
    ignored: int = NO_IGNORE
    scores_background: bool = True
    categories: Mapping[int, int] = field(default_factory=lambda: _CATEGORIES)
    nestings = ("coco", "coco_stuff164k")
    folders = ("images", "val2017", "annotations", "stuffthingmaps")
    any_folder = True


@dataclass(frozen=True, kw_only=True)
class CocoMapsAdapter(_CocoAdapter):
    """Label maps, <parent>/<split>/<id><suffix> in the first of the parents that has any."""

    suffix: str
    parents: tuple[str, ...] = ("stuffthingmaps", "annotations")

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row (id, image, mask) per image or label map of the split. Raises DatasetError."""
        images, chosen = _find_images(root, split)
        folders = [Path(parent, images.name) for parent in self.parents]
        maps = next((folder for folder in folders if self._map_ids(root / folder)), None)
        if maps is None:
            raise LabelSourceMissingError(" or ".join(f"{folder}/*{self.suffix}" for folder in folders))
        ids = chosen or sorted(stems(root / images, ".jpg") | self._map_ids(root / maps))
        return [{"id": id, "image": f"{images}/{id}.jpg", "mask": f"{maps}/{id}{self.suffix}"} for id in ids]

    def _map_ids(self, folder: Path) -> set[str]:
        # Converted label maps of several kinds may be mixed with the original ones.
        return {stem for stem in stems(folder, self.suffix) if not stem.endswith("TrainIds")}


@dataclass(frozen=True, kw_only=True)
class CocoInstancesAdapter(_CocoAdapter):
    """annotations/instances_<split>.json: instances painted from largest to smallest, crowds included."""

    file_columns = ("image",)

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return the file of annotations, the folder of images and the file of ids, if any. Raises DatasetError."""
        images, chosen = _find_images(root, split)
        annotations = root / _annotations(images)
        if not annotations.is_file():
            raise LabelSourceMissingError(_annotations(images))
        return annotations, root / images, *([expanded(split)] if chosen else [])

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row (id, image, mask, height, width, instances) per image of the split. Raises DatasetError.

        mask: the file of annotations. instances: their labels and masks, see `paint_segments`.
        """
        images, chosen = _find_images(root, split)
        annotations = _annotations(images)
        annotated, notices = read_instances(
            root / annotations, CATEGORY_LABELS, read_class_names("coco_object").dataset
        )
        ids = chosen or sorted(stems(root / images, ".jpg") | annotated.keys())
        missing = [id for id in ids if id not in annotated]
        if missing:
            raise DatasetError(
                f"{root / annotations}: expected every image of the split, found none with the file name"
                f" {missing[0]}.jpg ({len(missing)} of {len(ids)} images absent)"
            )
        rows = ({"id": id, "image": f"{images}/{id}.jpg", "mask": annotations, **annotated[id]} for id in ids)
        return Rows(rows, notices)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        target = paint_segments(row, row["instances"])
        return Sample(row["id"], read_matching_image(root, row, target), label_space.queries, self.task, target)


def _find_images(root: Path, split: str | Path) -> tuple[Path, list[str] | None]:
    return find_image_folder(root, _IMAGE_PARENTS, split, _CocoAdapter.default_split)


def _annotations(images: Path) -> str:
    return f"annotations/instances_{images.name}.json"


def read_instances(
    path: Path, labels: Mapping[int, int], names: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Read a file of instances.

    labels: label id (1, 2, ...) by category id. names: the class names of labels 1, 2, ...
    Returns the columns height, width and instances (see `paint_segments`) by the stem of the image's file name, and
    notices of what was left out.
    Raises DatasetError naming entry and field for a file that is not such JSON or has other categories, and as
    `read_segments`.
    """
    stored = read_json(path)
    expected = {category: names[label - 1] for category, label in labels.items()}
    found = {}
    for number, entry in enumerate(read_field(path, "the file", stored, "categories", list)):
        where = f"categories {number}"
        found[read_integer(path, where, entry, "id")] = read_field(path, where, entry, "name", str)
    for category in sorted(expected.keys() | found.keys()):
        if expected.get(category) != found.get(category):
            raise DatasetError(
                f"{path}: categories: expected id {category} to be {expected.get(category)!r}, "
                f"found {found.get(category)!r}"
            )
    painted, notices = read_segments(path, stored, "annotations", labels, by_area=True)
    return {stem: {**size, "instances": instances} for stem, (size, instances) in painted.items()}, notices


register(
    [
        CocoMapsAdapter(name="coco-object/stuffthingmaps", suffix=".png", relabel=_OBJECT_LABELS),
        CocoMapsAdapter(
            name="coco-object/instanceTrainIds",
            suffix="_instanceTrainIds.png",
            relabel={label: label for label in range(N_CLASSES + 1)},
        ),
        CocoInstancesAdapter(name="coco-object/instances", relabel=_CATEGORIES),
        *(
            CocoMapsAdapter(
                name=f"coco-stuff/{source}",
                class_names="coco_stuff",
                ignored=UNLABELED,
                scores_background=False,
                suffix=suffix,
                relabel=relabel,
                categories={**_CATEGORIES, **{id_: id_ - 11 for id_ in range(92, 183)}},
                parents=parents,
            )
            for source, suffix, relabel, parents in (
                ("stuffthingmaps", ".png", _STUFF_LABELS, ("stuffthingmaps",)),
                ("labelTrainIds", "_labelTrainIds.png", _TRAIN_IDS, ("annotations", "stuffthingmaps")),
                ("detectron2", ".png", _TRAIN_IDS, ("stuffthingmaps_detectron2",)),
            )
        ),
    ]
)
