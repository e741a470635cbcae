"""Referring video segmentation: Ref-DAVIS 2017, one sample per frame and annotation set."""

from __future__ import annotations

import codecs
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset_adapters.base.adapter import Row, Rows, register
from dataset_adapters.base.layout import LayoutAdapter, find_split, read_ids
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.base.semantic import read_matching_image
from dataset_adapters.errors import DatasetError, LabelSourceMissingError
from dataset_adapters.formats.annotation_json import file_name, read_field, read_integer, read_json
from dataset_adapters.formats.images import ImageFileError, read_label_map, sample_errors
from support.files import read_regular, what_is_there
from support.text import clip_words, counted

VOID = 255  # a pixel that is neither an object's nor background
MAX_OBJECTS = 20
"""Limit of davis2017-evaluation."""

Expressions = Mapping[int, str]
"""One annotation set's expression for each object of a video, by object id."""


# Files and their encodings in the order of ReferFormer's results: each annotator saw the first frame, then the full
# video.
ANNOTATION_SETS = {
    "anno_0": ("Davis17_annot1.txt", "utf-8-sig"),
    "anno_1": ("Davis17_annot1_full_video.txt", "utf-8-sig"),
    "anno_2": ("Davis17_annot2.txt", "latin-1"),
    "anno_3": ("Davis17_annot2_full_video.txt", "latin-1"),
}

# Videos whose names are misspelled in the text files.
_RENAMED = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
_LINE = re.compile(r'(?P<video>\S+)\s+(?P<object>\S+)(?:\s+"?(?P<text>.*?)"?)?')
_SPLIT_FOLDERS = {"val": "valid", "train": "train"}


class Video(NamedTuple):
    """A video: the folders of its frames and of their annotations, relative to the root, and its expressions.

    expressions: one entry per annotation set, in the order of `ANNOTATION_SETS`.
    """

    name: str
    images: str
    masks: str
    expressions: tuple[Expressions, ...]


