"""Referring video segmentation: Ref-DAVIS 2017, one sample a frame and annotation set."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset_adapters.base.layout import find_root, find_split, read_ids
from dataset_adapters.base.sample import (
    DatasetError,
    LabelSpace,
    NameSet,
    Row,
    Sample,
    SampleError,
    SourceAbsentError,
    register,
)
from dataset_adapters.formats.images import read_image, read_label_map
from dataset_adapters.formats.json_fields import read_field, read_json
from support.arrays import BoolArray
from support.errors import ImageError

VOID = 255  # a pixel that belongs to no object
MAX_OBJECTS = 20
"""Most objects of a video that davis2017-evaluation takes."""

Expressions = Mapping[int, str]
"""What one annotation set says of each object of a video, by object id."""


class TextFile(NamedTuple):
    """The expressions of one annotation set, and how they are encoded."""

    name: str
    encoding: str


# In the order of ReferFormer's results, anno_0 first. The first annotator's files are UTF-8, the second's are not.
ANNOTATION_SETS: Mapping[str, TextFile] = {
    "anno_0": TextFile("Davis17_annot1.txt", "utf-8-sig"),
    "anno_1": TextFile("Davis17_annot1_full_video.txt", "utf-8-sig"),
    "anno_2": TextFile("Davis17_annot2.txt", "latin-1"),
    "anno_3": TextFile("Davis17_annot2_full_video.txt", "latin-1"),
}

# Videos that the text files spell otherwise than DAVIS does.
_RENAMED = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
_LINE = re.compile(r'(?P<video>\S+)\s+(?P<object>\S+)\s+"?(?P<text>.*?)"?')
_SPLIT_FOLDERS = {"val": "valid", "train": "train"}


class Video(NamedTuple):
    """A video: the folders of its frames and of their annotations, relative to the root, and its expressions.

    expressions: one an annotation set, in the order of `ANNOTATION_SETS`.
    """

    name: str
    images: str
    masks: str
    expressions: tuple[Expressions, ...]


@dataclass(frozen=True)
class RefDavisAdapter:
    """DAVIS 2017 (480p, unsupervised annotations) with four sets of expressions, one text an object in each.

    A sample is a frame with the texts of one annotation set: "anno_0/<video>/<frame>". Frames of a video follow each
    other. The objects are those of the first frame's annotation, 1..n, as davis2017-evaluation has it; other values
    and 255 are background. Of objects with the same text in a set the first has it, and the others have none.
    read_videos: root, split -> the videos of the split, from the files of one source.
    """

    name: str
    read_videos: Callable[[Path, str | Path], list[Video]]
    version: int = 1
    task: str = "video"
    default_split: str = "val"
    file_columns: tuple[str, ...] = ("image", "mask")

    def find_root(self, root: Path) -> Path:
        """Return the folder that holds `DAVIS` or `meta_expressions`, given it or its parent. Raises DatasetError."""
        return find_root(root, ("ref-davis", "ref_davis"), ("DAVIS", "meta_expressions"), all_of=False)

    def rows(self, root: Path, split: str | Path) -> list[Row]:
        """Return one row a sample: id, sequence, image, mask, objects (n), queries (JSON, [object, text] each).

        Opens the first annotation of each video, which says how many objects there are. Raises DatasetError.
        """
        videos = self.read_videos(root, split)
        frames = {video.name: _frames(root, video) for video in videos}
        counts = {video.name: _count_objects(root, video, frames[video.name][0]) for video in videos}
        return [
            {
                "id": f"{annotation_set}/{video.name}/{frame}",
                "sequence": f"{annotation_set}/{video.name}",
                "image": f"{video.images}/{frame}.jpg",
                "mask": f"{video.masks}/{frame}.png",
                "objects": str(counts[video.name]),
                "queries": _distinct_texts(video.expressions[number]),
            }
            for number, annotation_set in enumerate(ANNOTATION_SETS)
            for video in videos
            for frame in frames[video.name]
        ]

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return the two labels of an object's mask; the queries belong to the samples, whatever `names` is."""
        return LabelSpace.of_objects(self.name)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one frame and the masks of its objects. Raises SampleError."""
        target = _read_target(root, row)
        try:
            image = read_image(root / row["image"])
        except ImageError as error:
            raise SampleError(row["id"], row["image"], error.reason, target) from error
        if image.shape[:2] != target.shape[1:]:
            expected, found = (f"{width} x {height}" for height, width in (image.shape[:2], target.shape[1:]))
            reason = f"expected the size of its frame, {expected}, found {found}"
            raise SampleError(row["id"], row["mask"], reason, target)
        pairs = json.loads(row["queries"])
        labels, texts = tuple(label for label, _ in pairs), tuple(text for _, text in pairs)
        return Sample(row["id"], image, texts, self.task, target, query_labels=labels, sequence=row["sequence"])


def read_text_videos(root: Path, split: str | Path) -> list[Video]:
    """The videos of a split as distributed: DAVIS/{JPEGImages,Annotations_unsupervised}/480p and the text files.

    Raises SourceAbsentError if the texts' folder or the frames of all videos are not there; DatasetError for a missing
    or damaged text file, and for a video without expressions.
    """
    folder, frames = root / "davis_text_annotations", root / "DAVIS/JPEGImages/480p"
    if not folder.is_dir():
        raise SourceAbsentError(f"davis_text_annotations/{ANNOTATION_SETS['anno_0'].name}, ...")
    path = find_split(root / "DAVIS/ImageSets/2017", split)
    names = [_file_name(path, name) for name in read_ids(path)]
    if not any((frames / name).is_dir() for name in names):
        raise SourceAbsentError("the videos of the split in DAVIS/JPEGImages/480p")
    paths = [folder / file.name for file in ANNOTATION_SETS.values()]
    read = [read_expressions(path, file.encoding) for path, file in zip(paths, ANNOTATION_SETS.values(), strict=True)]
    return [
        Video(
            name,
            f"DAVIS/JPEGImages/480p/{name}",
            f"DAVIS/Annotations_unsupervised/480p/{name}",
            tuple(_of_video(path, videos, name) for path, videos in zip(paths, read, strict=True)),
        )
        for name in names
    ]


def read_expressions(path: Path, encoding: str) -> dict[str, Expressions]:
    """The expressions of one text file by video; a line is `<video> <object> "<expression>"`.

    Raises DatasetError for a missing file, other bytes or lines, an object id outside 1..254, and an object twice.
    """
    try:
        lines = path.read_text(encoding).split("\n")  # splitlines would also split at bytes that latin-1 text may hold
    except OSError as error:
        raise DatasetError(f"{path}: expected a file of expressions, found {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected {encoding} text, found other bytes") from error
    videos: dict[str, dict[int, str]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match, where = _LINE.fullmatch(line.strip()), f"line {number}"
        if match is None:
            raise DatasetError(f'{path}: {where}: expected <video> <object> "<expression>", found {line.strip()!r}')
        _add(path, where, videos[_RENAMED.get(match["video"], match["video"])], match["object"], match["text"])
    return dict(videos)


def read_converted_videos(root: Path, split: str | Path) -> list[Video]:
    """The videos of a split as ReferFormer's conversion leaves them, in the layout of Ref-YouTube-VOS.

    meta_expressions/valid/meta_expressions.json has four consecutive expressions an object, one an annotation set;
    valid/JPEGImages and valid/Annotations have the frames. Raises SourceAbsentError if the first is not there;
    DatasetError for an unknown split and a damaged file.
    """
    if str(split) not in _SPLIT_FOLDERS:
        raise DatasetError(f"split: expected one of {', '.join(_SPLIT_FOLDERS)}, found {str(split)!r}")
    folder = _SPLIT_FOLDERS[str(split)]
    path = root / "meta_expressions" / folder / "meta_expressions.json"
    if not path.is_file():
        raise SourceAbsentError(f"meta_expressions/{folder}/meta_expressions.json")
    videos = read_field(path, "the file", read_json(path), "videos", dict)
    return [
        Video(
            _file_name(path, name),
            f"{folder}/JPEGImages/{name}",
            f"{folder}/Annotations/{name}",
            _converted_expressions(path, name, read_field(path, name, video, "expressions", dict)),
        )
        for name, video in videos.items()
    ]


def _converted_expressions(path: Path, video: str, stored: Mapping[str, object]) -> tuple[Expressions, ...]:
    sets: list[dict[int, str]] = [{} for _ in ANNOTATION_SETS]
    for key, entry in stored.items():
        where = f"{video}, expression {key}"
        if not key.isdecimal():
            raise DatasetError(f"{path}: {where}: expected a number, found {key!r}")
        label, text = read_field(path, where, entry, "obj_id", (str, int)), read_field(path, where, entry, "exp", str)
        _add(path, where, sets[int(key) % len(sets)], str(label), text)
    if not all(sets):
        raise DatasetError(f"{path}: {video}: expected {len(sets)} expressions an object, found {len(stored)} in all")
    return tuple(sets)


def _add(path: Path, where: str, expressions: dict[int, str], label: str, text: str) -> None:
    """Add one expression. Raises DatasetError unless the id fits a palette and is new, and the text says something."""
    if not (label.isdecimal() and 0 < int(label) < VOID):
        raise DatasetError(f"{path}: {where}: expected an object id in 1..{VOID - 1}, found {label!r}")
    if not text.strip():
        raise DatasetError(f"{path}: {where}: expected an expression, found a blank one")
    if int(label) in expressions:
        raise DatasetError(f"{path}: {where}: expected each object once, found {label} again")
    expressions[int(label)] = " ".join(text.split())


def _of_video(path: Path, videos: Mapping[str, Expressions], name: str) -> Expressions:
    if name not in videos:
        raise DatasetError(f"{path}: expected expressions of the video {name}, found none")
    return videos[name]


def _distinct_texts(expressions: Expressions) -> str:
    """[object, text] pairs as JSON, by object id, each text once (CaR takes no text twice)."""
    by_text: dict[str, int] = {}
    for label in sorted(expressions):
        by_text.setdefault(expressions[label], label)
    return json.dumps([[label, text] for text, label in by_text.items()], ensure_ascii=False)


def _frames(root: Path, video: Video) -> list[str]:
    """The names of a video's frames in order. Raises DatasetError if it has none."""
    frames = sorted(path.stem for path in (root / video.images).glob("*.jpg"))
    if not frames:
        raise DatasetError(f"{root / video.images}: expected the frames of {video.name} (*.jpg), found none")
    return frames


