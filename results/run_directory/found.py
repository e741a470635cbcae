"""Runs below a folder, read for a list of them: only run.json, and the ids in samples.jsonl of an unfinished run."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
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

    @property
    def n_done(self) -> int:
        """Samples with a record. Those of an unfinished run are counted without reading the records as JSON."""
        if self.header.status == "complete":
            return self.header.counts.n_total
        try:
            with io.BufferedReader(open_regular(self.path / "samples.jsonl", follow=False), 1 << 20) as stream:
                lines = iter(lambda: stream.readline(LONGEST_LINE), b"")
                # A record begins with its id; a sample that was tried again has several. In an id, quotes are escaped.
                return len({line.partition(b'"status"')[0] for line in lines if line.endswith(b"\n")})
        except OSError:
            return 0

    @property
    def n_wanted(self) -> int | None:
        """Samples that the run takes; None for an unfinished shard, which only its data set knows."""
        if self.header.status == "complete":
            return self.header.counts.n_total
        limit, n_samples = self.header.request.get("limit"), self.header.benchmark.dataset.n_samples
        if "shard" in self.header.identity_fields:
            return None
        return min(limit, n_samples) if isinstance(limit, int) else n_samples

    @property
    def n_bytes(self) -> int:
        """Size of all files in the folder."""
        return bytes_in(self.path)


def bytes_in(folder: Path) -> int:
    """Size of all files in a folder, except those deleted meanwhile; links are not followed."""
    return sum(entry.stat(follow_symlinks=False).st_size for entry in _files(folder))


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
        stack = [top]
        while stack:
            folder = stack.pop()
            entries = list(_scanned(folder))
            if any(entry.name == "run.json" for entry in entries):
                try:
                    header = RunDirectory(folder).read_header(listed=True)
                    found.setdefault(os.path.realpath(folder), FoundRun(folder, header))
                except (OSError, StoreError) as error:
                    damaged.append(str(error))
            else:
                stack += [
                    folder / entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
                ]
    return sorted(found.values(), key=lambda run: run.header.updated_at, reverse=True), damaged


def _scanned(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:  # deleted meanwhile, or not readable
        yield from entries


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _scanned(folder):
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                yield entry
