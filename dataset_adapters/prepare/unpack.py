"""Unpacking of downloaded archives: only plain files and folders, and only below the target."""

from __future__ import annotations

import gzip
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from dataset_adapters.errors import DatasetError

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_MEMBERS = 1_000_000
"""Archives with more files are rejected."""

_RATIO, _ALLOWANCE = 20, 64 << 20
_BLOCK = 1 << 20
_MOST_HEADER = 2**20  # bytes of a tar member's long name or extended header, which tarfile reads as a whole
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, LZMAError, NotImplementedError, RuntimeError,
    ValueError, OverflowError, FileExistsError, NotADirectoryError, IsADirectoryError, gzip.BadGzipFile,
)  # fmt: skip
_DRIVE = re.compile(r"[A-Za-z]:")


_LONG_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


class Member(NamedTuple):
    """One entry of an archive. kind: "file", "folder", or another kind, which is rejected. open: opens a file."""

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, target: Path) -> list[tuple[str, int]]:
    """Unpack a zip or tar archive below `target` and return the name and size in bytes of every file.

    All or nothing: files are moved into place once the last one is written. Raises DatasetError, naming the member, for
    names that lead outside or are not plain relative paths, links, devices, encrypted and damaged data, more than
    MAX_MEMBERS members, and more than 20 times the archive's size plus 64 MiB.
    """
    target.mkdir(parents=True, exist_ok=True)
    sizes: dict[str, int] = {}
    left = _RATIO * archive.stat().st_size + _ALLOWANCE
    with tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as scratch:
        try:
            with closing(_members(archive)) as members:
                for number, member in enumerate(members):
                    name = _safe_name(archive, member)
                    if number >= MAX_MEMBERS:
                        raise DatasetError(f"{archive}: expected at most {MAX_MEMBERS} members, found more")
                    if member.kind == "folder":
                        continue
                    sizes[name], path = 0, Path(scratch, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with member.open() as source, path.open("wb") as stream:  # type: ignore[union-attr]  # a file
                        while block := source.read(_BLOCK):
                            sizes[name] += len(block)  # counted: sizes stated in an archive may be false
                            left -= len(block)
                            if left < 0:
                                bound = f"{_RATIO} times the archive's {archive.stat().st_size} bytes"
                                raise DatasetError(
                                    f"{archive}: {member.name!r}: expected at most {bound} unpacked, found more"
                                )
                            stream.write(block)
        except DatasetError:
            raise
        except _DAMAGE as error:
            raise DatasetError(
                f"{archive}: expected a sound archive, found: {error or type(error).__name__}"
            ) from error
        if not sizes:
            raise DatasetError(f"{archive}: expected files in the archive, found none")
        for name in sizes:
            destination = target / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            Path(scratch, name).replace(destination)
    return list(sizes.items())


def _members(archive: Path) -> Generator[Member, None, None]:
    """The members of a zip or tar archive, which stays open while they are read."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                mode = info.external_attr >> 16  # of the Unix file, 0 if the archive was made elsewhere
                if info.flag_bits & 1:
                    kind = "encrypted file"
                elif stat.S_ISLNK(mode):
                    kind = "link"
                elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    kind = "special file"
                else:
                    kind = "folder" if info.is_dir() else "file"
                yield Member(info.filename, kind, lambda info=info: opened.open(info))  # type: ignore[misc]
        return
    with ExitStack() as stack:
        try:
            opened_tar = stack.enter_context(tarfile.open(archive, tarinfo=_BoundedInfo))
        except tarfile.ReadError:
            with archive.open("rb") as stream:
                found = stream.read(24)
            raise DatasetError(f"{archive}: expected a zip or tar archive, found other data, {found!r} first") from None
        for entry in opened_tar:
            if entry.issym() or entry.islnk():
                kind = "link"
            elif entry.isdir():
                kind = "folder"
            else:
                kind = "file" if entry.isreg() else "special file"
            yield Member(entry.name, kind, lambda entry=entry: opened_tar.extractfile(entry))  # type: ignore[misc]


class _BoundedInfo(tarfile.TarInfo):
    """Raises TarError for a header that says to be followed by more than `_MOST_HEADER` bytes of names or fields."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _LONG_HEADERS and info.size > _MOST_HEADER:
            raise tarfile.TarError(f"an extended header of {info.size} bytes")
        return info


def _safe_name(archive: Path, member: Member) -> str:
    """The normalized path of a member. Raises DatasetError for members that must not be unpacked."""
    if member.kind not in ("file", "folder"):
        raise DatasetError(f"{archive}: {member.name!r}: expected plain files and folders, found: {member.kind}")
    path = PurePosixPath(member.name)
    hostile = path.is_absolute() or ".." in path.parts or _DRIVE.match(member.name) or "\\" in member.name
    if hostile or not member.name.isprintable() or (member.kind == "file" and not path.parts):
        raise DatasetError(f"{archive}: {member.name!r}: expected a path below the folder, found one that is not")
    return str(path)
