"""Runs below a folder, read for a list of them: only run.json, and the ids in samples.jsonl of an unfinished run."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from results.run_directory.schema import RunHeader
from results.run_directory.store import LONGEST_LINE, RunDirectory, StoreError
from support.files import open_regular


@dataclass(frozen=True)
class FoundRun:
    """A run directory and its header."""

    path: Path
    header: RunHeader

    def progress(self) -> dict[str, int | None]:
        """Samples with a record (done) and samples that the run takes (wanted), and the size of its files in bytes.

        wanted: None for an unfinished shard, which only its data set knows. Reads the files, but no record as JSON.
        """
        header, size = self.header, bytes_in(self.path)
        if header.status == "complete":
            return {"done": header.counts.n_total, "wanted": header.counts.n_total, "bytes": size}
        done, wanted = 0, None
        with (
            suppress(OSError),
            io.BufferedReader(open_regular(self.path / "samples.jsonl", follow=False), 1 << 20) as stream,
        ):
            lines = iter(lambda: stream.readline(LONGEST_LINE), b"")
            # A record begins with its id; a sample that was tried again has several. In an id, quotes are escaped.
            done = len({line.partition(b'"status"')[0] for line in lines if line.endswith(b"\n")})
        if "shard" not in header.identity_fields:
            limit, n_samples = header.request.get("limit"), header.benchmark.dataset.n_samples
            wanted = min(limit, n_samples) if isinstance(limit, int) else n_samples
        return {"done": done, "wanted": wanted, "bytes": size}


def bytes_in(folder: Path) -> int:
    """Size of all files in a folder, except those deleted meanwhile; links are not followed."""
    size, stack = 0, [os.fspath(folder)]
    while stack:
        for entry in _entries(stack.pop()):
            with suppress(OSError):
                found = os.lstat(entry)
                if stat.S_ISDIR(found.st_mode):
                    stack.append(entry.path)
                size += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return size


def find_runs(folders: Sequence[Path]) -> tuple[list[FoundRun], list[str]]:
    """All runs in and below folders, the newest first, and why other folders with a run.json cannot be read.

    Links and hidden folders are not followed. Raises StoreError for a folder that is not there.
    """
    found: dict[str, FoundRun] = {}
    damaged: list[str] = []
    for top in folders:
        if not top.is_dir():
            found_there = "a file" if top.exists() else "nothing"
            raise StoreError(f"{top}: expected a folder of runs, found {found_there}; `car runs DIR` looks elsewhere")
        stack = [os.fspath(top)]
        while stack:
            entries = _entries(folder := stack.pop())
            if not any(entry.name == "run.json" for entry in entries):
                visible = (entry for entry in entries if not entry.name.startswith("."))
                stack += [entry.path for entry in visible if entry.is_dir(follow_symlinks=False)]
                continue
            try:  # a run holds no others
                run = FoundRun(Path(folder), RunDirectory(folder).read_header(listed=True))
                found.setdefault(os.path.realpath(folder), run)
            except (OSError, StoreError) as error:
                damaged.append(str(error))
    return sorted(found.values(), key=lambda run: (run.header.updated_at, run.path), reverse=True), damaged


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder: nothing if it was deleted meanwhile or cannot be read.

    (`os.walk` recurses in Python 3.11, and a folder can be deeper than the stack.)
    """
    with suppress(OSError), os.scandir(folder) as entries:
        return list(entries)
    return []
