"""What adapters of user-supplied data share: a list of classes, and images and masks that are read upright."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from dataset_adapters.base.adapter import Adapter, Row
from dataset_adapters.base.sample import LabelSpace, Sample
from dataset_adapters.base.semantic import read_semantic_sample
from dataset_adapters.formats.images import ImageFile, ImageFileError, exif_orientation, read_image, read_label_map
from dataset_adapters.user_data.classes import ClassList, ignored_value, labels_of_values, read_class_list
from support.arrays import Int32Array
from support.choices import NameSet
from support.files import expanded


class UserDataAdapter(Adapter):
    """An adapter whose options say where the data are. classes, ignore_value: see `read_class_list`."""

    classes: str
    ignore_value: str
    version = 2

    def open(self, root: Path, row: Row, column: str) -> ImageFile:
        """What is to be decoded as the "image" or the "mask" of a sample. Raises ImageFileError for an empty one."""
        return root / row[column]

    def named(self, row: Row) -> Mapping[str, str]:
        """What errors call the files of a row, if not by their paths."""
        return {}

    def read_classes(self) -> ClassList:
        return read_class_list(expanded(self.classes), self.ignore_value)

    def label_space(self, names: NameSet) -> LabelSpace:
        """Return labels 0 (background) and 1.. in the order of the list, whatever `names` is."""
        return self.read_classes().label_space(self.name)

    def read(self, root: Path, row: Row, label_space: LabelSpace) -> Sample:
        """Decode one image and its mask, both turned by their EXIF orientation. Raises SampleError."""
        return read_semantic_sample(
            root,
            {**row, **self.named(row)},
            label_space,
            labels_of_values(row, label_space.ignore_label),
            lambda _: self.read_mask(root, row),
            lambda column: self.open(root, row, column),
        )

    def read_mask(self, root: Path, row: Row) -> Int32Array:
        """Decode a mask to its values, int32 [H, W] in 0..255: those stored, or those that the list gives its colors.

        A color image is read by color; so is a palette whose colors are all in the list, in another order than its
        values. Every other mask is read by its stored values. Raises ImageFileError, also for such a palette with other
        colors.
        """
        mask, stored = self.open(root, row, "mask"), None
        try:
            stored = read_label_map(mask)
        except ImageFileError as error:
            if "mode RGB" not in error.reason:
                raise
            if "colors" not in row:
                hint = "colors need a list of classes that has them, as `name,r,g,b`"
                raise ImageFileError(error.path, f"{error.reason}; {hint}") from error
        else:
            if (orientation := exif_orientation(mask)) != 1:
                turnable = Image.fromarray(stored.astype(np.uint8))
                turnable.getexif()[ExifTags.Base.Orientation] = orientation
                stored = np.asarray(ImageOps.exif_transpose(turnable)).astype(np.int32)
            if "colors" not in row:
                return stored
        pixels = read_image(mask, apply_exif=True)
        if stored is not None and (pixels == stored[..., np.newaxis]).all():
            return stored
        red, green, blue = (np.left_shift(pixels[..., n], 16 - 8 * n, dtype=np.int32) for n in range(3))
        codes = red | green | blue
        values: Int32Array = _values_by_code(row["colors"])[codes].astype(np.int32)
        is_known = values >= 0
        # The entry of an ignored value has any color, black where the file has none.
        if stored is not None and (values == stored)[is_known & (stored != ignored_value(row))].all():
            return stored
        if is_known.all():
            return values
        unknown = codes[~is_known]
        found = ",".join(str(channel) for channel in int(unknown[0]).to_bytes(3, "big"))
        raise ImageFileError(str(mask), f"expected only colors of the list of classes, found {found}")


@lru_cache(maxsize=1)  # 32 MB
def _values_by_code(colors: str) -> npt.NDArray[np.int16]:
    """The mask value of each color, as in `ClassList.columns`, at red << 16 | green << 8 | blue; -1 for the others."""
    found = np.full(1 << 24, -1, np.int16)
    for entry in colors.split():
        value, _, color = entry.partition(":")
        red, green, blue = map(int, color.split(","))
        found[red << 16 | green << 8 | blue] = int(value)
    return found
