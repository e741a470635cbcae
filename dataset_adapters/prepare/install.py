"""From archives on the internet to the official layout on disk."""

from __future__ import annotations

from pathlib import Path

from dataset_adapters.errors import DatasetError
from dataset_adapters.prepare.download import Report, fetched
from dataset_adapters.prepare.preparation import Download, Preparation
from dataset_adapters.prepare.unpack import unpack

DOWNLOADS = "downloads"
"""The folder below the data root for archives, their recorded hashes and lists of unpacked files."""


def prepare(preparation: Preparation, root: Path, report: Report) -> Path:
    """Download, verify and unpack a data set below `root`; returns the folder that its layout starts in.

    Existing data are not touched: files in the expected numbers, or the files of an archive unpacked before, by size.
    Archives stay in `downloads` and may be deleted afterwards. Raises DatasetError for failed downloads and archives
    that must not be unpacked, or listing the files that must be downloaded manually.
    """
    start = preparation.start(root)
    try:
        (start / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"data_root: {start}: expected a folder that can be written, found: {error.strerror}"
        ) from None
    for download in preparation.downloads:
        _install(download, start, report)
    for name, original in preparation.copies.items():
        if (start / original).is_file() and not (start / name).exists():
            (start / name).parent.mkdir(parents=True, exist_ok=True)
            (start / name).write_bytes((start / original).read_bytes())
    instructions = []
    for step in preparation.manual:
        absent = ", ".join(count.pattern for count in step.provides if not count.is_met(start))
        if absent:
            instructions.append(
                f"{preparation.name}: {step.text} (page: {step.page}); expected {absent} in {start}, found nothing"
                " complete."
            )
    if instructions:
        raise DatasetError(" ".join(instructions))
    return start


def _install(download: Download, start: Path, report: Report) -> None:
    manifest = start / DOWNLOADS / f"{download.file}.unpacked"
    if manifest.exists():
        entries = [line.partition("\t") for line in manifest.read_text(encoding="utf-8").splitlines()]
        paths = [(start / name, size) for size, _, name in entries]
        if all(path.is_file() and str(path.stat().st_size) == size for path, size in paths):
            report(f"{download.file}: unpacked before, nothing to do")
            return
    elif all(count.is_met(start) for count in download.provides):
        report(f"{download.file}: its files are there already, nothing to do")
        return
    with fetched(download, start / DOWNLOADS, report) as archive:
        written = unpack(archive, start / download.into)
    lines = [f"{size}\t{Path(download.into, name).as_posix()}\n" for name, size in written]
    manifest.write_text("".join(lines), encoding="utf-8")
    report(f"{download.file}: {len(written)} files unpacked in {start / download.into}")
