"""Referring video segmentation by motion: MeViS, one sample per frame and expression."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dataset_adapters.base.adapter import Row, Rows, register
from dataset_adapters.base.layout import LayoutAdapter
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.base.semantic import read_matching_image
from dataset_adapters.errors import DatasetError
from dataset_adapters.formats.annotation_json import as_integer, file_name, read_field, read_json
from dataset_adapters.formats.coco_masks import decode_segmentation
from dataset_adapters.formats.images import image_shape, max_pixels, sample_errors
from support.text import clip_words, counted, shortened

SPLITS = ("valid_u", "train")
"""Those with masks."""


class MevisAdapter(LayoutAdapter):
    """<split>/{JPEGImages/<video>/<frame>.jpg, meta_expressions.json, mask_dict.json}.

    A sample is a frame with one expression: "<video>/<expression>/<frame>", the path of its mask in a submission.
    Frames of an expression are consecutive. The target is the union of the objects that the expression means, which
    may be none in a frame; it counts as one object.
    """

    name = "mevis"
    task = "video"
    default_split = "valid_u"
    file_columns = ("image",)
    nestings = ("mevis", "MeViS")
    folders = SPLITS
    any_folder = True

    def annotation_files(self, root: Path, split: str | Path) -> tuple[Path, ...]:
        """Return meta_expressions.json and mask_dict.json. Raises DatasetError for an unknown split."""
        if str(split) not in SPLITS:
            raise DatasetError(f"split: expected one of {', '.join(SPLITS)}, found {str(split)!r}")
        return root / str(split) / "meta_expressions.json", root / str(split) / "mask_dict.json"

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row per sample: id, sequence, image, mask (the file), text, masks (JSON, of the frame), size.

        size: height and width, empty if no mask of the video says it. Iterating raises DatasetError for damaged files,
        missing or wrong fields, and objects without a mask for each frame.
        """
        notices: list[str] = []
        return Rows(self._rows(root, split, notices), notices)

    def _rows(self, root: Path, split: str | Path, notices: list[str]) -> Iterator[Row]:
        """One after the other: those of train, more than a million that repeat masks, would take gigabytes."""
        meta, mask_file = self.annotation_files(root, split)
        tracks, n_blank = read_json(mask_file), 0
        for video, entry in read_field(meta, "the file", read_json(meta), "videos", dict).items():
            frames = [file_name(meta, str(name)) for name in read_field(meta, video, entry, "frames", list)]
            expressions: list[tuple[str, str, list[list[Any]]]] = []
            size = None
            for key, expression in read_field(meta, video, entry, "expressions", dict).items():
                where = f"{video}, expression {key}"
                text = " ".join(read_field(meta, where, expression, "exp", str).split())
                stored = read_field(meta, where, expression, "anno_id", list)
                objects = [as_integer(each) for each in stored]
                if None in objects:
                    raise DatasetError(f"{meta}: {where}: anno_id: expected integers, found {shortened(repr(stored))}")
                own = [_track(mask_file, where, tracks, str(each), len(frames)) for each in objects]
                size = size or next((mask.get("size") for track in own for mask in track if mask), None)
                if clip_words(text):
                    expressions.append((f"{file_name(meta, video)}/{file_name(meta, key)}", text, own))
                else:
                    n_blank += 1
            sides = [as_integer(side) or 0 for side in size] if isinstance(size, list) else []
            bad = size is not None and (len(sides) != 2 or min(sides) < 1 or math.prod(sides) > max_pixels())
            if expressions and bad:
                expected = f"expected a height and width of at most {max_pixels()} pixels in all (--max-pixels)"
                found = shortened(repr(size))
                raise DatasetError(f"{mask_file}: size of the masks of {video}: {expected}, found {found}")
            for sequence, text, own in expressions:
                for n, frame in enumerate(frames):
                    yield {
                        "id": f"{sequence}/{frame}",
                        "sequence": sequence,
                        "image": f"{split}/JPEGImages/{video}/{frame}.jpg",
                        "mask": f"{split}/{mask_file.name}",
                        "text": text,
                        "masks": json.dumps([track[n] for track in own if track[n]], separators=(",", ":")),
                        "size": " ".join(map(str, sides)),
                    }
        if n_blank:
            notices.append(f"left out {counted(n_blank, 'blank expression')}")

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        masks = json.loads(row["masks"])
        with sample_errors(row, "image"):
            height, width = map(int, row["size"].split()) if row["size"] else image_shape(root / row["image"])
        with sample_errors(row, "mask"):
            mask = decode_segmentation(masks, height, width) if masks else np.zeros((height, width), np.bool_)
        image = read_matching_image(root, row, mask[np.newaxis])
        texts, objects = self.queries(row)
        return Sample(row["id"], image, texts, self.task, mask[np.newaxis], objects, row["sequence"])

    def queries(self, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return (row["text"],), (1,)


def _track(path: Path, where: str, tracks: Any, key: str, n_frames: int) -> list[Any]:
    """The masks of one object, for each frame an RLE or nothing. Raises DatasetError."""
    track: list[Any] = read_field(path, where, tracks, key, list)
    if len(track) < n_frames:
        raise DatasetError(f"{path}: {where}: {key}: expected a mask or null for {n_frames} frames, found {len(track)}")
    if bad := [mask for mask in track if mask and not isinstance(mask, dict)]:
        raise DatasetError(f"{path}: {where}: {key}: expected an RLE or null, found {shortened(repr(bad[0]))}")
    return track


register([MevisAdapter()])
