"""Whether a data set on disk is whole: numbers of files and samples, missing files, and a sample of them decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from dataset_adapters.images import ImageError
from dataset_adapters.prepare.download import Report
from dataset_adapters.prepare.preparation import FileCount, Preparation, SplitCount
from dataset_adapters.sample import (
    Adapter,
    DatasetError,
    LabelSpace,
    Row,
    Sample,
    SampleError,
    SourceAbsentError,
    find_sources,
)

T = TypeVar("T")


def check(preparation: Preparation, root: Path, report: Report, *, n_decoded: int | None) -> int:
    """Check a data set below `root`, report what is found and each fault in one line; returns the number of faults.

    n_decoded: samples to decode of each split, evenly spread; None for all. Raises DatasetError if `root` is no folder.
    """
    if not root.expanduser().is_dir():
        raise DatasetError(f"{root}: expected a folder, found {'a file' if root.exists() else 'nothing'}")
    start = preparation.start(root)
    faults = [fault for count in preparation.counts for fault in _check_files(count, start, report, n_decoded)]
    for split in preparation.splits:
        faults += _check_split(split, root.expanduser().absolute(), report, n_decoded)
    for fault in faults:
        report(f"fault: {fault}")
    return len(faults)


def _check_files(count: FileCount, start: Path, report: Report, n_decoded: int | None) -> list[str]:
    files = count.files(start)
    report(f"{count.what}: {len(files)} files {count.pattern}")
    faults = (
        []
        if count.accepts(len(files))
        else [f"{count.pattern}: expected {_expected(count.expected)} files, found {len(files)}"]
    )
    if count.read is None:
        return faults
    for path in spread(files, n_decoded):
        faults += _fault_of_file(count, path, start)
    return faults


def _fault_of_file(count: FileCount, path: Path, start: Path) -> list[str]:
    try:
        count.read(path)  # type: ignore[misc]  # asked for only where it is there
    except ImageError as error:
        return [f"{path.relative_to(start)}: {error.reason}"]
    return []


def _check_split(split: SplitCount, root: Path, report: Report, n_decoded: int | None) -> list[str]:
    where = f"{split.adapter}, split {split.split}"
    try:
        adapter, folder, rows = _first_rows(split, root)
    except DatasetError as error:
        return [f"{where}: {' '.join(str(error).split())}"]
    report(f"{where}: {len(rows)} {split.noun} ({adapter.name})")
    faults = []
    if len(rows) not in split.expected:
        faults.append(f"{where}: expected {_expected(split.expected)} {split.noun}, found {len(rows)}")
    files = {row[column]: column for row in rows for column in adapter.file_columns}
    absent = {name for name in files if not (folder / name).is_file()}
    faults += [f"{where}: {name}: expected the {files[name]}, found nothing" for name in sorted(absent)]
    whole = [row for row in rows if not any(row[column] in absent for column in adapter.file_columns)]
    return faults + _decode(adapter, folder, spread(whole, n_decoded), where, report)


def _first_rows(split: SplitCount, root: Path) -> tuple[Adapter, Path, list[Row]]:
    """The first source that is there, its folder and its rows. Raises DatasetError."""
    absent = []
    for adapter in find_sources(split.adapter):
        folder = adapter.find_root(root)
        try:
            return adapter, folder, adapter.rows(folder, split.split)
        except SourceAbsentError as error:
            absent.append(error.expected)
    raise DatasetError(f"expected {', or '.join(absent)}, found nothing of the kind")


def _decode(adapter: Adapter, folder: Path, rows: Sequence[Row], where: str, report: Report) -> list[str]:
    """Decode samples and report their sizes and labels; returns a fault for each that cannot be read."""
    space, faults = adapter.label_space("dataset"), []
    pixels: Counter[int] = Counter()
    sizes: list[tuple[int, ...]] = []
    for row in rows:
        sample = _read(adapter, folder, row, space)
        if isinstance(sample, SampleError):
            faults.append(f"{where}: {sample}")
            continue
        sizes.append(sample.target.shape)
        pixels.update(dict(zip(*(part.tolist() for part in np.unique(sample.target, return_counts=True)), strict=True)))
    if sizes:
        report(f"{where}: {len(sizes)} decoded, {_describe(sizes, pixels, space)}")
    return faults


def _read(adapter: Adapter, folder: Path, row: Row, space: LabelSpace) -> Sample | SampleError:
    try:
        return adapter.read(folder, row, space)
    except SampleError as error:
        return error


def _describe(sizes: Sequence[tuple[int, ...]], pixels: Counter[int], space: LabelSpace) -> str:
    heights, widths = zip(*sizes, strict=True)
    total = sum(pixels.values())
    shares = [f"{_label(label, space)} {100 * n / total:.1f} %" for label, n in pixels.most_common()]
    return (
        f"{min(widths)} x {min(heights)} to {max(widths)} x {max(heights)}, {len(pixels)} labels: {', '.join(shares)}"
    )


def _label(label: int, space: LabelSpace) -> str:
    return space.labels[int(label)] if 0 <= label < len(space.labels) else "ignored"


def spread(items: Sequence[T], n: int | None) -> Sequence[T]:
    """Return `n` of the items, evenly spread from the first to the last; all for None."""
    if n is None or n >= len(items):
        return items
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, n)] if n else []


def _expected(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers)) or "at least 1"
