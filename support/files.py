"""Files: replaced as a whole, hashed, found below home and cache folders."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp"
"""How the name of a file ends that is still being written, or was by a killed process."""


def write_atomically(path: Path, content: str | bytes, *, synced: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds either its old content or all of the new.

    What is no character, such as a foreign byte in a file name, is written as its code point.
    synced: that also after a power cut, at the price of waiting for the disk.

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
                os.fsync(stream.fileno())
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
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """sha256 of a file's contents, 64 hex digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """$CAR_CACHE, or ~/.cache/car-eval."""
    return Path(os.environ.get("CAR_CACHE") or Path.home() / ".cache" / "car-eval")


def expanded(path: str | Path) -> Path:
    """The path with ``~`` and ``~user`` as home folders.

    A user that there is not stays in it, to be found missing as any other folder (`Path.expanduser` raises).
    """
    return Path(os.path.expanduser(path))
