"""The files of the refer toolbox: references to objects, and instances.json with the objects' masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.formats.json_fields import read_field, read_json
from dataset_adapters.formats.plain_pickle import read_plain_pickle

IMAGES = "images/mscoco/images/train2014"
NO_TARGET = [-1]
"""The annotation ids of a reference to nothing, in gRefCOCO."""


class Reference(NamedTuple):
    """What is described: the annotations of its objects (none: no target), and its sentences as (sentence id, text)."""

    ref_id: int
    ann_ids: tuple[int, ...]
    image_id: int
    sentences: tuple[tuple[int, str], ...]


AnnotationIds: TypeAlias = Callable[[Path, str, Mapping[str, Any]], tuple[int, ...]]

# Splits with a rule of their own; the others are matched exactly.
_SPLIT_RULES: Mapping[str, Callable[[str], bool]] = {
    "testA": lambda stored: "A" in stored,
    "testB": lambda stored: "B" in stored,
    "test": lambda stored: "test" in stored,
}


def one_target(path: Path, where: str, ref: Mapping[str, Any]) -> tuple[int, ...]:
    """The annotation of a reference to one object. Raises DatasetError."""
    return (read_field(path, where, ref, "ann_id", int),)


def any_targets(path: Path, where: str, ref: Mapping[str, Any]) -> tuple[int, ...]:
    """The annotations of a reference of gRefCOCO: one, several, or none for [-1] or an empty list.

    Raises DatasetError for others, and where the field `no_target`, which the published files have, says otherwise.
    """
    stored = read_field(path, where, ref, "ann_id", (list, int))
    listed = stored if isinstance(stored, list) else [stored]
    if any(type(ann_id) is not int for ann_id in listed):
        raise DatasetError(f"{path}: {where}: ann_id: expected integers, or [-1] for no target, found {listed}")
    targets = () if listed == NO_TARGET else tuple(listed)
    flag = ref.get("no_target", not targets)
    if flag != (not targets):
        raise DatasetError(f"{path}: {where}: no_target: expected {not targets} for ann_id {listed}, found {flag!r}")
    return targets


def read_references(path: Path, split: str, ann_ids: AnnotationIds = one_target) -> list[Reference]:
    """Return the references of one split of refs(<split_by>).p, or of a .json file with the same fields, in its order.

    testA and testB: the letter occurs in the stored split; test: the word does; others: equal. Raises DatasetError
    for a file that is no pickle of plain data, for missing or wrong fields, and if the split has no reference.
    """
    stored = read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    if not isinstance(stored, list):
        raise DatasetError(f"{path}: expected a list of references, found {type(stored).__name__}")
    belongs = _SPLIT_RULES.get(split, split.__eq__)
    splits = [read_field(path, f"reference {position}", ref, "split", str) for position, ref in enumerate(stored)]
    chosen = [_reference(path, n, stored[n], ann_ids) for n, name in enumerate(splits) if belongs(name)]
    if not chosen:
        found = ", ".join(sorted(set(splits))) or "no reference"
        raise DatasetError(f"{path}: expected references of the split {split}, found {found}")
    return chosen


def _reference(path: Path, position: int, ref: Mapping[str, Any], ann_ids: AnnotationIds) -> Reference:
    where = f"reference {position}"
    ref_id = read_field(path, where, ref, "ref_id", int)
    targets, image_id = ann_ids(path, where, ref), read_field(path, where, ref, "image_id", int)
    sentences = read_field(path, where, ref, "sentences", list)
    texts = tuple(
        (
            read_field(path, f"{where}, sentence {number}", sentence, "sent_id", int),
            read_field(path, f"{where}, sentence {number}", sentence, "raw", str),
        )
        for number, sentence in enumerate(sentences)
    )
    return Reference(ref_id, targets, image_id, texts)


def read_objects(path: Path, references: Sequence[Reference], *, crowds: bool = True) -> list[dict[str, str]]:
    """Return the columns of each reference's objects, from instances.json.

    image, size (height and width), segmentations (JSON, a list of one for each object). crowds: whether objects that
    are crowds have a segmentation; if not, theirs is null. Raises DatasetError for a damaged file, missing or wrong
    fields, and absent objects or images.
    """
    stored = read_json(path)
    images, annotations = (_by_id(path, stored, kind) for kind in ("images", "annotations"))
    columns: dict[tuple[int, ...], dict[str, str]] = {}  # references to the same objects share them
    keys = [(reference.image_id, *reference.ann_ids) for reference in references]
    for key, reference in zip(keys, references, strict=True):
        if key not in columns:
            columns[key] = _columns(path, reference, images, annotations, crowds)
    return [columns[key] for key in keys]


def _by_id(path: Path, stored: Any, kind: str) -> dict[int, Any]:
    entries = read_field(path, "the file", stored, kind, list)
    return {read_field(path, f"{kind} {position}", entry, "id", int): entry for position, entry in enumerate(entries)}


def _columns(
    path: Path, reference: Reference, images: Mapping[int, Any], annotations: Mapping[int, Any], crowds: bool
) -> dict[str, str]:
    found = [_annotation(path, ann_id, reference, annotations) for ann_id in reference.ann_ids]
    parts = [
        read_field(path, f"annotation {each['id']}", each, "segmentation", (list, dict))
        if crowds or not each.get("iscrowd")
        else None
        for each in found
    ]
    if reference.image_id not in images:
        raise _absent(path, f"image {reference.image_id}", reference)
    image = _image(path, f"image {reference.image_id}", images[reference.image_id])
    return {**image, "segmentations": json.dumps(parts, separators=(",", ":"))}


def _annotation(path: Path, ann_id: int, reference: Reference, annotations: Mapping[int, Any]) -> Mapping[str, Any]:
    if ann_id not in annotations:
        raise _absent(path, f"annotation {ann_id}", reference)
    annotation: Mapping[str, Any] = annotations[ann_id]
    where = f"annotation {ann_id}"
    if read_field(path, where, annotation, "image_id", int) != reference.image_id:
        raise DatasetError(
            f"{path}: {where}: image_id: expected {reference.image_id} as in reference {reference.ref_id}, "
            f"found {annotation['image_id']}"
        )
    return annotation


def _absent(path: Path, what: str, reference: Reference) -> DatasetError:
    return DatasetError(f"{path}: expected the {what} of reference {reference.ref_id}, found nothing")


def _image(path: Path, where: str, image: Any) -> dict[str, str]:
    name = read_field(path, where, image, "file_name", str)
    if Path(name).name != name:
        raise DatasetError(f"{path}: {where}: file_name: expected a name without folders, found {name!r}")
    height, width = (read_field(path, where, image, side, int) for side in ("height", "width"))
    if not (0 < height < 2**15 and 0 < width < 2**15):
        raise DatasetError(f"{path}: {where}: expected height and width in 1..32767, found {height} and {width}")
    return {"image": f"{IMAGES}/{name}", "size": f"{height} {width}"}


def require_distinct(path: Path, ids: Iterable[str]) -> None:
    """Raise DatasetError naming the file and the first id that occurs twice."""
    repeated = [sample_id for sample_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path}: expected each id once, found {len(repeated)} repeated, first {repeated[0]}")
