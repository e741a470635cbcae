"""From archives on the internet to the official layout on disk."""

from __future__ import annotations

from pathlib import Path

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.prepare.download import Report, fetch, record, set_aside
from dataset_adapters.prepare.preparation import Download, FileCount, ManualStep, Preparation
from dataset_adapters.prepare.unpack import unpack

DOWNLOADS = "downloads"
"""The folder below the data root that archives, their recorded hashes and lists of unpacked files are kept in."""


def prepare(preparation: Preparation, root: Path, report: Report) -> Path:
    """Download, verify, unpack and convert a data set below `root`; returns the folder that its layout starts in.

    What is there is left alone: files of the expected numbers, or the files of an archive unpacked before, by size.
    Archives stay in `downloads` and may be deleted afterwards. Raises DatasetError for downloads that fail, archives
    that must not be unpacked, and, last, for what has to be fetched by hand.
    """
    start = preparation.start(root)
    (start / DOWNLOADS).mkdir(parents=True, exist_ok=True)
    for download in preparation.downloads:
        _install(download, start, report)
    preparation.convert(start)
    missing = [step for step in preparation.manual if not are_there(step.provides, start)]
    if missing:
        raise DatasetError(" ".join(_instruction(preparation, step, start) for step in missing))
    return start


def are_there(counts: tuple[FileCount, ...], start: Path) -> bool:
    """Whether all these files are there, in the right numbers."""
    return all(count.accepts(len(count.files(start))) for count in counts)


def _install(download: Download, start: Path, report: Report) -> None:
    manifest = start / DOWNLOADS / f"{download.file}.unpacked"
    if manifest.exists():
        if _is_unpacked(manifest, start):
            report(f"{download.file}: unpacked before, nothing to do")
            return
    elif are_there(download.provides, start):
        report(f"{download.file}: its files are there already, nothing to do")
        return
    archive = fetch(download, start / DOWNLOADS, report)
    try:
        written = unpack(archive, start / download.into)
    except DatasetError:
        set_aside(download, archive)
        raise
    record(download, archive, report)
    lines = [f"{size}\t{Path(download.into, name).as_posix()}\n" for name, size in written]
    manifest.write_text("".join(lines), encoding="utf-8")
    report(f"{download.file}: {len(written)} files unpacked in {start / download.into}")


def _is_unpacked(manifest: Path, start: Path) -> bool:
    """Whether every file of the list is there with its size."""
    entries = [line.partition("\t") for line in manifest.read_text(encoding="utf-8").splitlines()]
    return all(_has_size(start / name, size) for size, _, name in entries)


def _has_size(path: Path, size: str) -> bool:
    return path.is_file() and str(path.stat().st_size) == size


def _instruction(preparation: Preparation, step: ManualStep, start: Path) -> str:
    absent = ", ".join(count.pattern for count in step.provides if not count.accepts(len(count.files(start))))
    return f"{preparation.name}: {step.text} (page: {step.page}); expected {absent} in {start}, found nothing complete."
