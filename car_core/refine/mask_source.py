"""Where candidate masks come from, and a cache of them on disk: sweeps ask for the same image again and again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np

from car_core.segmentation import BoolArray, RGBArray


class MaskSource(Protocol):
    """Anything that proposes masks of an image, whatever is in it."""

    def masks(self, image: RGBArray) -> BoolArray:
        """Masks bool [M, H, W] of an image uint8 [H, W, 3]."""
        ...


class CachedMasks:
    """The masks of ``source``, kept in ``folder`` under ``key`` and the image's hash.

    key: names model and settings that decide the masks. A file that is damaged is made anew; a folder that cannot be
    written to only costs the time.
    """

    def __init__(self, source: MaskSource, folder: Path, key: str) -> None:
        self._source = source
        self._folder = folder / key

    def masks(self, image: RGBArray) -> BoolArray:
        """As ``MaskSource.masks``."""
        path = self._folder / f"{image_hash(image)}.npz"
        found = _read(path)
        if found is None:
            found = self._source.masks(image)
            with contextlib.suppress(OSError):
                _write(path, found)
        return found


def image_hash(image: RGBArray) -> str:
    """sha256 over size and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def _read(path: Path) -> BoolArray | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            shape = tuple(int(side) for side in file["shape"])
            return np.unpackbits(file["bits"], count=int(np.prod(shape))).reshape(shape).view(np.bool_)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, masks: BoolArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, bits=np.packbits(masks), shape=np.array(masks.shape))
        os.replace(temporary, path)
    except BaseException:  # whatever ends this, Ctrl-C included: no temporary file stays behind
        os.unlink(temporary)
        raise
