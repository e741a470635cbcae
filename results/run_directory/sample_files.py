"""Files that a run keeps next to its records: one per sample in each of its folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from support.files import write_atomically

LABEL_MAPS, PREDICTIONS, PROPOSALS = "label_maps", "predictions", "proposals"
FOLDERS = (LABEL_MAPS, PREDICTIONS, PROPOSALS)
"""All folders of a run directory that hold one file per sample."""
# How a complete file ends: the bytes found at this distance from its end.
_ENDS: Mapping[str, tuple[int, bytes]] = {
    ".png": (12, b"\0\0\0\0IEND\xaeB`\x82"),
    ".json": (2, b"]\n"),
    ".npz": (22, b"PK\x05\x06"),
}


def write_sample_file(path: Path, content: bytes) -> None:
    """Write a file as a whole, creating its parent folders. Raises OSError if it cannot be written.

    It is not flushed to the disk: `is_whole` detects a file that a power cut tore.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content, synced=False)


def is_whole(path: Path) -> bool:
    """Whether a PNG, JSON list or npz file exists and ends as a complete one does."""
    offset, end = _ENDS[path.suffix]
    try:
        with path.open("rb") as stream:
            stream.seek(-offset, os.SEEK_END)
            return stream.read(len(end)) == end
    except OSError:  # absent, or shorter than its end
        return False
