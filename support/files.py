"""Files: opened only if they are regular, replaced as a whole, hashed; home and cache folders."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from support.errors import UserError

MOST_BYTES = 2**30
"""Limit of a file that is read as a whole, unless its reader sets another."""
TEMPORARY = ".tmp"
"""Ending of the name of a file that is being written, or was when its process was killed."""

# Errors of fsync, or of opening a folder, where that is not supported: CIFS, FUSE, Windows.
_NOT_THERE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.EISDIR}


class FileKindError(UserError, OSError):
    """A path that is not a regular file, or one that is too large to read."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def what_is_there(error: OSError) -> str:
    """What was found in place of a readable file, as in "expected a file of ..., found a folder"."""
    if isinstance(error, FileNotFoundError):
        return "nothing"
    found = error.strerror or str(error)
    return found.rpartition("found ")[2] if isinstance(error, FileKindError) else found


def open_regular(path: Path, mode: str = "rb", *, follow: bool = True) -> FileIO:
    """Open a regular file, unbuffered. Anything else is refused at once; `open` would wait for a FIFO's other end.

    mode: of `open`; only "ab" and "ab+" create files. follow: whether the path may be a link.

    Raises:
        FileKindError: it is a link, a folder, a FIFO or a device.
        OSError: there is no such file, or it cannot be opened.
    """

    def opener(name: str, flags: int) -> int:
        # Windows lacks the flags.
        flags |= getattr(os, "O_NONBLOCK", 0) | (0 if follow else getattr(os, "O_NOFOLLOW", 0))
        try:
            descriptor = os.open(name, flags, 0o666)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody reads this FIFO
                raise _not_regular(path, "a FIFO") from None
            if not follow and error.errno in (errno.ELOOP, errno.EMLINK):
                raise _not_regular(path, "a link") from None
            raise
        found = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(found):
            os.close(descriptor)
            raise _not_regular(path, kind_of(found))
        return descriptor

    return open(path, mode, buffering=0, opener=opener)  # type: ignore[return-value]


def read_regular(path: Path, *, follow: bool = True, most: int = MOST_BYTES) -> bytes:
    """The contents of a regular file. Raises as `open_regular`, and FileKindError for more than `most` bytes."""
    with open_regular(path, follow=follow) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > most:
            found = f"expected a file of at most {most / 2**20:g} MiB, found {size / 2**20:.0f} MiB"
            raise FileKindError(errno.EFBIG, found, str(path))
        return stream.readall()


def kind_of(mode: int) -> str:
    """The kind of file according to its mode, as of `os.lstat`."""
    kinds = {"a link": stat.S_ISLNK, "a folder": stat.S_ISDIR, "a FIFO": stat.S_ISFIFO, "a socket": stat.S_ISSOCK}
    return next((kind for kind, test in kinds.items() if test(mode)), "a device")


def _not_regular(path: Path, found: str) -> FileKindError:
    return FileKindError(errno.EINVAL, f"expected a file, found {found}", str(path))


def write_atomically(path: Path, content: str | bytes, *, synced: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds either its old content or all of the new.

    Invalid characters, such as a foreign byte in a file name, are written as their code points. A link is replaced, not
    followed. synced: whether that also holds after a power cut, at the cost of waiting for the disk, if the file system
    supports it.

    Raises:
        OSError: it could not be written; `path` is unchanged and no temporary file is left.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with named_errors(path), open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            if synced:
                _sync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:  # whatever ends this, Ctrl-C included: no temporary file is left
        temporary.unlink(missing_ok=True)
        raise
    if synced:
        with named_errors(path.parent):
            try:
                descriptor = os.open(path.parent, os.O_RDONLY)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    return
                raise
            try:
                _sync(descriptor)
            finally:
                os.close(descriptor)


def write_output(path: Path, content: str | bytes) -> None:
    """`write_atomically` for a path that the user named: a link, FIFO or device, such as /dev/stdout, is written to."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with named_errors(path), path.open("wb") as stream:
            stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
    else:
        write_atomically(path, content)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Add the file's name to an OSError of a write: that of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


def sha256_of(path: Path) -> str:
    """sha256 of a file's contents, 64 hex digits. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """$CAR_CACHE, or ~/.cache/car-eval. Raises UserError for a user without a home."""
    found = expanded(os.environ.get("CAR_CACHE") or "~/.cache/car-eval")
    if str(found).startswith("~"):
        raise UserError(f"$CAR_CACHE: expected a folder, since this user has no home, found {str(found)!r}")
    return found


def resolved(path: Path) -> Path:
    """The absolute path without links; a link to itself stays (`Path.resolve` raises before Python 3.13)."""
    return Path(os.path.realpath(path))


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~user`` as home folders.

    The name of a nonexistent user stays, and is reported as any other missing folder (`Path.expanduser` raises).
    """
    return Path(os.path.expanduser(path))
