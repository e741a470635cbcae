"""Files: replaced as a whole, hashed, found below home and cache folders."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.errors import UserError

TEMPORARY = ".tmp"
"""How the name of a file ends that is still being written, or was by a killed process."""

# What fsync, or open of a folder, gives where there is no such thing: CIFS, FUSE, Windows.
_NOT_THERE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.EISDIR}


def write_atomically(path: Path, content: str | bytes, *, synced: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds either its old content or all of the new.

    synced: that also after a power cut, at the price of waiting for the disk, where the file system can promise it.

    Raises:
        OSError: it could not be written; `path` is unchanged and no temporary file is left.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with named_errors(path), open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            if synced:
                _sync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:  # whatever ends this, Ctrl-C included: no temporary file stays behind
        temporary.unlink(missing_ok=True)
        raise
    if synced:
        _sync_folder(path.parent)


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Give an OSError of a write the file's name: that of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _sync_folder(path: Path) -> None:
    with named_errors(path):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return
            raise
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


def sha256_of(path: Path) -> str:
    """sha256 of a file's contents, 64 hex digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """$CAR_CACHE, or ~/.cache/car-eval. Raises UserError for a user without a home."""
    found = expanded(os.environ.get("CAR_CACHE") or "~/.cache/car-eval")
    if str(found).startswith("~"):
        raise UserError(f"$CAR_CACHE: expected a folder, since this user has no home, found {str(found)!r}")
    return found


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~user`` as home folders.

    A user that there is not stays in it, to be found missing as any other folder (`Path.expanduser` raises).
    """
    return Path(os.path.expanduser(path))
