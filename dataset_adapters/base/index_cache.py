"""The index of a split: built once, cached on disk under its fingerprint, memory-mapped when read.

Memory-mapping lets decoding processes share the pages of one index, and opens a million rows as fast as ten.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dataset_adapters.base.file_hashes import content_hashes
from dataset_adapters.base.layout import file_sizes
from dataset_adapters.base.sample import Adapter, DatasetError, Row

if TYPE_CHECKING:  # the library takes a while to import, so functions import it when they need it
    import pyarrow

Columns: TypeAlias = Mapping[str, Sequence[str]]

_LABELS = "mask"
"""The column of label files."""
_FILE = "index.arrow"


def fingerprint(adapter: Adapter, root: Path, rows: Sequence[Row], cache: Path) -> str:
    """Return the sha256 over adapter name and version, ids, file sizes and label files' hashes.

    Paths and times do not enter. cache: see `content_hashes`. Raises DatasetError if a file of the rows is missing.
    """
    # Two different JPEGs hardly ever have the same size. Label files often do: some are not compressed, others so well
    # that sizes repeat. So images enter by size, which needs no reading, and label files by contents.
    facts: dict[str, Sequence[int | str]] = {column: file_sizes(root, rows, column) for column in adapter.file_columns}
    if _LABELS in facts:
        hashes = content_hashes(root, (row[_LABELS] for row in rows), cache)
        facts[_LABELS] = [hashes[row[_LABELS]] for row in rows]
    contents = [
        {column: facts[column][n] if column in facts else value for column, value in row.items()}
        for n, row in enumerate(rows)
    ]
    identity = json.dumps([adapter.name, adapter.version, contents], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()


def ensure_index(path: Path, rows: Sequence[Row]) -> None:
    """Make sure that `path` holds an index of exactly these rows, building or rebuilding it if needed.

    Safe if other processes do the same at the same time. Raises DatasetError if the cache cannot be written.
    """
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    try:
        if _holds(path, columns):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as scratch:
            fresh = Path(scratch) / "fresh"
            _save(fresh, columns)
            with suppress(FileNotFoundError):
                path.rename(Path(scratch) / "damaged")
            try:
                fresh.rename(path)
            except OSError:
                if not _holds(path, columns):  # else another process was faster
                    raise
    except OSError as error:
        reason = error.strerror or error
        raise DatasetError(
            f"{path.parent}: expected a writable cache folder ($CAR_CACHE names another), found: {reason}"
        ) from error
    open_index.cache_clear()  # a replaced index must not stay mapped


@lru_cache(maxsize=8)
def open_index(path: Path) -> pyarrow.Table:
    """Memory-map the index at `path`, a table of texts; once per process, however many views share it."""
    return _load(path)


def row_of(index: pyarrow.Table, position: int) -> Row:
    """One row of an index."""
    row: Row = index.slice(position, 1).to_pylist()[0]
    return row


def _load(path: Path) -> pyarrow.Table:
    import pyarrow

    return pyarrow.ipc.open_file(pyarrow.memory_map(str(path / _FILE))).read_all()


def _holds(path: Path, columns: Columns) -> bool:
    """Whether `path` is an intact index with these contents."""
    if not path.is_dir():
        return False
    try:
        index = _load(path)
        index.validate(full=True)
        return bool(index.to_pydict() == columns)
    except Exception:  # damage shows as errors of many types, and a cache can always be rebuilt
        return False


def _save(path: Path, columns: Columns) -> None:
    """Write the index with all its texts as Arrow strings."""
    import pyarrow

    # Converting all texts at once takes several times their memory: the converter's buffer may be twice as large as its
    # contents.
    schema = pyarrow.schema([(column, pyarrow.string()) for column in columns])
    path.mkdir()
    with pyarrow.ipc.new_file(str(path / _FILE), schema) as file:
        n_rows, step = len(next(iter(columns.values()))), 10_000
        for i in range(0, n_rows, step):
            file.write_batch(
                pyarrow.record_batch(
                    [pyarrow.array(texts[i : i + step], pyarrow.string()) for texts in columns.values()], schema
                )
            )
