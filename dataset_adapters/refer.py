"""Referring segmentation: RefCOCO, RefCOCO+ and RefCOCOg in the layout of the refer toolbox."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from dataset_adapters.images import ImageError, read_image
from dataset_adapters.instance_masks import OVERLAPS, Overlaps, decode_segmentation
from dataset_adapters.layout import find_root
from dataset_adapters.restricted_pickle import read_plain_pickle
from dataset_adapters.sample import DatasetError, LabelSpace, Mask, NameSet, Row, Sample, SampleError, register

IMAGES = "images/mscoco/images/train2014"

Sentences: TypeAlias = Literal["joint", "single"]


class Split(NamedTuple):
    """A split as the files know it: refs(<split_by>).p and the value of its references' field `split`."""

    split_by: str
    name: str


class Reference(NamedTuple):
    """One described object: where its mask is, and its sentences as (sentence id, text)."""

    ref_id: int
    ann_id: int
    image_id: int
    sentences: tuple[tuple[int, str], ...]


# Splits with a rule of their own; the others are matched exactly.
_SPLIT_RULES: Mapping[str, Callable[[str], bool]] = {
    "testA": lambda stored: "A" in stored,
    "testB": lambda stored: "B" in stored,
    "test": lambda stored: "test" in stored,
}


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
    version: int = 1
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
        """Return one row a sample: id, image, sentences (JSON), size (height and width), segmentation (JSON).

        Raises DatasetError for damaged files, missing or wrong fields, references without image or mask, repeated
        ids and an empty split.
        """
        refs, instances = self.sources(root, split)
        references = read_references(refs, self._split(split).name)
        objects = _read_objects(instances, references)
        rows = [
            {"id": sample_id, "sentences": json.dumps(texts, ensure_ascii=False), **fields}
            for reference, fields in zip(references, objects, strict=True)
            for sample_id, texts in SENTENCES[self.sentences](reference)
        ]
        _require_distinct(refs, (row["id"] for row in rows))
        return cast(list[Row], rows)

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return the two labels of a referring target; the queries belong to the samples, whatever `names` is."""
        return LabelSpace(
            name=self.name,
            labels=("background", "object"),
            queries=(),
            query_labels=(),
            ignore_label=255,
            scored_labels=(1,),
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and the mask of its object. Raises SampleError."""
        target = self._target(row)
        try:
            image = read_image(root / row["image"])
        except ImageError as error:
            raise SampleError(row["id"], row["image"], error.reason, target) from error
        if image.shape[:2] != target.shape:
            reason = f"expected the size in instances.json, {_size(target.shape)}, found {_size(image.shape)}"
            raise SampleError(row["id"], row["image"], reason, target)
        return Sample(row["id"], image, tuple(json.loads(row["sentences"])), self.task, target)

    def _target(self, row: Row) -> Mask:
        height, width = map(int, row["size"].split())
        try:
            return decode_segmentation(json.loads(row["segmentation"]), height, width, self.overlaps)
        except ValueError as error:
            raise SampleError(row["id"], f"{self.name}/instances.json", str(error)) from error

    def _split(self, split: str | Path) -> Split:
        try:
            return self.splits[str(split)]
        except KeyError:
            known = ", ".join(self.splits)
            raise DatasetError(f"split: expected one of {known} for {self.name}, found {str(split)!r}") from None


def read_references(path: Path, split: str) -> list[Reference]:
    """Return the references of one split of refs(<split_by>).p, in the file's order.

    testA and testB: the letter occurs in the stored split; test: the word does; others: equal. Raises DatasetError
    for a file that is no pickle of plain data, for missing or wrong fields, and if the split has no reference.
    """
    stored = read_plain_pickle(path)
    if not isinstance(stored, list):
        raise DatasetError(f"{path}: expected a list of references, found {type(stored).__name__}")
    belongs = _SPLIT_RULES.get(split, split.__eq__)
    splits = [_field(path, f"reference {position}", ref, "split", str) for position, ref in enumerate(stored)]
    chosen = [_reference(path, position, stored[position]) for position, name in enumerate(splits) if belongs(name)]
    if not chosen:
        found = ", ".join(sorted(set(splits))) or "no reference"
        raise DatasetError(f"{path}: expected references of the split {split}, found {found}")
    return chosen


