"""Downloads that resume after interruptions and are checked against a hash: published, or recorded the first time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_adapters.errors import DatasetError
from dataset_adapters.prepare.preparation import Download
from support.console import quiet_log
from support.files import sha256_of

Report = Callable[[str], None]
"""Receives one line for the user."""

_ATTEMPTS = 3
_TIMEOUT = (20, 60)  # seconds to connect, and between two packets
_BLOCK = 1 << 16  # bytes that an interrupted transfer loses at most
_UNKNOWN_MEGABYTES = 2000  # at most, of an archive whose size no source says
_SHA256 = re.compile("[0-9a-f]{64}")


@contextmanager
def fetched(download: Download, folder: Path, report: Report) -> Iterator[Path]:
    """The archive `folder/<file>`, downloaded if it is missing or does not have the known hash.

    The known hash is the published one, or else that of the first archive that was unpacked inside without errors;
    another is renamed, so that it is downloaded again next time. Raises DatasetError with the failure at each address.
    """
    path = folder / download.file
    lock, known_hash = path.with_name(f"{path.name}.sha256"), download.hash
    if known_hash is None and lock.exists():
        digest = lock.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
        if not _SHA256.fullmatch(digest):
            raise DatasetError(f"{lock}: expected the recorded sha256 of {path.name}, found {digest[:80]!r}")
        known_hash = f"sha256:{digest}"
    if known_hash is None and path.exists():
        report(f"{download.file}: found in {folder}, no hash is known for it")
    else:
        _retrieve(download, path, known_hash, report)
    try:
        yield path
    except DatasetError:
        if known_hash is None:
            path.replace(path.with_name(f"{path.name}.refused"))
        raise
    if known_hash is None:
        digest = sha256_of(path)
        lock.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        report(f"{path.name}: no hash is published for it; recorded sha256 {digest} in {lock}")


def _retrieve(download: Download, path: Path, known_hash: str | None, report: Report) -> None:
    import pooch
    import requests

    failures = []
    for url in download.urls:
        # Half as much again as the archive's known size, which may grow with a new version.
        most = (download.megabytes or _UNKNOWN_MEGABYTES) * 3 * 10**6 // 2 + 2**24
        downloader = ResumingDownloader(path.with_name(f"{path.name}.part"), report, most)
        try:
            with quiet_log("pooch"):
                pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=downloader)
            return
        except requests.RequestException as error:
            failure = str(error) if url in str(error) else f"{url}: {error}"
        except ValueError as error:  # raised by pooch for a wrong hash
            failure = f"{url}: {error}" + ("" if download.hash else f" (recorded in {path}.sha256)")
        failures.append(" ".join(failure.split()))
    raise DatasetError("; ".join(failures))


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch that keeps the part received by an interrupted transfer and requests the rest.

    part: the file for it. `<part>.json` holds the server's validator (ETag or modification time) of the file: the rest
    is requested only on condition that the file has not changed, so that parts of different files are never joined.
    most: bytes; what is longer is refused and deleted, as a stream may have no end.
    """

    part: Path
    report: Report
    most: int

    @property
    def _origin(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` to `output_file`. Raises requests.RequestException."""
        import requests

        for left in reversed(range(_ATTEMPTS)):
            try:
                self._transfer(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if left:
                    continue
                reason, size = " ".join(str(error).split()), self._size()
                kept = f"; {size} bytes are kept, the same command resumes from them" if size else ""
                raise requests.ConnectionError(f"{url}: the transfer was interrupted: {reason}{kept}") from error
        self.part.replace(output_file)
        self._origin.unlink(missing_ok=True)

    def _transfer(self, url: str) -> None:
        import requests
        from tqdm import tqdm

        try:
            origin = json.loads(self._origin.read_text())
            validator = origin["validator"] if origin["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            validator = None
        kept, headers = self._size(), {"Accept-Encoding": "identity"}
        if kept and validator:
            headers |= {"Range": f"bytes={kept}-", "If-Range": validator}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()
                raise requests.ConnectionError(f"{url}: {kept} bytes were kept, more than the file has")
            response.raise_for_status()
            found = response.headers
            is_rest = found.get("Content-Range", "").startswith(f"bytes {kept}-")
            if is_rest and response.status_code == requests.codes.partial and kept:
                self.report(f"{url}: resuming after {kept} bytes")
            else:
                kept = 0
                tag = found.get("ETag")
                # A weak tag may stand for files that differ in their bytes.
                validator = tag if tag and not tag.startswith("W/") else found.get("Last-Modified")
                self._origin.write_text(json.dumps({"url": url, "validator": validator}))
            encoding = found.get("Content-Encoding", "identity")
            if encoding != "identity":  # not asked for: little data could become much
                raise requests.exceptions.ContentDecodingError(f"{url}: expected no Content-Encoding, found {encoding}")
            total = kept + int(found["Content-Length"]) if "Content-Length" in found else None
            self._require_bounded(url, total or 0)
            bar = tqdm(total=total, initial=kept, unit="B", unit_scale=True, desc=url.rpartition("/")[2], disable=None)
            with self.part.open("ab" if kept else "wb") as stream, bar:
                for block in response.iter_content(_BLOCK):
                    kept += len(block)
                    self._require_bounded(url, kept)
                    stream.write(block)
                    bar.update(len(block))
        if total is not None and self._size() != total:
            raise requests.ConnectionError(f"{url}: expected {total} bytes, found {self._size()}")

    def _require_bounded(self, url: str, size: int) -> None:
        import requests

        if size > self.most:
            self.part.unlink(missing_ok=True)
            raise requests.exceptions.InvalidHeader(f"{url}: expected at most {self.most} bytes, found more")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0
