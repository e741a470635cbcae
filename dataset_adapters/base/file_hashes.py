"""Hashes of the contents of many small files, remembered for as long as the files stay as they are."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from support.files import sha256_of, write_atomically

_Entry: TypeAlias = list[int | str]
"""Size, times of the last change of contents and of anything (nanoseconds), sha256."""

# A file that changes twice within a tick of the clock looks unchanged: what was just written is not remembered.
_SETTLED = 2_000_000_000  # nanoseconds


def content_hashes(root: Path, files: Iterable[str], cache: Path) -> dict[str, str]:
    """Return the sha256 of each file by its path relative to the root, empty for one that cannot be read.

    cache: folder in which hashes are kept. A file is read again only if its size or a time of its last change differs;
    a cache that is damaged, or cannot be written, is done without.
    """
    kept = cache / f"{hashlib.sha256(os.fsencode(root)).hexdigest()}.json"
    known, now = _read(kept), time.time_ns()
    found = {file: _entry(root / file, known.get(file)) for file in dict.fromkeys(files)}
    fresh = {
        file: entry
        for file, entry in found.items()
        if entry != known.get(file) and entry[-1] and max(map(int, entry[1:3])) < now - _SETTLED
    }
    if fresh:
        _write(kept, {**known, **fresh})
    return {file: str(entry[-1]) for file, entry in found.items()}


def _entry(path: Path, known: _Entry | None) -> _Entry:
    """What is known of a file, if it is as it was then, or what it is now."""
    try:
        status = path.stat()
        state: _Entry = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        if known and known[:-1] == state:
            return known
        return [*state, sha256_of(path)]
    except OSError:  # decoding it tells why, as the error of its sample
        return [0, 0, 0, ""]


def _read(path: Path) -> dict[str, _Entry]:
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {file: entry for file, entry in stored.items() if isinstance(entry, list) and len(entry) == 4}


def _write(path: Path, entries: dict[str, _Entry]) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(entries, separators=(",", ":")), synced=False)
