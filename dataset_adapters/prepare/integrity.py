"""Whether a data set on disk is whole: numbers of files and samples, missing files, and a sample of them decoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from dataset_adapters.base.sample import (
    Adapter,
    AnnotationFileAdapter,
    DatasetError,
    LabelSourceMissingError,
    LabelSpace,
    Row,
    Sample,
    SampleError,
    find_sources,
)
from dataset_adapters.prepare.download import Report
from dataset_adapters.prepare.preparation import FileCount, Preparation, SplitCount
from dataset_adapters.statistics import TargetStatistics, describe, describe_labels
from support.files import expanded

T = TypeVar("T")


class _Asked(NamedTuple):
    n_decoded: int | None
    each_label: bool
    source: str | None


def check(
    preparation: Preparation,
    root: Path,
    report: Report,
    *,
    n_decoded: int | None,
    each_label: bool = False,
    source: str | None = None,
) -> int:
    """Check a data set below `root`, report what is found and each fault in one line; returns the number of faults.

    n_decoded: samples to decode of each split, evenly spread; None for all. each_label: report samples, pixels and mean
    area of each label among them. source: where the labels come from; None for the first source that is there. Raises
    DatasetError if `root` is no folder, and for a source that the data set does not have.
    """
    if not expanded(root).is_dir():
        raise DatasetError(f"{root}: expected a folder, found {'a file' if root.exists() else 'nothing'}")
    for split in preparation.splits:
        find_sources(split.adapter, source)
    start, asked = preparation.start(root), _Asked(n_decoded, each_label, source)
    faults = [fault for count in preparation.counts for fault in _check_files(count, start, report)]
    for split in preparation.splits:
        faults += _check_split(split, expanded(root).absolute(), report, asked)
    for fault in faults:
        report(f"fault: {fault}")
    return len(faults)


def _check_files(count: FileCount, start: Path, report: Report) -> list[str]:
    n_files = len(count.files(start))
    report(f"{count.what}: {n_files} {'file' if n_files == 1 else 'files'} {count.pattern}")
    if count.accepts(n_files):
        return []
    return [f"{count.pattern}: expected {_expected(count.expected)} files, found {n_files}"]


def _check_split(split: SplitCount, root: Path, report: Report, asked: _Asked) -> list[str]:
    where = f"{split.adapter}, split {split.split}"
    try:
        adapter, folder, rows = _first_rows(split, root, asked.source)
    except DatasetError as error:
        reason = f"{where}: {' '.join(str(error).split())}"
        if not split.optional:
            return [reason]
        report(f"{reason}; not every release has it")
        return []
    report(f"{where}: {len(rows)} {split.noun} ({adapter.name})")
    if split.note:
        report(f"{where}: {split.note}")
    faults = []
    if split.expected and len(rows) not in split.expected:
        faults.append(f"{where}: expected {_expected(split.expected)} {split.noun}, found {len(rows)}")
    files = {row[column]: column for row in rows for column in adapter.file_columns}
    absent = {name for name in files if not (folder / name).is_file()}
    faults += [f"{where}: {name}: expected the {files[name]}, found nothing" for name in sorted(absent)]
    whole = [row for row in rows if not any(row[column] in absent for column in adapter.file_columns)]
    return faults + _decode(adapter, folder, spread(whole, asked.n_decoded), where, report, asked.each_label)


def _first_rows(split: SplitCount, root: Path, source: str | None) -> tuple[Adapter, Path, list[Row]]:
    """The first source that is there, its folder and its rows. Raises DatasetError."""
    absent: list[str] = []
    no_root: list[DatasetError] = []
    for adapter in find_sources(split.adapter, source):
        try:
            folder = adapter.find_root(root)
        except DatasetError as error:  # the sources may have layouts of their own
            no_root.append(error)
            continue
        try:
            if isinstance(adapter, AnnotationFileAdapter):
                adapter.annotation_files(folder, split.split)  # tells whether its files are there
            return adapter, folder, adapter.rows(folder, split.split)
        except LabelSourceMissingError as error:
            absent.append(error.expected)
    if not absent:
        raise no_root[0]
    raise DatasetError(f"expected {', or '.join(absent)}, found nothing of the kind")


def _decode(
    adapter: Adapter, folder: Path, rows: Sequence[Row], where: str, report: Report, each_label: bool
) -> list[str]:
    """Decode samples and report their sizes and labels; returns a fault for each that cannot be read."""
    space, faults, statistics = adapter.label_space("dataset"), [], TargetStatistics()
    for row in rows:
        sample = _read(adapter, folder, row, space)
        if isinstance(sample, SampleError):
            faults.append(f"{where}: {sample}")
        else:
            statistics.add(sample)
    if statistics.sizes:
        report(f"{where}: {describe(statistics, space)}")
        for line in describe_labels(statistics, space) if each_label else ():
            report(f"{where}: {line}")
    return faults


def _read(adapter: Adapter, folder: Path, row: Row, space: LabelSpace) -> Sample | SampleError:
    try:
        return adapter.read(folder, row, space)
    except SampleError as error:
        return error


def spread(items: Sequence[T], n: int | None) -> Sequence[T]:
    """Return `n` of the items, evenly spread from the first to the last; all for None."""
    if n is None or n >= len(items):
        return items
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, n)] if n else []


def _expected(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers)) or "at least 1"
