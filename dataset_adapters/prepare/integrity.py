"""Whether a data set on disk is complete: numbers of files and samples, missing files, some samples decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset_adapters.base.adapter import Adapter, Row, Rows, configured, find_adapter, find_sources, first_present
from dataset_adapters.base.index import rows_of
from dataset_adapters.base.layout import require_folder
from dataset_adapters.errors import DatasetError, SampleError, without_option
from dataset_adapters.prepare.download import Report
from dataset_adapters.prepare.preparation import Preparation, SplitCount
from dataset_adapters.statistics import TargetStatistics, describe, describe_labels
from dataset_adapters.user_data.masks import UserDataAdapter
from dataset_adapters.user_data.proof import prove_rows, spread
from support.files import expanded


def check(
    preparation: Preparation,
    root: Path,
    report: Report,
    *,
    n_decoded: int | None,
    each_label: bool = False,
    source: str | None = None,
) -> int:
    """Check a data set below `root`, report findings and faults one per line, and return the number of faults.

    n_decoded: samples to decode per split, evenly spread; None for all. each_label: report samples, pixels and mean
    area of each label in them. source: where the labels come from; None for the first source that exists.
    Raises DatasetError if `root` is not a folder, and for a source that the data set does not have.
    """
    require_folder(expanded(root))
    adapters = {split: find_sources(split.adapter, source) for split in preparation.splits}
    start, faults = preparation.start(root), []
    for count in preparation.counts:
        n_files = len(count.files(start))
        report(f"{count.what}: {n_files} {'file' if n_files == 1 else 'files'} {count.pattern}")
        if not count.accepts(n_files):
            faults.append(f"{count.pattern}: expected {_expected(count.expected)} files, found {n_files}")
    for split in preparation.splits:
        faults += _check_split(split, adapters[split], expanded(root).absolute(), report, n_decoded, each_label)
    for fault in faults:
        report(f"fault: {fault}")
    return len(faults)


def check_user_data(
    name: str,
    places: Mapping[str, str],
    report: Report,
    *,
    n_decoded: int | None,
    split: str | None = None,
    each_label: bool = False,
) -> int:
    """Check user-supplied data as `check` does, and their list of classes against the masks.

    name, places: as in `dataset_adapters.load`. split: None for all. Raises DatasetError for a bad option, a
    missing folder and a list of classes that cannot be read.
    """
    adapter = configured(find_adapter(name), places)
    adapter.find_root(Path())
    adapter.label_space("released")  # reads the list of classes
    wanted = SplitCount(name, adapter.default_split if split is None else split)
    faults = _check_split(wanted, [adapter], Path(), report, n_decoded, each_label)
    for fault in faults:
        report(f"fault: {fault}")
    return len(faults)


def _check_split(
    split: SplitCount, adapters: Sequence[Adapter], root: Path, report: Report, n_decoded: int | None, each_label: bool
) -> list[str]:
    """Count, find and decode the samples of a split and report them; returns the faults."""
    where = f"{split.adapter}, split {split.split}"

    def read_rows(adapter: Adapter, folder: Path) -> tuple[list[Row], Rows]:
        adapter.annotation_files(folder, split.split)  # raises if they are missing
        rows = rows_of(adapter, folder, split.split)
        return list(rows), rows

    try:
        adapter, folder, (rows, read) = first_present(adapters, root, read_rows)
    except DatasetError as error:
        reason = f"{where}: {without_option(error)}"
        if not split.optional:
            return [reason]
        report(f"{reason}; not every release has it")
        return []
    report(f"{where}: {len(rows)} {split.noun} ({adapter.name})")
    for notice in filter(None, (*read.notices, split.note)):
        report(f"{where}: {notice}")
    faults = []
    if split.expected and len(rows) not in split.expected:
        faults.append(f"{where}: expected {_expected(split.expected)} {split.noun}, found {len(rows)}")
    files = {row[column]: column for row in rows for column in adapter.file_columns}
    absent = {name for name in files if not (folder / name).is_file()}
    faults += [f"{where}: {name}: expected the {files[name]}, found nothing" for name in sorted(absent)]
    complete = [row for row in rows if not any(row[column] in absent for column in adapter.file_columns)]
    if complete and isinstance(adapter, UserDataAdapter):
        try:
            for line in prove_rows(adapter, folder, complete):
                report(f"{where}: {line}")
        except DatasetError as error:
            faults.append(f"{where}: {error}")
    space, statistics = adapter.label_space("dataset"), TargetStatistics()
    for row in spread(complete, n_decoded):
        try:
            sample = adapter.read(folder, row, space)
        except SampleError as error:
            faults.append(f"{where}: {error}")
            continue
        statistics.add(sample)
    if statistics.sizes:
        report(f"{where}: {describe(statistics, space)}")
        for line in describe_labels(statistics, space) if each_label else ():
            report(f"{where}: {line}")
    return faults


def _expected(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers)) or "at least 1"
