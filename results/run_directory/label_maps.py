"""Label maps as indexed PNG files in the format of DAVIS."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from results.run_directory.sample_files import write_sample_file

if TYPE_CHECKING:
    from support.arrays import Int32Array


def write_label_map(path: Path, labels: Int32Array) -> None:
    """Write `encode_label_map` of the labels, creating the parent folders.

    Raises ValueError for labels that a palette cannot hold, OSError if the file cannot be written.
    """
    write_sample_file(path, encode_label_map(labels))


def encode_label_map(labels: Int32Array) -> bytes:
    """Encode labels [H, W] as the indices of a palette PNG. Raises ValueError for labels outside 0..255."""
    import numpy as np  # `car runs` needs neither
    from PIL import Image

    if labels.size and not (labels.min() >= 0 and labels.max() <= 255):
        raise ValueError(f"label map: expected labels 0..255, found {labels.min()}..{labels.max()}")
    image, content = Image.fromarray(labels.astype(np.uint8)), io.BytesIO()
    image.putpalette(palette())
    image.save(content, "PNG")
    return content.getvalue()


def palette() -> list[int]:
    """The colors of Pascal VOC and DAVIS for 256 labels, r, g, b each in 0..255.

    The three lowest bits of a label are the highest bits of red, green and blue, the next three those below them, ...
    """
    return [
        sum(((label >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
        for label in range(256)
        for channel in range(3)
    ]
