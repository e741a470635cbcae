"""Referring segmentation in the layout of the refer toolbox: RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from dataset_adapters.base.layout import find_root, require_distinct
from dataset_adapters.base.sample import Adapter, DatasetError, LabelSpace, Row, Rows, Sample, SampleError, register
from dataset_adapters.base.semantic import read_matching_image
from dataset_adapters.benchmarks.refcoco_files import IMAGES, Reference, any_targets, read_objects, read_references
from dataset_adapters.formats.coco_masks import Overlaps, decode_segmentation
from support.arrays import BoolArray
from support.text import clip_words, counted

Sentences: TypeAlias = Literal["joint", "single"]
"""How a reference becomes samples: one with all its sentences, or one per sentence."""

_CHOICES = {"sentences": get_args(Sentences), "overlaps": get_args(Overlaps)}

_Described: TypeAlias = tuple[list[Reference], list[dict[str, str]], list[str]]


class Split(NamedTuple):
    """A split in the files: refs(<split_by>).p and the value of its references' field `split`."""

    split_by: str
    name: str


@dataclass(frozen=True)
class ReferAdapter(Adapter):
    """<name>/refs(<split_by>).p, <name>/instances.json and images/mscoco/images/train2014/*.jpg.

    The texts are the sentences' field `raw`, as in LAVT; image names come from instances.json, as the toolbox says to
    ignore those of the references.
    sentences: "joint": a sample is a reference and its queries are all its sentences without repeated and blank ones
    (released code); "single": a sample is one sentence (LAVT).
    overlaps: "kept": the target is where any part of the segmentation is set; "lost": where exactly one is, as in
    LAVT's targets, for comparison with figures measured on them.
    """

    name: str
    splits: Mapping[str, Split]
    default_split: str
    sentences: Sentences = "joint"
    overlaps: Overlaps = "kept"
    version: int = 2
    task: str = "referring"
    file_columns = ("image",)
    choices = _CHOICES

    def find_root(self, root: Path) -> Path:
        """Return the folder that holds `<name>` and `images`, given it or its parent. Raises DatasetError."""
        return find_root(root, ("refer",), (self.name, IMAGES))

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return refs(<split_by>).p and instances.json. Raises DatasetError for an unknown split."""
        folder = root / self.name
        return folder / f"refs({self._split(split).split_by}).p", folder / "instances.json"

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row a sample: id, image, sentences (JSON), size (height and width), segmentations (JSON).

        Blank sentences, and references without any other, ask for nothing and are left out. Raises DatasetError for
        damaged files, missing or wrong fields, references without image or mask, repeated ids and an empty split.
        """
        refs, instances = self.annotation_files(root, split)
        references, objects, notices = self._described(refs, instances, self._split(split).name)
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
        """Decode one image and the mask of its object. Raises SampleError."""
        target = self._target(row)
        image = read_matching_image(root, {**row, "mask": self._masks_file}, target)
        return Sample(row["id"], image, self.queries(row)[0], self.task, target)

    def queries(self, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The sentences of a sample."""
        return tuple(json.loads(row["sentences"])), ()

    def _described(self, refs: Path, instances: Path, split: str) -> _Described:
        """The references, each to one object, the columns of their objects, and notices."""
        references = read_references(refs, split)
        return references, *read_objects(instances, references)

    def _target(self, row: Row) -> BoolArray:
        return np.asarray(self._masks(row).any(axis=0))

    @property
    def _masks_file(self) -> str:
        return f"{self.name}/instances.json"

    def _masks(self, row: Row) -> BoolArray:
        """The masks of the objects, bool [n, H, W]; that of an object without a segmentation is empty."""
        height, width = map(int, row["size"].split())
        segmentations = json.loads(row["segmentations"])
        masks = np.zeros((len(segmentations), height, width), np.bool_)
        try:
            for mask, segmentation in zip(masks, segmentations, strict=True):
                if segmentation is not None:
                    mask[:] = decode_segmentation(segmentation, height, width, self.overlaps)
        except ValueError as error:
            raise SampleError(row["id"], self._masks_file, f"{Path(row['image']).name}: {error}") from error
        return masks

    def _split(self, split: str | Path) -> Split:
        if str(split) not in self.splits:
            known = ", ".join(self.splits)
            raise DatasetError(f"split: expected one of {known} for {self.name}, found {str(split)!r}")
        return self.splits[str(split)]


@dataclass(frozen=True)
class GeneralizedReferAdapter(ReferAdapter):
    """grefcoco/grefs(unc).json (or .p), grefcoco/instances.json and the images of the refer toolbox.

    The target holds a mask per object that a reference means, an empty one for a crowd (ReLA leaves crowds out); it
    holds none if the reference means nothing, `ann_id` [-1]. So the target of a reference to only a crowd has no pixel.
    """

    version: int = 3
    task: str = "generalized"

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return grefs(<split_by>).json, or .p if only that exists, and instances.json."""
        folder = root / self.name
        plain, pickled = (folder / f"grefs({self._split(split).split_by}){suffix}" for suffix in (".json", ".p"))
        return pickled if pickled.exists() and not plain.exists() else plain, folder / "instances.json"

    def _described(self, refs: Path, instances: Path, split: str) -> _Described:
        references = read_references(refs, split, any_targets)
        return references, *read_objects(instances, references, crowds=False)

    def _target(self, row: Row) -> BoolArray:
        return self._masks(row)


_UNC = {split: Split("unc", split) for split in ("val", "testA", "testB", "train")}
_GOOGLE_AND_UMD = {
    "val-umd": Split("umd", "val"),
    "test-umd": Split("umd", "test"),
    "train-umd": Split("umd", "train"),
    "val-google": Split("google", "val"),
    "train-google": Split("google", "train"),
}

register(
    [
        ReferAdapter("refcoco", _UNC, default_split="val"),
        ReferAdapter("refcoco+", _UNC, default_split="val"),
        ReferAdapter("refcocog", _GOOGLE_AND_UMD, default_split="val-umd"),
        GeneralizedReferAdapter("grefcoco", _UNC, default_split="val"),
    ]
)
