"""The index of a split: its rows in one Arrow file, built once, cached on disk, memory-mapped when read.

Memory-mapping lets decoding processes share the pages of one index, and opens a million rows as fast as ten.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_adapters.base.adapter import Adapter, Row, Rows
from dataset_adapters.base.file_hashes import content_hashes
from dataset_adapters.base.layout import require_distinct
from dataset_adapters.errors import DatasetError
from support.files import sha256_of, what_is_there, write_atomically
from support.text import broken_text

if TYPE_CHECKING:  # imported where it is needed: commands that only look at files do not wait for it
    import pyarrow

_RULES = 3
"""Incremented when the same files give other rows, so that earlier indexes are not found; no part of fingerprints."""
_LABELS = "mask"
"""The column of label files."""
_STEP = 10_000
"""Rows that are written at once: the buffer of a conversion may be twice as large as its texts."""


def ensure_index(adapter: Adapter, root: Path, split: str | Path, cache: Path) -> tuple[str, Path, tuple[str, ...]]:
    """Return a split's fingerprint, its index in the folder `cache` and the notices of its rows.

    The index is built if it is absent or damaged; safe if other processes do the same at the same time. The fingerprint
    covers the adapter, its options, the rows, the sizes of the samples' files and the contents of label files, but no
    paths and times. An index is found by the contents and the paths below the root of annotation files, as parsing them
    takes seconds; without such files, by the rows.
    Raises DatasetError for absent files, for everything that `adapter.rows` rejects, and if the cache is not writable.
    """
    sources: list[list[str]] = []
    for source in adapter.annotation_files(root, split):
        place = source.relative_to(root).as_posix() if source.is_relative_to(root) else ""
        with _unreadable_named():
            contents = sorted(os.listdir(source)) if source.is_dir() else [sha256_of(source)]
        sources.append([place, *contents])
    if not sources:
        rows = rows_of(adapter, root, split)
        listed = list(rows)
        identity = _fingerprint(adapter, root, listed, cache.with_name("contents"))
        paths = [[row[column] for column in adapter.file_columns] for row in listed]
        path = cache / f"{_hash([_RULES, identity, paths])}.arrow"
        if _seal_of(path) is None:
            _build(path, listed, dict)
        return identity, path, tuple(rows.notices)
    own = [adapter.name, adapter.version, {name: getattr(adapter, name) for name in adapter.choices}]
    path = cache / f"{_hash([_RULES, *own, Path(split).stem, sources])}.arrow"
    seal = _seal_of(path)
    if seal is None:
        rows, digest = rows_of(adapter, root, split), hashlib.sha256()

        def hashed() -> Iterator[Row]:
            with _unreadable_named():
                for row in rows:
                    # File paths do not enter: data sets that differ only in the names of their folders are the same.
                    kept = {column: value for column, value in row.items() if column not in adapter.file_columns}
                    digest.update(json.dumps(kept, sort_keys=True).encode() + b"\n")
                    yield row

        seal = _build(path, hashed(), lambda: {"rows": digest.hexdigest(), "notices": list(rows.notices)})
    sizes = {}
    for column in adapter.file_columns:
        batches = (batch.columns for batch in open_index(path).select([column, "id"]).to_batches())
        pairs = (pair for files, ids in batches for pair in zip(files.to_pylist(), ids.to_pylist(), strict=True))
        sizes[column] = list(_file_sizes(root, column, pairs).values())
    return _hash([*own, seal["rows"], sizes]), path, tuple(seal["notices"])


@contextmanager
def _unreadable_named() -> Iterator[None]:
    """Raise DatasetError for a file that cannot be read."""
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{error.filename}: expected a file, found {what_is_there(error)}") from error


@lru_cache(maxsize=8)
def open_index(path: Path) -> pyarrow.Table:
    """Memory-map the index at `path`, a table of texts; once per process, however many views share it."""
    import pyarrow

    return pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()


def row_of(path: Path, position: int) -> Row:
    """Return one row of an index."""
    [row] = open_index(path).slice(position, 1).to_pylist()
    return row  # type: ignore[no-any-return]


def rows_of(adapter: Adapter, root: Path, split: str | Path) -> Rows:
    """Return `adapter.rows`. Iterating raises DatasetError for no rows, repeated ids and ids that are not text.

    Text that is not Unicode, as names of files may be, is none either.
    """
    rows = adapter.rows(root, split)

    def checked() -> Iterator[Row]:
        ids: list[str] = []
        columns: tuple[str, ...] = ()
        for row in rows:
            columns = columns or tuple(dict.fromkeys((*adapter.file_columns, "id", *row)))
            for column in columns:
                text: object = row.get(column)
                near = broken_text(text) if isinstance(text, str) else repr(text)
                if near:
                    expected = "a file name in UTF-8" if column in adapter.file_columns else "text"
                    raise DatasetError(f"{root}: {column} of {row.get('id')!a}: expected {expected}, found {near}")
            ids.append(row["id"])
            yield row
        if not ids:
            raise DatasetError(f"{root}: expected samples of {adapter.name}, split {split}, found none")
        require_distinct(root, ids)

    return Rows(checked(), rows.notices if isinstance(rows, Rows) else ())


def _fingerprint(adapter: Adapter, root: Path, rows: Sequence[Row], cache: Path) -> str:
    # Two different JPEGs hardly ever have the same size. Label files often do: some are not compressed, others so well
    # that sizes repeat. So images enter by size, which needs no reading, and label files by contents.
    facts: dict[str, Mapping[str, int | str]] = {
        column: _file_sizes(root, column, ((row[column], row["id"]) for row in rows)) for column in adapter.file_columns
    }
    if _LABELS in facts:
        facts[_LABELS] = content_hashes(root, facts[_LABELS], cache)
    contents = [
        {column: facts[column][value] if column in facts else value for column, value in row.items()} for row in rows
    ]
    return _hash([adapter.name, adapter.version, contents])


def _file_sizes(root: Path, column: str, pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return the size in bytes of each file. Raises DatasetError naming the first missing file.

    pairs: the file in that column, and the id, of each sample; samples may share a file, which is looked up once.
    """
    sizes: dict[str, int] = {}
    absent: dict[str, str] = {}
    for file, sample_id in pairs:
        if file in sizes or file in absent:
            continue
        try:
            sizes[file] = os.stat(os.path.join(root, file)).st_size  # paths of `pathlib` take three times as long
        except (OSError, ValueError):  # ValueError: a name that no file can have
            absent[file] = sample_id
    if absent:
        file, sample_id = next(iter(absent.items()))
        path = root / file
        folder = "" if path.parent.is_dir() else f", there is no folder {path.parent}"
        raise DatasetError(
            f"{path}: expected the {column} of {sample_id}, found nothing"
            f" ({len(absent)} of {len(sizes) + len(absent)} {column} files absent{folder})"
        )
    return sizes


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _build(path: Path, rows: Iterable[Row], facts: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Write an index of these rows and its seal, which holds `facts`, known after the last row; return the seal."""
    import pyarrow

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as scratch:
            fresh, rows, writer = Path(scratch) / "fresh", iter(rows), None
            with pyarrow.OSFile(str(fresh), "wb") as stream:
                while part := list(islice(rows, _STEP)):
                    texts = {name: pyarrow.array([row[name] for row in part], pyarrow.string()) for name in part[0]}
                    batch = pyarrow.record_batch(texts)
                    writer = writer or pyarrow.ipc.new_file(stream, batch.schema)
                    writer.write_batch(batch)
                if writer:
                    writer.close()
            seal = {"sha256": sha256_of(fresh), **facts()}
            fresh.replace(path)
            write_atomically(path.with_suffix(".json"), json.dumps(seal), synced=False)
    except OSError as error:
        reason = error.strerror or error
        raise DatasetError(
            f"{path.parent}: expected a writable cache folder ($CAR_CACHE names another), found: {reason}"
        ) from error
    open_index.cache_clear()  # a replaced index must not stay mapped
    return seal


def _seal_of(path: Path) -> Mapping[str, Any] | None:
    """The seal of an index that is unchanged since it was built; else None."""
    try:
        seal = json.loads(path.with_suffix(".json").read_bytes())
        return seal if seal["sha256"] == sha256_of(path) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
