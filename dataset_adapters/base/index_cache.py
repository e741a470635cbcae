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

if TYPE_CHECKING:  # the library takes seconds to import, so functions import it when they need it
    import datasets

Columns: TypeAlias = Mapping[str, Sequence[str]]

_LABELS = "mask"
"""The column of label files."""


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
def open_index(path: Path) -> datasets.Dataset:
    """Memory-map the index at `path`; once per process, however many views share it."""
    return _load(path)


def _load(path: Path) -> datasets.Dataset:
    import datasets

    return datasets.Dataset.load_from_disk(str(path), keep_in_memory=False)


def _holds(path: Path, columns: Columns) -> bool:
    """Whether `path` is an intact index with these contents."""
    if not path.is_dir():
        return False
    try:
        index = _load(path)
        index.data.validate(full=True)
        return bool(index.data.to_pydict() == columns)
    except Exception:  # damage shows as errors of many types, and a cache can always be rebuilt
        return False


def _save(path: Path, columns: Columns) -> None:
    """Write the index with all its texts as Arrow strings, silently."""
    import datasets
    import pyarrow
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    # Dataset.from_dict, and the fingerprint that a Dataset computes for itself, take several times the texts' memory.
    # So does converting all texts at once: the converter's buffer may be twice as large as its contents.
    step = 10_000
    pieces = {
        column: [pyarrow.array(texts[i : i + step], pyarrow.string()) for i in range(0, len(texts), step)]
        for column, texts in columns.items()
    }
    table = pyarrow.table({column: pyarrow.chunked_array(parts) for column, parts in pieces.items()})
    index = datasets.Dataset(table, fingerprint="index")  # never looked at: indexes are found by their folder
    bars_shown = not are_progress_bars_disabled()
    if bars_shown:
        disable_progress_bars()
    try:
        index.save_to_disk(str(path))
    finally:
        if bars_shown:
            enable_progress_bars()
