"""Reading one image with its label map, shared by all semantic data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset_adapters.base.class_names import BACKGROUND, read_class_names
from dataset_adapters.base.layout import LayoutAdapter
from dataset_adapters.base.sample import LabelSpace, NameSet, Row, Sample, SampleError
from dataset_adapters.formats.images import ImageFileError, exif_orientation, read_image, read_label_map
from support.arrays import BoolArray, Int32Array, RGBArray


@dataclass(frozen=True, kw_only=True)
class SemanticAdapter(LayoutAdapter):
    """A data set of label files with classes of labels/*.json.

    class_names: which file. relabel: label id, or `ignored`, for every value of a label file, as `read_labels` decodes
    it. scores_background: whether pixels of no class, label 0, count; if not, they are ignored, and predicting
    background elsewhere is still a miss.
    """

    name: str
    class_names: str
    ignored: int = 255
    scores_background: bool = False
    relabel: Mapping[int, int] = field(default_factory=dict)
    read_labels: Callable[[Path], Int32Array] = read_label_map

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and class id + 1, one query per class: things first, then stuff."""
        return read_class_names(self.class_names).label_space(
            self.name.partition("/")[0], names, ignore_label=self.ignored, scores_background=self.scores_background
        )

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its label file. Raises SampleError."""
        relabel = {value: label or self.background for value, label in self.relabel.items()}
        return read_semantic_sample(root, row, label_space, relabel, self.read_labels)

    @property
    def background(self) -> int:
        """What targets hold where there is no class."""
        return BACKGROUND if self.scores_background else self.ignored


def read_semantic_sample(
    root: Path,
    row: Mapping[str, str],
    label_space: LabelSpace,
    relabel: Mapping[int, int],
    read_labels: Callable[[Path], Int32Array] = read_label_map,
    read_pixels: Callable[[Path], RGBArray] = read_image,
    orientation: Callable[[Path], int] = exif_orientation,
) -> Sample:
    """Decode `row` ("id", "image", "mask") to a Sample with the mask's values replaced by `relabel`.

    relabel: label id (or ignore label) for every value that a mask may hold.
    read_labels: decodes a mask file to int32 [H, W] of values >= 0, raising ImageFileError.
    read_pixels: decodes an image file to uint8 [H, W, 3], likewise. orientation: as in `read_matching_image`.
    Raises SampleError if a file cannot be decoded, a mask value is not in `relabel`, or the two sizes differ.
    """
    try:
        stored = read_labels(root / row["mask"])
    except ImageFileError as error:
        raise SampleError(row["id"], row["mask"], error.reason) from error
    try:
        target = replace_values(stored, relabel)
    except ValueError as error:
        raise SampleError(row["id"], row["mask"], str(error)) from error
    return add_image(root, row, label_space, target, read_pixels, orientation)


def replace_values(stored: Int32Array, relabel: Mapping[int, int]) -> Int32Array:
    """The label of every stored value >= 0. Raises ValueError for a value without one."""
    present = np.flatnonzero(np.bincount(stored.ravel())).tolist()
    unknown = [value for value in present if value not in relabel]
    if unknown:
        raise ValueError(f"expected labels {_ranges(relabel)}, found {', '.join(map(str, unknown))}")
    table = np.zeros(max(present, default=-1) + 1, np.int32)
    table[present] = [relabel[value] for value in present]
    return table[stored]


def add_image(
    root: Path,
    row: Mapping[str, str],
    label_space: LabelSpace,
    target: Int32Array,
    read_pixels: Callable[[Path], RGBArray] = read_image,
    orientation: Callable[[Path], int] = exif_orientation,
) -> Sample:
    """Decode the image of `row` to a Sample with this target, int32 [H, W]. Raises as `read_matching_image`."""
    image = read_matching_image(root, row, target, read_pixels, orientation)
    return Sample(row["id"], image, label_space.queries, "semantic", target)


def read_matching_image(
    root: Path,
    row: Mapping[str, str],
    target: Int32Array | BoolArray,
    read_pixels: Callable[[Path], RGBArray] = read_image,
    orientation: Callable[[Path], int] = exif_orientation,
) -> RGBArray:
    """Decode the image of `row` ("id", "image", "mask"), which must have the size of its target, [..., H, W].

    orientation: as `exif_orientation` finds it in a file, for the message.
    Raises SampleError, which holds the target, if the image cannot be decoded or has another size.
    """
    try:
        image = read_pixels(root / row["image"])
    except ImageFileError as error:
        raise SampleError(row["id"], row["image"], error.reason, target) from error
    if image.shape[:2] != target.shape[-2:]:
        expected, found = (f"{width} x {height}" for height, width in (image.shape[:2], target.shape[-2:]))
        reason = f"expected the size of its image, {expected}, found {found}"
        exchanged = image.shape[:2] == target.shape[:-3:-1]
        if exchanged and any(orientation(root / row[column]) > 4 for column in ("image", "mask")):
            reason += ", which fits only the other orientation (EXIF): own data are read upright, others as stored"
        raise SampleError(row["id"], row["mask"], reason, target)
    return image


def _ranges(values: Mapping[int, int]) -> str:
    """Write integers as ranges: 0, 1, 2, 255 becomes "0..2, 255"."""
    starts = sorted(value for value in values if value - 1 not in values)
    ends = sorted(value for value in values if value + 1 not in values)
    return ", ".join(str(start) if start == end else f"{start}..{end}" for start, end in zip(starts, ends, strict=True))
