"""Cached indexes of data sets described by a few large annotation files, found by the contents of those files.

Parsing such files takes seconds; loading a cached index only hashes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from dataset_adapters.base.index_cache import ensure_index, open_index
from dataset_adapters.base.layout import file_sizes, rows_of
from dataset_adapters.base.sample import AnnotationFileAdapter, ConfigurableAdapter, DatasetError
from support.files import sha256_of, what_is_there, write_atomically

_ROWS = "rows.sha256"
"""File in the index's folder that holds the hash of its rows, so that loading need not read them."""
_NOTICES = "notices.json"
"""File in the index's folder that holds the notices of its rows."""
_RULES = 3
"""Raised whenever the same files give other rows, or another index file, so that older ones are not found; no part of
fingerprints."""
_SEAL = "sha256"
"""File in the index's folder that holds the hash of the others."""


def ensure_annotation_index(
    adapter: AnnotationFileAdapter, root: Path, split: str | Path, cache: Path
) -> tuple[str, Path, tuple[str, ...]]:
    """Return the split's fingerprint, the folder of its index and the notices of its rows.

    The index is built if it is absent or damaged.

    The fingerprint covers the adapter, its options, the rows and the sizes of the samples' files. The cached index is
    found by the annotation files: their contents and their paths below the root.
    Raises DatasetError for absent files, for everything that `adapter.rows` rejects, and if the cache is not writable.
    """
    options = adapter.choices if isinstance(adapter, ConfigurableAdapter) else ()
    key = [adapter.name, adapter.version, {name: getattr(adapter, name) for name in options}]
    sources: list[list[str]] = []
    for source in adapter.annotation_files(root, split):
        path = source.relative_to(root).as_posix() if source.is_relative_to(root) else ""
        sources.append([path, *(sorted(os.listdir(source)) if source.is_dir() else [_hash_files([source])])])
    folder = cache / _hash_json([_RULES, *key, Path(split).stem, sources])
    if not _is_sealed(folder):
        rows = rows_of(adapter, root, split)
        ensure_index(folder, rows)
        digest = hashlib.sha256()
        for row in rows:
            # File paths do not enter: data sets that differ only in the names of their folders are the same.
            kept = {column: value for column, value in row.items() if column not in adapter.file_columns}
            digest.update(json.dumps(kept, sort_keys=True).encode() + b"\n")
        write_atomically(folder / _ROWS, digest.hexdigest(), synced=False)
        write_atomically(folder / _NOTICES, json.dumps(rows.notices), synced=False)
        write_atomically(folder / _SEAL, _hash_files(_sealed_files(folder)), synced=False)
    sizes: dict[str, list[int]] = {}
    for column in adapter.file_columns:
        index = open_index(folder)
        first: dict[str, str] = {}  # samples may share a file: each is looked up once, as that of its first sample
        for sample_id, file in zip(index.column("id").to_pylist(), index.column(column).to_pylist(), strict=True):
            first.setdefault(file, sample_id)
        sizes[column] = file_sizes(root, [{"id": sample_id, column: file} for file, sample_id in first.items()], column)
    notices = tuple(json.loads((folder / _NOTICES).read_text()))
    return _hash_json([*key, (folder / _ROWS).read_text(), sizes]), folder, notices


def _hash_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _hash_files(paths: Iterable[Path]) -> str:
    """sha256 over the hashes of the files. Raises DatasetError for one that cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(bytes.fromhex(sha256_of(path)))
    except OSError as error:
        raise DatasetError(f"{error.filename}: expected a file, found {what_is_there(error)}") from error
    return digest.hexdigest()


def _sealed_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.name != _SEAL)


def _is_sealed(folder: Path) -> bool:
    """Whether the folder is unchanged since its index was built."""
    try:
        return (folder / _SEAL).read_text() == _hash_files(_sealed_files(folder))
    except (OSError, DatasetError):
        return False
