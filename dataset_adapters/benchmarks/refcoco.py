"""Referring segmentation in the layout of the refer toolbox: RefCOCO, RefCOCO+, RefCOCOg, and gRefCOCO beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np

from dataset_adapters.base.layout import find_root
from dataset_adapters.base.sample import DatasetError, LabelSpace, NameSet, Row, Sample, SampleError, register
from dataset_adapters.benchmarks.refcoco_files import (
    IMAGES,
    Reference,
    any_targets,
    read_objects,
    read_references,
    require_distinct,
)
from dataset_adapters.formats.coco_masks import OVERLAPS, Overlaps, decode_segmentation
from dataset_adapters.formats.images import read_image
from support.arrays import BoolArray
from support.errors import ImageError

Sentences: TypeAlias = Literal["joint", "single"]


class Split(NamedTuple):
    """A split as the files know it: refs(<split_by>).p and the value of its references' field `split`."""

    split_by: str
    name: str


def _joint(reference: Reference) -> list[tuple[str, list[str]]]:
    """One sample: all sentences that say something, each text once (CaR takes no text twice)."""
    texts = dict.fromkeys(text for _, text in reference.sentences if text.strip())
    return [(f"ref{reference.ref_id}", list(texts))]


def _single(reference: Reference) -> list[tuple[str, list[str]]]:
    return [(f"ref{reference.ref_id}-sent{sent_id}", [text]) for sent_id, text in reference.sentences]


# How a reference becomes samples: (id, sentences) each.
SENTENCES: Mapping[str, Callable[[Reference], list[tuple[str, list[str]]]]] = {"joint": _joint, "single": _single}


@dataclass(frozen=True)
class ReferAdapter:
    """<name>/refs(<split_by>).p, <name>/instances.json and images/mscoco/images/train2014/*.jpg.

    The texts are the sentences' field `raw`, as in LAVT; image names come from instances.json.
    sentences: "joint": a sample is a reference and its queries are all its sentences, repeated and blank ones left
    out (the released code); "single": a sample is one sentence (LAVT).
    overlaps: "kept": the target is where any part of the segmentation is set; "lost": where exactly one is, a trap of
    older code, for comparison with figures that have it.
    """

    name: str
    splits: Mapping[str, Split]
    default_split: str
    sentences: Sentences = "joint"
    overlaps: Overlaps = "kept"
    version: int = 2
    task: str = "referring"
    file_columns: tuple[str, ...] = ("image",)

    @property
    def choices(self) -> Mapping[str, tuple[str, ...]]:
        """The values of each option, the default first."""
        return {"sentences": tuple(SENTENCES), "overlaps": tuple(OVERLAPS)}

    def with_options(self, options: Mapping[str, str]) -> ReferAdapter:
        """Return the adapter with these options."""
        return replace(self, **cast(Mapping[str, Any], options))

    def find_root(self, root: Path) -> Path:
        """Return the folder that holds `<name>` and `images`, given it or its parent. Raises DatasetError."""
        return find_root(root, ("refer",), (self.name, IMAGES))

    def sources(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return refs(<split_by>).p and instances.json. Raises DatasetError for an unknown split."""
        folder = root / self.name
        return folder / f"refs({self._split(split).split_by}).p", folder / "instances.json"

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row a sample: id, image, sentences (JSON), size (height and width), segmentations (JSON).

        Raises DatasetError for damaged files, missing or wrong fields, references without image or mask, repeated
        ids and an empty split.
        """
        refs, instances = self.sources(root, split)
        references, objects = self._described(refs, instances, self._split(split).name)
        rows = [
            {"id": sample_id, "sentences": json.dumps(texts, ensure_ascii=False), **fields}
            for reference, fields in zip(references, objects, strict=True)
            for sample_id, texts in SENTENCES[self.sentences](reference)
        ]
        require_distinct(refs, (row["id"] for row in rows))
        return cast(list[Row], rows)

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return the two labels of a referring target; the queries belong to the samples, whatever `names` is."""
        return LabelSpace.of_objects(self.name)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and the mask of its object. Raises SampleError."""
        target = self._target(row)
        try:
            image = read_image(root / row["image"])
        except ImageError as error:
            raise SampleError(row["id"], row["image"], error.reason, target) from error
        if image.shape[:2] != target.shape[-2:]:
            reason = f"expected the size in instances.json, {_size(target.shape[-2:])}, found {_size(image.shape)}"
            raise SampleError(row["id"], row["image"], reason, target)
        return Sample(row["id"], image, tuple(json.loads(row["sentences"])), self.task, target)

    def _described(self, refs: Path, instances: Path, split: str) -> tuple[list[Reference], list[dict[str, str]]]:
        """The references, to one object each, and the columns of their objects."""
        references = read_references(refs, split)
        return references, read_objects(instances, references)

    def _target(self, row: Row) -> BoolArray:
        return np.asarray(self._masks(row).any(axis=0))

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
            raise SampleError(row["id"], f"{self.name}/instances.json", str(error)) from error
        return masks

    def _split(self, split: str | Path) -> Split:
        try:
            return self.splits[str(split)]
        except KeyError:
            known = ", ".join(self.splits)
            raise DatasetError(f"split: expected one of {known} for {self.name}, found {str(split)!r}") from None


@dataclass(frozen=True)
class GeneralizedReferAdapter(ReferAdapter):
    """grefcoco/grefs(unc).json (or .p), grefcoco/instances.json and the images of the refer toolbox.

    The target holds a mask for each object that a reference means, an empty one for a crowd (ReLA leaves crowds out);
    there is none where the reference means nothing, `ann_id` [-1]. So a reference to a crowd alone has a target, of no
    pixel.
    """

    version: int = 3
    task: str = "generalized"

    def sources(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return grefs(<split_by>).json, or .p where that alone is there, and instances.json."""
        folder = root / self.name
        plain, pickled = (folder / f"grefs({self._split(split).split_by}){suffix}" for suffix in (".json", ".p"))
        return pickled if pickled.exists() and not plain.exists() else plain, folder / "instances.json"

    def _described(self, refs: Path, instances: Path, split: str) -> tuple[list[Reference], list[dict[str, str]]]:
        references = read_references(refs, split, any_targets)
        return references, read_objects(instances, references, crowds=False)

    def _target(self, row: Row) -> BoolArray:
        return self._masks(row)


def _size(shape: tuple[int, ...]) -> str:
    """Width x height of [H, W, ...]."""
    return f"{shape[1]} x {shape[0]}"


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