def _reference(path: Path, position: int, ref: Mapping[str, Any]) -> Reference:
    where = f"reference {position}"
    ref_id, ann_id, image_id = (_field(path, where, ref, field, int) for field in ("ref_id", "ann_id", "image_id"))
    sentences = _field(path, where, ref, "sentences", list)
    texts = tuple(
        (
            _field(path, f"{where}, sentence {number}", sentence, "sent_id", int),
            _field(path, f"{where}, sentence {number}", sentence, "raw", str),
        )
        for number, sentence in enumerate(sentences)
    )
    return Reference(ref_id, ann_id, image_id, texts)


def _read_objects(path: Path, references: Iterable[Reference]) -> list[dict[str, str]]:
    """The columns image, size and segmentation of each reference's object, from instances.json."""
    try:
        stored = json.loads(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path}: expected JSON, found other text: {error}") from error
    images, annotations = (_by_id(path, stored, kind) for kind in ("images", "annotations"))
    columns: dict[int, dict[str, str]] = {}  # by annotation: references to one object share them
    for reference in references:
        if reference.ann_id not in columns:
            columns[reference.ann_id] = _object(path, reference, images, annotations)
    return [columns[reference.ann_id] for reference in references]


def _by_id(path: Path, stored: Any, kind: str) -> dict[int, Any]:
    entries = _field(path, "the file", stored, kind, list)
    return {_field(path, f"{kind} {position}", entry, "id", int): entry for position, entry in enumerate(entries)}


def _object(
    path: Path, reference: Reference, images: Mapping[int, Any], annotations: Mapping[int, Any]
) -> dict[str, str]:
    annotation, image = annotations.get(reference.ann_id), images.get(reference.image_id)
    missing = f"the annotation {reference.ann_id}" if annotation is None else f"the image {reference.image_id}"
    if annotation is None or image is None:
        raise DatasetError(f"{path}: expected {missing} of reference {reference.ref_id}, found nothing")
    where = f"annotation {reference.ann_id}"
    if _field(path, where, annotation, "image_id", int) != reference.image_id:
        raise DatasetError(
            f"{path}: {where}: image_id: expected {reference.image_id} as in reference {reference.ref_id}, "
            f"found {annotation['image_id']}"
        )
    return {
        **_image(path, f"image {reference.image_id}", image),
        "segmentation": json.dumps(
            _field(path, where, annotation, "segmentation", (list, dict)), separators=(",", ":")
        ),
    }


def _image(path: Path, where: str, image: Any) -> dict[str, str]:
    name = _field(path, where, image, "file_name", str)
    if Path(name).name != name:
        raise DatasetError(f"{path}: {where}: file_name: expected a name without folders, found {name!r}")
    height, width = (_field(path, where, image, side, int) for side in ("height", "width"))
    if not (0 < height < 2**15 and 0 < width < 2**15):
        raise DatasetError(f"{path}: {where}: expected height and width in 1..32767, found {height} and {width}")
    return {"image": f"{IMAGES}/{name}", "size": f"{height} {width}"}


def _field(path: Path, where: str, entry: Any, field: str, kind: type | tuple[type, ...]) -> Any:
    """The value of a field. Raises DatasetError unless `entry` is a dict that has it, of that type."""
    if not isinstance(entry, dict):
        raise DatasetError(f"{path}: {where}: expected a dict, found {type(entry).__name__}")
    value = entry.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        found = type(value).__name__ if field in entry else "nothing"
        raise DatasetError(f"{path}: {where}: {field}: expected {kinds}, found {found}")
    return value


def _require_distinct(path: Path, ids: Iterable[str]) -> None:
    repeated = [sample_id for sample_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path}: expected each id once, found {len(repeated)} repeated, first {repeated[0]}")


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
    ]
)
