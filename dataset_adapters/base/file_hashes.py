"""Hashes of the contents of many small files, remembered for as long as the files do not change."""

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
"""Size, modification and status-change times (nanoseconds), sha256."""

SETTLED = 2_000_000_000


def content_hashes(root: Path, files: Iterable[str], cache: Path, settled: int = SETTLED) -> dict[str, str]:
    """Return the sha256 of each file by its path relative to the root, empty for one that cannot be read.

    cache: folder in which hashes are kept. A file is read again only if its size or one of its times differs. A damaged
    or read-only cache is ignored.
    settled: nanoseconds since its last change before a file is remembered: one that changes twice within a tick of the
    clock looks unchanged.
    """
    store = cache / f"{hashlib.sha256(os.fsencode(root)).hexdigest()}.json"
    try:
        stored = json.loads(store.read_bytes())
    except (OSError, ValueError):
        stored = None
    entries = stored.items() if isinstance(stored, dict) else ()
    known: dict[str, _Entry] = {file: entry for file, entry in entries if isinstance(entry, list) and len(entry) == 4}
    fresh: dict[str, _Entry] = {}
    hashes: dict[str, str] = {}
    now = time.time_ns()
    for file in dict.fromkeys(files):
        entry = known.get(file)
        try:
            status = (root / file).stat()
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if entry is None or entry[:-1] != state:
                entry = [*state, sha256_of(root / file)]
                if max(state[1:]) <= now - settled:
                    fresh[file] = entry
            hashes[file] = str(entry[-1])
        except (OSError, ValueError):  # decoding reports the reason, as the error of its sample
            hashes[file] = ""
    if fresh:
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            write_atomically(store, json.dumps({**known, **fresh}, separators=(",", ":")), synced=False)
    return hashes
