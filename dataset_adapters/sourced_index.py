"""Indexes of data sets that are described by a few large files: found again by the contents of those files.

Reading such files takes seconds, so a load from the cache reads nothing of them but their hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from dataset_adapters.index import ensure_index, open_index
from dataset_adapters.layout import file_sizes
from dataset_adapters.sample import ConfigurableAdapter, DatasetError, Row, SourcedAdapter

_SEAL = "sha256"
"""File in the index's folder that holds the hash of the others."""


def ensure_sourced_index(adapter: SourcedAdapter, root: Path, split: str | Path, cache: Path) -> tuple[str, Path]:
    """Return the split's fingerprint and the folder of its index, building the index if it is absent or damaged.

    The fingerprint covers adapter, options, split, the contents of the sources and the sizes of the samples' files.
    Raises DatasetError for absent files, for what `adapter.rows` refuses, and for a cache that cannot be written.
    """
    key = _key(adapter, root, split)
    path = cache / key
    if not _is_sealed(path):
        ensure_index(path, adapter.rows(root, split))
        (path / _SEAL).write_text(_digest_of_files(_contents(path)))
    sizes = {column: file_sizes(root, _distinct(path, column), column) for column in adapter.file_columns}
    return hashlib.sha256(json.dumps([key, sizes], sort_keys=True).encode()).hexdigest(), path


def _key(adapter: SourcedAdapter, root: Path, split: str | Path) -> str:
    options = {name: getattr(adapter, name) for name in _options(adapter)}
    digest = _digest_of_files(adapter.sources(root, split))
    identity = json.dumps([adapter.name, adapter.version, options, str(split), digest], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()


def _options(adapter: SourcedAdapter) -> Iterable[str]:
    return adapter.choices if isinstance(adapter, ConfigurableAdapter) else ()


def _digest_of_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_digest_of_file(path))
    return digest.hexdigest()


def _digest_of_file(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        found = "nothing" if isinstance(error, FileNotFoundError) else error.strerror
        raise DatasetError(f"{path}: expected a file, found {found}") from error
    return digest.digest()


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
