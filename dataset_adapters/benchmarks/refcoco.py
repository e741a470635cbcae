"""Referring segmentation in the layout of the refer toolbox: RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from dataset_adapters.base.adapter import Adapter, Row, Rows, register
from dataset_adapters.base.layout import find_root, require_distinct
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.base.semantic import read_matching_image
from dataset_adapters.errors import DatasetError, SampleError
from dataset_adapters.formats.annotation_json import as_integer, read_field, read_image, read_integer, read_json
from dataset_adapters.formats.coco_masks import Overlaps, decode_segmentation, stubs_notices, without_stubs
from dataset_adapters.formats.plain_pickle import read_plain_pickle
from support.text import clip_words, counted

IMAGES = "images/mscoco/images/train2014"
NO_TARGET = [-1]
"""The annotation ids of a reference to nothing, in gRefCOCO."""

Sentences: TypeAlias = Literal["joint", "single"]
"""How a reference becomes samples: one with all its sentences, or one per sentence."""

_CHOICES = {"sentences": get_args(Sentences), "overlaps": get_args(Overlaps)}


@dataclass(frozen=True)
class ReferAdapter(Adapter):
    """<name>/refs(<split_by>).p, <name>/instances.json and images/mscoco/images/train2014/*.jpg.

    The texts are the sentences' field `raw`, as in LAVT; image names come from instances.json, as the toolbox says to
    ignore those of the references.
    splits: values of the references' field `split`, followed by -<split_by> if that is not unc.
    sentences: "joint": a sample is a reference and its queries are all its sentences without repeated and blank ones
    (released code); "single": a sample is one sentence (LAVT).
    several: whether a reference may mean several objects or none.
    overlaps: "kept": the target is where any part of the segmentation is set; "lost": where exactly one is, as in
    LAVT's targets, for comparison with figures measured on them.
    """

    name: str
    splits: tuple[str, ...]
    default_split: str = "val"
    sentences: Sentences = "joint"
    overlaps: Overlaps = "kept"
    version: int = 2
    task: str = "referring"
    file_columns = ("image",)
    choices = _CHOICES
    several = False

    def find_root(self, root: Path) -> Path:
        """Return the folder that holds `<name>` and `images`, given it or its parent. Raises DatasetError."""
        return find_root(root, ("refer",), (self.name, IMAGES))

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return refs(<split_by>).p and instances.json. Raises DatasetError for an unknown split."""
        folder, (_, split_by) = root / self.name, self._split(split)
        return folder / f"refs({split_by}).p", folder / "instances.json"

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row per sample: id, image, sentences (JSON), size (height and width), segmentations (JSON).

        Blank sentences, and references without any other, ask for nothing and are left out. Raises DatasetError for
        damaged files, missing or wrong fields, references without image or mask, repeated ids and an empty split.
        """
        refs, instances = self.annotation_files(root, split)
        name, _ = self._split(split)
        references = read_references(refs, name, several=self.several)
        objects, notices = read_objects(instances, references, crowds=not self.several)
        rows: list[Row] = []
        n_blank = n_silent = 0
        for reference, columns in zip(references, objects, strict=True):
            sample_id = f"ref{reference.ref_id}"
            sentences = [(sent_id, text) for sent_id, text in reference.sentences if clip_words(text)]
            n_blank += len(reference.sentences) - len(sentences)
            n_silent += not sentences
            samples = [(f"{sample_id}-sent{sent_id}", [text]) for sent_id, text in sentences]
            if self.sentences == "joint" and sentences:  # each text once: CaR rejects repeated texts
                distinct: dict[tuple[str, ...], str] = {}
                for _, text in sentences:
                    distinct.setdefault(clip_words(text), text)
                samples = [(sample_id, list(distinct.values()))]
            rows += [{"id": id, "sentences": json.dumps(texts, ensure_ascii=False), **columns} for id, texts in samples]
        if not rows:
            raise DatasetError(f"{refs}: expected references with a sentence in the split {split}, found none")
        silent = counted(n_silent, "reference without a sentence", "references without a sentence") if n_silent else ""
        blank = counted(n_blank, "blank sentence") if n_blank else ""
        if n_blank or n_silent:
            notices.append(f"{refs.name}: left out {' and '.join(filter(None, (silent, blank)))}")
        require_distinct(refs, (row["id"] for row in rows))
        return Rows(rows, notices)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        height, width = map(int, row["size"].split())
        segmentations, file = json.loads(row["segmentations"]), f"{self.name}/instances.json"
        masks = np.zeros((len(segmentations), height, width), np.bool_)
        try:
            for mask, segmentation in zip(masks, segmentations, strict=True):
                if segmentation is not None:
                    mask[:] = decode_segmentation(segmentation, height, width, self.overlaps)
        except ValueError as error:
            raise SampleError(row["id"], file, f"{Path(row['image']).name}: {error}") from error
        target = masks if self.several else np.asarray(masks.any(axis=0))
        image = read_matching_image(root, {**row, "mask": file}, target)
        return Sample(row["id"], image, self.queries(row)[0], self.task, target)

    def queries(self, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return tuple(json.loads(row["sentences"])), ()

    def _split(self, split: str | Path) -> tuple[str, str]:
        """The value of the field `split`, and the <split_by> of the file."""
        if str(split) not in self.splits:
            known = ", ".join(self.splits)
            raise DatasetError(f"split: expected one of {known} for {self.name}, found {str(split)!r}")
        name, _, split_by = str(split).partition("-")
        return name, split_by or "unc"


@dataclass(frozen=True)
class GeneralizedReferAdapter(ReferAdapter):
    """grefcoco/grefs(unc).json (or .p), grefcoco/instances.json and the images of the refer toolbox.

    The target holds a mask per object that a reference means, an empty one for a crowd (ReLA leaves crowds out); it
    holds none if the reference means nothing, `ann_id` [-1]. So the target of a reference to only a crowd has no pixel.
    """

    version: int = 3
    task: str = "generalized"
    several = True

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return grefs(<split_by>).json, or .p if only that exists, and instances.json."""
        folder, (_, split_by) = root / self.name, self._split(split)
        plain, pickled = (folder / f"grefs({split_by}){suffix}" for suffix in (".json", ".p"))
        return pickled if pickled.exists() and not plain.exists() else plain, folder / "instances.json"


class Reference(NamedTuple):
    """A described object or objects: their annotations (none: no target), and the sentences as (sentence id, text)."""

    ref_id: int
    ann_ids: tuple[int, ...]
    image_id: int
    sentences: tuple[tuple[int, str], ...]


# Splits that the refer toolbox does not match exactly.
_SPLIT_RULES: Mapping[str, Callable[[str], bool]] = {
    "testA": lambda stored: "A" in stored,
    "testB": lambda stored: "B" in stored,
    "test": lambda stored: "test" in stored,
}


def _targets(path: Path, where: str, ref: Mapping[str, Any]) -> tuple[int, ...]:
    """The annotations of a reference of gRefCOCO: one, several, or none for [-1] or an empty list.

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


def read_references(path: Path, split: str, *, several: bool = False) -> list[Reference]:
    """Return the references of one split of refs(<split_by>).p, or of a .json file with the same fields, in its order.

    several: whether a reference may mean several objects or none, as in gRefCOCO.
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
        ann_ids = _targets(path, where, ref) if several else (read_integer(path, where, ref, "ann_id"),)
        chosen.append(Reference(ref_id, ann_ids, image_id, tuple(sentences)))
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
    if entries.get(id) is None:
        found = " once, found others of its id" if id in entries else ", found nothing"
        raise DatasetError(f"{path}: expected the {kind} {id} of reference {reference.ref_id}{found}")
    entry: dict[str, Any] = entries[id]
    return entry


_UNC = ("val", "testA", "testB", "train")

register(
    [
        ReferAdapter("refcoco", _UNC),
        ReferAdapter("refcoco+", _UNC),
        ReferAdapter("refcocog", ("val-umd", "test-umd", "train-umd", "val-google", "train-google"), "val-umd"),
        GeneralizedReferAdapter("grefcoco", _UNC),
    ]
)