def _count_objects(root: Path, video: Video, first: str) -> int:
    path = root / video.masks / f"{first}.png"
    if not path.is_file():
        raise DatasetError(f"{path}: expected the annotation of the first frame of {video.name}, found nothing")
    try:
        labels = read_label_map(path)
    except ImageError as error:
        raise DatasetError(str(error)) from error
    count = int(labels[labels != VOID].max(initial=0))
    if not 0 < count <= MAX_OBJECTS:
        raise DatasetError(f"{path}: expected objects 1..{MAX_OBJECTS} at most, found {count}")
    return count


def _read_target(root: Path, row: Row) -> BoolArray:
    try:
        labels = read_label_map(root / row["mask"])
    except ImageError as error:
        raise SampleError(row["id"], row["mask"], error.reason) from error
    return np.asarray(labels == np.arange(1, int(row["objects"]) + 1)[:, np.newaxis, np.newaxis])


def _file_name(path: Path, name: str) -> str:
    if Path(name).name != name:
        raise DatasetError(f"{path}: expected a name without folders, found {name!r}")
    return name


def _adapters() -> Iterable[RefDavisAdapter]:
    readers = {"text": read_text_videos, "meta_expressions": read_converted_videos}
    return (RefDavisAdapter(f"ref-davis17/{source}", reader) for source, reader in readers.items())


register(_adapters())
