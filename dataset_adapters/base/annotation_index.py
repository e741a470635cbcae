"""Indexes of data sets that are described by a few large files: found again by the contents of those files.

Reading such files takes seconds, so a load from the cache reads nothing of them but their hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from dataset_adapters.base.index_cache import ensure_index, open_index
from dataset_adapters.base.layout import file_sizes
from dataset_adapters.base.sample import ConfigurableAdapter, DatasetError, Row, SourcedAdapter
from support.files import sha256_of

_ROWS = "rows.sha256"
"""File in the index's folder that holds the hash of its rows, so that a load need not read them."""
_SEAL = "sha256"
"""File in the index's folder that holds the hash of the others."""


def ensure_sourced_index(adapter: SourcedAdapter, root: Path, split: str | Path, cache: Path) -> tuple[str, Path]:
    """Return the split's fingerprint and the folder of its index, building the index if it is absent or damaged.

    The fingerprint covers adapter, options, the rows and the sizes of the samples' files. The index is found by what
    decides the rows, and by where that lies.
    Raises DatasetError for absent files, for what `adapter.rows` refuses, and for a cache that cannot be written.
    """
    key = [adapter.name, adapter.version, {name: getattr(adapter, name) for name in _options(adapter)}]
    path = cache / _hash([*key, Path(split).stem, [_described(root, each) for each in adapter.sources(root, split)]])
    if not _is_sealed(path):
        rows = adapter.rows(root, split)
        ensure_index(path, rows)
        (path / _ROWS).write_text(_digest_of_rows(rows, leave_out=adapter.file_columns))
        (path / _SEAL).write_text(_digest_of_files(_contents(path)))
    sizes = {column: file_sizes(root, _distinct(path, column), column) for column in adapter.file_columns}
    return _hash([*key, (path / _ROWS).read_text(), sizes]), path


def _described(root: Path, source: Path) -> list[str]:
    """Where a source lies below the root, and its contents: a file's hash, a folder's names."""
    place = source.relative_to(root).as_posix() if source.is_relative_to(root) else ""
    return [place, *(sorted(os.listdir(source)) if source.is_dir() else [_digest_of_files([source])])]


def _digest_of_rows(rows: Iterable[Row], *, leave_out: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        kept = {column: value for column, value in row.items() if column not in leave_out}
        digest.update(json.dumps(kept, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _options(adapter: SourcedAdapter) -> Iterable[str]:
    return adapter.choices if isinstance(adapter, ConfigurableAdapter) else ()


def _digest_of_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(bytes.fromhex(sha256_of(path)))
    except OSError as error:
        found = "nothing" if isinstance(error, FileNotFoundError) else error.strerror
        raise DatasetError(f"{error.filename}: expected a file, found {found}") from error
    return digest.hexdigest()


def _contents(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.name != _SEAL)


def _is_sealed(path: Path) -> bool:
    """Whether the folder is as it was when its index had been built."""
    try:
        return (path / _SEAL).read_text() == _digest_of_files(_contents(path))
    except (OSError, DatasetError):
        return False


def _distinct(path: Path, column: str) -> list[Row]:
    """The first row of each file of a column, in order: {"id", column}."""
    index = open_index(path).data
    first: dict[str, str] = {}
    for sample_id, file in zip(index.column("id").to_pylist(), index.column(column).to_pylist(), strict=True):
        first.setdefault(file, sample_id)
    return [{"id": sample_id, column: file} for file, sample_id in first.items()]
