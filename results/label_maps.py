"""Label maps as indexed PNG files, as DAVIS has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

FOLDER = "label_maps"
"""The folder of a run directory that holds them."""


def write_label_map(path: Path, labels: npt.NDArray[np.int32]) -> None:
    """Write labels [H, W] in 0..255 as a palette PNG whose indices they are, making the folders above it.

    Raises ValueError for labels that a palette cannot hold, OSError if the file cannot be written.
    """
    if labels.size and not (labels.min() >= 0 and labels.max() <= 255):
        raise ValueError(f"{path}: expected labels 0..255, found {labels.min()}..{labels.max()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette())
    image.save(path)


def palette() -> list[int]:
    """The colours of Pascal VOC and DAVIS for 256 labels, r, g, b each in 0..255.

    The three lowest bits of a label are the highest bits of red, green and blue, the next three those below them, ...
    """
    colours = np.zeros((256, 3), np.int64)
    labels = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((labels >> channel) & 1) << (7 - bit)
        labels >>= 3
    return [int(value) for value in colours.ravel()]
