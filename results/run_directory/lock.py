"""One writer per folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import errno
import io
import os
import socket
from pathlib import Path
from typing import Any, TextIO

from results.run_directory.schema import utc_now
from support import strict_json
from support.files import open_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
_HELD_ELSEWHERE = (errno.EACCES, errno.EAGAIN)
_held: set[str] = set()  # the locks belong to the process: a second one here would succeed, and release the first


class LockedError(Exception):
    """Another writer holds the lock; the message names its process and host."""


class FolderLock:
    """The lock of one folder, on its file `LOCK_FILE`, which stays there and names the last holder.

    The system releases it with its process, so nothing is left to clean up after a kill. Without effect where the file
    system or the platform has no such locks; `filelock` refuses to work on some of these, so it is not used here.
    identity: of the run that the folder holds, as its last writer noted it; empty if none did.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._stream: TextIO | None = None
        self.identity = ""

    def acquire(self) -> None:
        """Take the lock; does nothing if this object holds it already.

        Raises:
            LockedError: another writer has it.
            OSError: the file cannot be written, or is a link or no file at all.
        """
        if self._stream:
            return
        if self._key in _held:
            raise LockedError(f"{self._path.parent} is in use by another run of this process")
        stream = io.TextIOWrapper(open_regular(self._path, "ab+", follow=False), encoding="utf-8", write_through=True)
        try:
            try:
                if fcntl:
                    fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _HELD_ELSEWHERE:
                    note, holder = _note(stream), "another process"  # which has not written its note yet
                    if note.keys() >= {"pid", "host", "since"}:
                        holder = "process {pid} on host {host} since {since}".format(**note)
                    raise LockedError(f"{self._path.parent} is in use by {holder}") from None
            self.identity = str(_note(stream).get("identity", ""))
            self._write_note(stream)
        except BaseException:  # whatever ends this, Ctrl-C included: the lock must not outlive the failure
            stream.close()
            raise
        self._stream = stream
        _held.add(self._key)

    def note_identity(self, identity: str) -> None:
        """Note the identity of the run that the folder holds now; the lock must be held."""
        assert self._stream
        self.identity = identity
        self._write_note(self._stream)

    def _write_note(self, stream: TextIO) -> None:
        note = {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now(), "identity": self.identity}
        stream.truncate(0)
        stream.write(strict_json.dumps(note))

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._stream:
            self._stream.close()
            self._stream = None
            _held.discard(self._key)

    @property
    def _key(self) -> str:
        return os.path.realpath(self._path)


def _note(stream: TextIO) -> dict[str, Any]:
    """What the last holder wrote; empty if it cannot be read."""
    stream.seek(0)
    try:
        found = strict_json.loads(stream.read(4096))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