@dataclass(frozen=True)
class RefDavisAdapter(LayoutAdapter):
    """DAVIS 2017 (480p, unsupervised annotations) with four sets of expressions, one text per object in each.

    A sample is a frame with the texts of one annotation set: "anno_0/<video>/<frame>". Frames of a video are
    consecutive. The objects are those of the first frame's annotation, 1..n, as in davis2017-evaluation; 255 is void,
    other values are background. If objects share a text in a set, it goes to the first, and the others have none, as
    those with a blank text. Frames without any text are left out.
    read_videos: root, split -> the videos of the split, from the files of one source.
    """

    name: str
    read_videos: Callable[[Path, str | Path], list[Video]]
    task = "video"
    annotation_sets = tuple(ANNOTATION_SETS)
    nestings = ("ref-davis", "ref_davis")
    folders = ("DAVIS", "meta_expressions")
    any_folder = True

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row per sample: id, sequence, image, mask, objects (n), queries (JSON list of [object, text]).

        Opens the first annotation of each video, which determines the number of objects. Raises DatasetError.
        """
        videos = self.read_videos(root, split)
        frames: dict[str, list[str]] = {}
        for video in videos:
            frames[video.name] = sorted(path.stem for path in (root / video.images).glob("*.jpg"))
            if not frames[video.name]:
                folder = root / video.images
                raise DatasetError(f"{folder}: expected the frames of {video.name} (*.jpg), found none")
        counts = {video.name: _count_objects(root, video, frames[video.name][0]) for video in videos}
        rows: list[Row] = []
        n_blank = n_silent = 0
        for number, annotation_set in enumerate(ANNOTATION_SETS):
            for video in videos:
                texts = video.expressions[number]
                n_blank += sum(not text for text in texts.values())
                if not any(texts.values()):
                    n_silent += 1
                    continue
                shared = {"objects": str(counts[video.name]), "queries": _distinct_texts(texts)}
                rows += [
                    {
                        "id": f"{annotation_set}/{video.name}/{frame}",
                        "sequence": f"{annotation_set}/{video.name}",
                        "image": f"{video.images}/{frame}.jpg",
                        "mask": f"{video.masks}/{frame}.png",
                        **shared,
                    }
                    for frame in frames[video.name]
                ]
        if not rows:
            raise DatasetError(f"{root}: expected expressions of the split {split}, found only blank ones")
        silent = f", and with them {counted(n_silent, 'video')} of a set" if n_silent else ""
        return Rows(rows, [f"left out {counted(n_blank, 'blank expression')}{silent}"] if n_blank else [])

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        with sample_errors(row, "mask"):
            labels = read_label_map(root / row["mask"])
        target = np.asarray(labels == np.arange(1, int(row["objects"]) + 1)[:, np.newaxis, np.newaxis])
        image = read_matching_image(root, row, target)
        texts, objects = self.queries(row)
        own = {"query_labels": objects, "sequence": row["sequence"], "void": labels == VOID}
        return Sample(row["id"], image, texts, self.task, target, **own)

    def queries(self, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
        pairs = json.loads(row["queries"])
        return tuple(text for _, text in pairs), tuple(label for label, _ in pairs)


def read_text_videos(root: Path, split: str | Path) -> list[Video]:
    """Return the videos of a split as distributed: DAVIS/{JPEGImages,Annotations_unsupervised}/480p and the text files.

    Raises LabelSourceMissingError if the folder of the texts or the frames of all videos are missing; DatasetError for
    a missing or damaged text file, and for a video without expressions.
    """
    folder, frames = root / "davis_text_annotations", root / "DAVIS/JPEGImages/480p"
    if not folder.is_dir():
        raise LabelSourceMissingError(f"davis_text_annotations/{ANNOTATION_SETS['anno_0'][0]}, ...")
    path = find_split(root / "DAVIS/ImageSets/2017", split)
    names = read_ids(path)
    if not any((frames / name).is_dir() for name in names):
        raise LabelSourceMissingError("the videos of the split in DAVIS/JPEGImages/480p")
    sets = []
    for file, encoding in ANNOTATION_SETS.values():
        by_video = read_expressions(folder / file, encoding)
        absent = [name for name in names if name not in by_video]
        if absent:
            raise DatasetError(f"{folder / file}: expected expressions of the video {absent[0]}, found none")
        sets.append(by_video)
    return [
        Video(
            name,
            f"DAVIS/JPEGImages/480p/{name}",
            f"DAVIS/Annotations_unsupervised/480p/{name}",
            tuple(by_video[name] for by_video in sets),
        )
        for name in names
    ]


def read_expressions(path: Path, encoding: str) -> dict[str, Expressions]:
    """Return the expressions of one text file by video; a line is `<video> <object> "<expression>"`.

    Raises DatasetError for a missing file, other bytes or lines, an object id outside 1..254, and a repeated object.
    """
    try:
        content = read_regular(path, most=2**28)
        if content.startswith(codecs.BOM_UTF8):  # saved again by an editor
            encoding = "utf-8-sig"
        # With any line ends; splitlines would also split at characters of Latin-1 text.
        lines = re.split("\r\n?|\n", content.decode(encoding))
    except OSError as error:
        raise DatasetError(f"{path}: expected a file of expressions, found {what_is_there(error)}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected {encoding} text, found other bytes") from error
    videos: dict[str, dict[int, str]] = defaultdict(dict)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match, where = _LINE.fullmatch(line.strip()), f"line {number}"
        if match is None:
            raise DatasetError(f'{path}: {where}: expected <video> <object> "<expression>", found {line.strip()!r}')
        _add(path, where, videos[_RENAMED.get(match["video"], match["video"])], match["object"], match["text"] or "")
    return dict(videos)


def read_converted_videos(root: Path, split: str | Path) -> list[Video]:
    """Return the videos of a split as converted by ReferFormer, in the layout of Ref-YouTube-VOS.

    meta_expressions/valid/meta_expressions.json has four consecutive expressions per object, one per annotation set;
    valid/JPEGImages and valid/Annotations hold the frames. Raises LabelSourceMissingError if the file is missing;
    DatasetError for an unknown split and a damaged file.
    """
    if str(split) not in _SPLIT_FOLDERS:
        raise DatasetError(f"split: expected one of {', '.join(_SPLIT_FOLDERS)}, found {str(split)!r}")
    folder = _SPLIT_FOLDERS[str(split)]
    path = root / "meta_expressions" / folder / "meta_expressions.json"
    if not path.is_file():
        raise LabelSourceMissingError(f"meta_expressions/{folder}/meta_expressions.json")
    videos = []
    for name, video in read_field(path, "the file", read_json(path), "videos", dict).items():
        stored = read_field(path, name, video, "expressions", dict)
        sets: list[dict[int, str]] = [{} for _ in ANNOTATION_SETS]
        for key, entry in stored.items():
            where = f"{name}, expression {key}"
            if not (key.isdecimal() and len(key) < 10):
                raise DatasetError(f"{path}: {where}: expected a number, found {key!r}")
            label = str(read_integer(path, where, entry, "obj_id"))
            _add(path, where, sets[int(key) % len(sets)], label, read_field(path, where, entry, "exp", str))
        if not all(sets):
            raise DatasetError(
                f"{path}: {name}: expected {len(sets)} expressions per object, found {len(stored)} in all"
            )
        images, masks = (f"{folder}/{kind}/{name}" for kind in ("JPEGImages", "Annotations"))
        videos.append(Video(file_name(path, name), images, masks, tuple(sets)))
    return videos


def _add(path: Path, where: str, expressions: dict[int, str], label: str, text: str) -> None:
    """Add one expression. Raises DatasetError unless the id fits a palette and is new."""
    if not (label.isdecimal() and len(label) < 10 and 0 < int(label) < VOID):
        raise DatasetError(f"{path}: {where}: expected an object id in 1..{VOID - 1}, found {label[:40]!r}")
    if int(label) in expressions:
        raise DatasetError(f"{path}: {where}: expected each object once, found {label} again")
    expressions[int(label)] = " ".join(text.split())


def _distinct_texts(expressions: Expressions) -> str:
    """[object, text] pairs as JSON, by object id, each text once and none blank: CaR rejects such texts."""
    by_words: dict[tuple[str, ...], tuple[int, str]] = {}
    for label in sorted(expressions):
        by_words.setdefault(clip_words(expressions[label]), (label, expressions[label]))
    by_words.pop((), None)
    return json.dumps([*by_words.values()], ensure_ascii=False)


def _count_objects(root: Path, video: Video, first: str) -> int:
    path = root / video.masks / f"{first}.png"
    if not path.is_file():
        raise DatasetError(f"{path}: expected the annotation of the first frame of {video.name}, found nothing")
    try:
        labels = read_label_map(path)
    except ImageFileError as error:
        raise DatasetError(str(error)) from error
    count = int(labels[labels != VOID].max(initial=0))
    if not 0 < count <= MAX_OBJECTS:
        raise DatasetError(f"{path}: expected objects 1..{MAX_OBJECTS} at most, found {count}")
    return count


register(
    [
        RefDavisAdapter("ref-davis17/text", read_text_videos),
        RefDavisAdapter("ref-davis17/meta_expressions", read_converted_videos),
    ]
)
