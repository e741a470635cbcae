"""Where candidate masks come from, and a disk cache of them, because sweeps segment the same images repeatedly."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np

from support.arrays import BoolArray, RGBArray, read_npz
from support.files import write_atomically


class MaskSource(Protocol):
    """Anything that proposes masks of an image, whatever is in it."""

    def masks(self, image: RGBArray) -> BoolArray:
        """Masks bool [M, H, W] of an image uint8 [H, W, 3]."""
        ...


class CachedMasks:
    """The masks of ``source``, kept in ``folder`` under ``key`` and the image's hash.

    key: identifies the model and settings that decide the masks. A damaged file is recomputed. If the folder is not
    writable, masks are recomputed each time.
    """

    def __init__(self, source: MaskSource, folder: Path, key: str) -> None:
        self._source = source
        self._folder = folder / key

    def masks(self, image: RGBArray) -> BoolArray:
        """See ``MaskSource.masks``."""
        path = self._folder / f"{image_hash(image)}.npz"
        found = _read(path)
        if found is None:
            found = self._source.masks(image)
            stream = io.BytesIO()
            np.savez_compressed(stream, bits=np.packbits(found), shape=np.array(found.shape))
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, stream.getvalue(), synced=False)
        return found


def image_hash(image: RGBArray) -> str:
    """sha256 over size and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _read(path: Path) -> BoolArray | None:
    try:
        file = read_npz(path, {"shape", "bits"}.__contains__)
        shape = tuple(file["shape"].tolist())
        if (count := math.prod(shape)) > 8 * file["bits"].size:  # zeros would take the place of the others
            return None
        return np.unpackbits(file["bits"], count=count).reshape(shape).view(np.bool_)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
