"""Reasoning segmentation: ReasonSeg, an image and an implicit question or a phrase, with polygons of what is meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dataset_adapters.base.adapter import Row, Rows, register
from dataset_adapters.base.layout import LayoutAdapter, find_image_folder, stems
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.errors import DatasetError
from dataset_adapters.formats.annotation_json import read_field, read_json
from dataset_adapters.formats.images import read_image, sample_errors
from support.files import what_is_there
from support.text import clip_words, counted, shortened

_Labels: TypeAlias = npt.NDArray[np.uint8]

TARGET, IGNORED = 1, 255


class ReasonSegAdapter(LayoutAdapter):
    """<split>/<id>.jpg and <split>/<id>.json: `shapes` as labelme writes them, and `text`, whose first is the query.

    Everything is read as LISA's validation does. The target is one mask, or none where nothing is meant. Pixels of a
    shape whose label contains "ignore" are void; shapes with the label "flag" are left out. Images are read upright.
    """

    name = "reasonseg"
    task = "generalized"
    nestings = ("reason_seg/ReasonSeg", "ReasonSeg")
    folders = ("val", "test")
    any_folder = True

    def rows(self, root: Path, split: str | Path) -> Rows:
        """Return one row per image or file of shapes: id, image, mask (that file), text, shapes (JSON [value, points]).

        Raises DatasetError, also for damaged files of shapes and wrong fields.
        """
        folder, chosen = find_image_folder(root, (".",), split, self.default_split)
        ids = chosen or sorted(stems(root / folder, ".jpg") | stems(root / folder, ".json"))
        rows = [_row(root, folder, sample_id) for sample_id in ids]
        asked = [row for row in rows if clip_words(row["text"])]
        n_blank = len(rows) - len(asked)
        return Rows(asked, [f"left out {counted(n_blank, 'image')} with a blank text"] if n_blank else [])

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        with sample_errors(row, "image"):
            image = read_image(root / row["image"], apply_exif=True)
        with sample_errors(row, "mask"):
            labels = paint_shapes(json.loads(row["shapes"]), *image.shape[:2])
        mask = (labels == TARGET)[np.newaxis]
        return Sample(row["id"], image, *self.queries(row)[:1], self.task, mask[: mask.any()], void=labels == IGNORED)

    def queries(self, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return (row["text"],), ()


def paint_shapes(shapes: Sequence[tuple[int, Any]], height: int, width: int) -> _Labels:
    """Paint (value, [[x, y], ...]) with their outlines, those of most pixels first: uint8 [height, width], 0 elsewhere.

    Coordinates lose their fraction. Of two shapes of the same size, the later one is painted first.
    Raises ValueError for coordinates far outside.
    """
    import cv2  # as for scoring: user errors are reported before it is loaded

    reach = 2 * max(height, width)
    corners = [np.array([points], np.float64) for _, points in shapes]
    if far := [float(np.abs(each).max()) for each in corners if np.abs(each).max() > reach]:
        raise ValueError(f"points: expected coordinates in -{reach}..{reach}, found {far[0]:g} or its negative")

    def paint(labels: _Labels, position: int, value: int) -> _Labels:
        outline: Any = corners[position].astype(np.int32)
        cv2.polylines(labels, outline, True, value, 1)
        cv2.fillPoly(labels, outline, value)
        return labels

    labels: _Labels = np.zeros((height, width), np.uint8)
    areas = [int(paint(labels.copy(), position, 1).sum()) for position in range(len(shapes))]
    for position in np.argsort(areas, kind="stable")[::-1].tolist():
        paint(labels, position, shapes[position][0])
    return labels


def _row(root: Path, folder: Path, sample_id: str) -> Row:
    name = f"{folder}/{sample_id}.json"
    path = root / name
    try:
        stored = read_json(path, otherwise="cp1252")
    except OSError as error:
        raise DatasetError(f"{path}: expected the shapes of {sample_id}, found {what_is_there(error)}") from error
    texts = read_field(path, "the file", stored, "text", list)
    if not (texts and isinstance(texts[0], str)):
        raise DatasetError(f"{path}: text: expected a text first, found {shortened(repr(texts))}")
    shapes = []
    for number, shape in enumerate(read_field(path, "the file", stored, "shapes", list)):
        where = f"shape {number}"
        label = read_field(path, where, shape, "label", str).lower()
        if label == "flag":
            continue
        points = read_field(path, where, shape, "points", list)
        for point in points or [points]:
            numbers: list[Any] = point if isinstance(point, list) and len(point) == 2 else [None]
            if not all(type(number) in (int, float) and abs(number) < 2**31 for number in numbers):  # NaN is not
                raise DatasetError(f"{path}: {where}: points: expected pairs [x, y], found {shortened(repr(point))}")
        shapes.append((IGNORED if "ignore" in label else TARGET, points))
    image = f"{folder}/{sample_id}.jpg"
    return {"id": sample_id, "image": image, "mask": name, "text": texts[0].strip(), "shapes": json.dumps(shapes)}


register([ReasonSegAdapter()])
