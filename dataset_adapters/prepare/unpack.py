"""Unpacking of archives from the internet: plain files and folders below the target, and no others."""

from __future__ import annotations

import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from dataset_adapters.base.sample import DatasetError

MAX_MEMBERS = 1_000_000
"""Archives with more files are refused."""

_RATIO, _ALLOWANCE = 20, 64 << 20
_BLOCK = 1 << 20
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, LZMAError, NotImplementedError, RuntimeError)
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Member:
    """One entry of an archive. kind: "file", "folder", or what else it is. open: gives the bytes of a file."""

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


def _require_archive(path: Path) -> None:
    """Raise DatasetError unless the file is a zip or tar archive."""
    if not (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)):
        with path.open("rb") as stream:
            found = stream.read(24)
        raise DatasetError(f"{path}: expected a zip or tar archive, found other data, {found!r} first")


def unpack(archive: Path, target: Path) -> list[tuple[str, int]]:
    """Unpack a zip or tar archive below `target` and return the name and size in bytes of every file.

    All or nothing: files are moved in once the last one is written. Raises DatasetError, naming the member, for names
    that lead outside or are no plain relative paths, links, devices, encrypted and damaged data, more than MAX_MEMBERS
    members, and more than 20 times the archive's bytes (and 64 MiB).
    """
    _require_archive(archive)
    target.mkdir(parents=True, exist_ok=True)
    limit = _RATIO * archive.stat().st_size + _ALLOWANCE
    with tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as scratch:
        sizes = _write_all(archive, Path(scratch), limit)
        for name in sizes:
            destination = target / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / name).replace(destination)
    return list(sizes.items())


def _write_all(archive: Path, scratch: Path, limit: int) -> dict[str, int]:
    sizes: dict[str, int] = {}
    left = limit
    with _readable(archive) as members:
        for position, member in enumerate(members):
            name = _safe_name(archive, member)
            if position >= MAX_MEMBERS:
                raise DatasetError(f"{archive}: expected at most {MAX_MEMBERS} members, found more")
            if member.kind == "file":
                sizes[name] = _write(archive, member, scratch / name, left)
                left -= sizes[name]
    if not sizes:
        raise DatasetError(f"{archive}: expected files in the archive, found none")
    return sizes


def _safe_name(archive: Path, member: Member) -> str:
    """The member's path, normalized. Raises DatasetError for what must not be unpacked."""
    if member.kind not in ("file", "folder"):
        raise DatasetError(f"{archive}: {member.name!r}: expected plain files and folders, found: {member.kind}")
    path = PurePosixPath(member.name)
    hostile = path.is_absolute() or ".." in path.parts or _DRIVE.match(member.name) or "\\" in member.name
    if hostile or not member.name.isprintable() or (member.kind == "file" and not path.parts):
        raise DatasetError(f"{archive}: {member.name!r}: expected a path below the folder, found one that is not")
    return str(path)


def _write(archive: Path, member: Member, path: Path, limit: int) -> int:
    """Write one member and return its size; the archive's own word on sizes is not taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with member.open() as source, path.open("wb") as stream:  # type: ignore[union-attr]  # files have contents
        while block := source.read(_BLOCK):
            size += len(block)
            if size > limit:
                bound = f"{_RATIO} times the archive's {archive.stat().st_size} bytes"
                raise DatasetError(f"{archive}: {member.name!r}: expected at most {bound} unpacked, found more")
            stream.write(block)
    return size


@contextmanager
def _readable(archive: Path) -> Iterator[Iterator[Member]]:
    """The archive's members; damage in it is raised as DatasetError."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _zip_members(opened)
        else:
            with tarfile.open(archive) as opened_tar:
                yield _tar_members(opened_tar)
    except _DAMAGE as error:
        raise DatasetError(f"{archive}: expected a sound archive, found: {error or type(error).__name__}") from error


def _zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        yield Member(info.filename, _zip_kind(info), lambda info=info: opened.open(info))  # type: ignore[misc]


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted file"
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "special file"
    return "folder" if info.is_dir() else "file"


def _tar_members(opened: tarfile.TarFile) -> Iterator[Member]:
    for info in opened:
        yield Member(info.name, _tar_kind(info), lambda info=info: opened.extractfile(info))  # type: ignore[misc]


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    if info.isdir():
        return "folder"
    return "file" if info.isreg() else "special file"
