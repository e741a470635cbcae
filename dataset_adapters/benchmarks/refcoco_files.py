"""The files of the refer toolbox: references to objects, and instances.json with the masks of the objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.formats.annotation_json import as_integer, read_field, read_image, read_integer, read_json
from dataset_adapters.formats.coco_masks import stubs_notices, without_stubs
from dataset_adapters.formats.plain_pickle import read_plain_pickle

IMAGES = "images/mscoco/images/train2014"
NO_TARGET = [-1]
"""The annotation ids of a reference to nothing, in gRefCOCO."""


class Reference(NamedTuple):
    """A described object or objects: their annotations (none: no target), and the sentences as (sentence id, text)."""

    ref_id: int
    ann_ids: tuple[int, ...]
    image_id: int
    sentences: tuple[tuple[int, str], ...]


AnnotationIds: TypeAlias = Callable[[Path, str, Mapping[str, Any]], tuple[int, ...]]

# Splits that the refer toolbox does not match exactly.
_SPLIT_RULES: Mapping[str, Callable[[str], bool]] = {
    "testA": lambda stored: "A" in stored,
    "testB": lambda stored: "B" in stored,
    "test": lambda stored: "test" in stored,
}


def one_target(path: Path, where: str, ref: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the annotation of a reference to one object. Raises DatasetError."""
    return (read_integer(path, where, ref, "ann_id"),)


def any_targets(path: Path, where: str, ref: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the annotations of a reference of gRefCOCO: one, several, or none for [-1] or an empty list.

    Raises DatasetError for others, and if the field `no_target` of the published files contradicts them.
    """
    stored = read_field(path, where, ref, "ann_id", (list, int, float, str))
    listed = [as_integer(ann_id) for ann_id in (stored if isinstance(stored, list) else [stored])]
    known = [ann_id for ann_id in listed if ann_id is not None]
    if len(known) < len(listed):
        raise DatasetError(f"{path}: {where}: ann_id: expected integers, or [-1] for no target, found {stored!r}")
    targets = () if known == NO_TARGET else tuple(known)
    flag = ref.get("no_target", not targets)
    if flag != (not targets):
        raise DatasetError(f"{path}: {where}: no_target: expected {not targets} for ann_id {listed}, found {flag!r}")
    return targets


def read_references(path: Path, split: str, ann_ids: AnnotationIds = one_target) -> list[Reference]:
    """Return the references of one split of refs(<split_by>).p, or of a .json file with the same fields, in its order.

    testA and testB match if the letter occurs in the stored split, test if the word does, others if equal. Raises
    DatasetError for a file that is not a pickle of plain data, for missing or wrong fields, and for an empty split.
    """
    stored = read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    if not isinstance(stored, list):
        raise DatasetError(f"{path}: expected a list of references, found {type(stored).__name__}")
    belongs = _SPLIT_RULES.get(split, split.__eq__)
    splits: set[str] = set()
    chosen = []
    for number, ref in enumerate(stored):
        ref_id = as_integer(ref.get("ref_id")) if isinstance(ref, dict) else None
        where = f"reference {number if ref_id is None else ref_id}"
        name = read_field(path, where, ref, "split", str)
        splits.add(name)
        if not belongs(name):
            continue
        sentences = []
        for position, sentence in enumerate(read_field(path, where, ref, "sentences", list)):
            spot = f"{where}, sentence {position}"
            sent_id = read_integer(path, spot, sentence, "sent_id")
            sentences.append((sent_id, read_field(path, spot, sentence, "raw", str)))
        ref_id, image_id = (read_integer(path, where, ref, field) for field in ("ref_id", "image_id"))
        chosen.append(Reference(ref_id, ann_ids(path, where, ref), image_id, tuple(sentences)))
    if not chosen:
        found = ", ".join(sorted(splits)) or "no reference"
        raise DatasetError(f"{path}: expected references of the split {split}, found {found}")
    return chosen


def read_objects(
    path: Path, references: Sequence[Reference], *, crowds: bool = True
) -> tuple[list[dict[str, str]], list[str]]:
    """Return the columns of each reference's objects, from instances.json, and notices of what was left out.

    The columns are image, size (height and width) and segmentations (JSON, a list of one per object). crowds: whether
    crowds have a segmentation; if not, theirs is null. Raises DatasetError for a damaged file, missing or wrong fields,
    and missing objects or images.
    """
    stored = read_json(path)
    images, annotations = dict[int, Any](), dict[int, Any]()
    for kind, by_id in (("images", images), ("annotations", annotations)):
        for number, entry in enumerate(read_field(path, "the file", stored, kind, list)):
            entry_id = read_integer(path, f"{kind} {number}", entry, "id")
            by_id[entry_id] = entry if by_id.get(entry_id, entry) == entry else None  # None: two that contradict
    masks: dict[int, Any] = {}
    columns: dict[tuple[int, ...], dict[str, str]] = {}  # shared by references to the same objects
    keys = [(reference.image_id, *reference.ann_ids) for reference in references]
    for key, reference in zip(keys, references, strict=True):
        if key in columns:
            continue
        segmentations = []
        for ann_id in reference.ann_ids:
            where, annotation = f"annotation {ann_id}", _referenced(path, "annotation", ann_id, annotations, reference)
            if (found := read_integer(path, where, annotation, "image_id")) != reference.image_id:
                expected = f"expected {reference.image_id} as in reference {reference.ref_id}"
                raise DatasetError(f"{path}: {where}: image_id: {expected}, found {found}")
            has_mask = crowds or annotation.get("iscrowd") in (None, 0, "0")
            masks[ann_id] = read_field(path, where, annotation, "segmentation", (list, dict)) if has_mask else None
            segmentations.append(without_stubs(masks[ann_id]))
        entry = _referenced(path, "image", key[0], images, reference)
        image = read_image(path, entry, f"image {key[0]}")
        columns[key] = {
            "image": f"{IMAGES}/{image.file_name}",
            "size": f"{image.height} {image.width}",
            "segmentations": json.dumps(segmentations, separators=(",", ":")),
        }
    return [columns[key] for key in keys], stubs_notices(path, masks.values())


def _referenced(path: Path, kind: str, id: int, entries: Mapping[int, Any], reference: Reference) -> dict[str, Any]:
    if id not in entries:
        raise DatasetError(f"{path}: expected the {kind} {id} of reference {reference.ref_id}, found nothing")
    if entries[id] is None:
        raise DatasetError(
            f"{path}: expected the {kind} {id} of reference {reference.ref_id} once, found others of its id"
        )
    entry: dict[str, Any] = entries[id]
    return entry
