"""Downloads that go on where they broke off and are held to a hash: the published one, or that of the first time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataset_adapters.base.sample import DatasetError
from dataset_adapters.prepare.preparation import Download

Report = Callable[[str], None]
"""Takes a line that the user should read."""

_ATTEMPTS = 3
_TIMEOUT = (20, 60)  # seconds to connect, and between two packets
_BLOCK = 1 << 16  # what is lost at most of a transfer that breaks off
_SHA256 = re.compile("[0-9a-f]{64}")


def fetch(download: Download, folder: Path, report: Report) -> Path:
    """Return the archive `folder/<file>`, downloading it if it is not there yet or is not what it should be.

    It is held to the published hash, or else to the one recorded by `record`. Raises DatasetError with what went wrong
    at each address.
    """
    path = folder / download.file
    known_hash = download.hash or _recorded_hash(path)
    if path.exists() and known_hash is None:
        report(f"{download.file}: found in {folder}, no hash is known for it")
        return path
    failures = []
    for url in download.urls:
        failure = _retrieve(url, path, known_hash, report)
        if failure is None:
            return path
        failures.append(" ".join(failure.split()))
    raise DatasetError("; ".join(failures))


def record(download: Download, path: Path, report: Report) -> None:
    """Record the sha256 of an archive that none is published for, once it has proved sound."""
    import pooch

    lock = _lock(path)
    if download.hash is None and not lock.exists():
        digest = pooch.file_hash(str(path), alg="sha256")
        lock.write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        report(f"{path.name}: no hash is published for it; recorded sha256 {digest} in {lock}")


def set_aside(download: Download, path: Path) -> None:
    """Rename an archive that is not sound and that no hash vouches for, so that it is downloaded anew next time."""
    if download.hash is None and not _lock(path).exists():
        path.replace(path.with_name(f"{path.name}.refused"))


def _retrieve(url: str, path: Path, known_hash: str | None, report: Report) -> str | None:
    """Download to `path` unless it is there with this hash; returns what went wrong."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    download = ResumingDownloader(path.with_name(f"{path.name}.part"), report)
    try:
        pooch.retrieve(url, known_hash, fname=path.name, path=path.parent, downloader=download)
    except requests.RequestException as error:
        return f"{url}: {error}" if url not in str(error) else str(error)
    except ValueError as error:  # pooch's word for a wrong hash
        recorded = f" (recorded in {_lock(path)})" if _lock(path).exists() else ""
        return f"{url}: {error}{recorded}"
    return None


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded_hash(path: Path) -> str | None:
    """The recorded hash, if any. Raises DatasetError for a lock file that holds none."""
    lock = _lock(path)
    if not lock.exists():
        return None
    digest = lock.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
    if not _SHA256.fullmatch(digest):
        raise DatasetError(f"{lock}: expected the recorded sha256 of {path.name}, found {digest[:80]!r}")
    return f"sha256:{digest}"


class ResumingDownloader:
    """A downloader for pooch that keeps what came of a broken transfer and asks for the rest.

    part: where it is kept; beside it lies what the server said of the file (`<part>.json`), so that parts of two
    different files are never joined: the rest is only asked for if the server can say that the file is the same.
    """

    def __init__(self, part: Path, report: Report) -> None:
        self._part = part
        self._origin = part.with_name(f"{part.name}.json")
        self._report = report

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Download `url` to `output_file`. Raises requests.RequestException."""
        import requests

        for left in reversed(range(_ATTEMPTS)):
            try:
                self._transfer(url)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                if not left:
                    kept = (
                        f"; {self._size()} bytes are kept, the same command goes on from them" if self._size() else ""
                    )
                    reason = " ".join(str(error).split())
                    raise requests.ConnectionError(f"{url}: the transfer broke off: {reason}{kept}") from error
        self._part.replace(output_file)
        self._origin.unlink(missing_ok=True)

    def _transfer(self, url: str) -> None:
        import requests

        kept, headers = self._size(), {"Accept-Encoding": "identity"}
        validator = self._validator(url)
        if kept and validator:
            headers |= {"Range": f"bytes={kept}-", "If-Range": validator}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self._part.unlink()
                raise requests.ConnectionError(f"{url}: {kept} bytes were kept, more than there are")
            response.raise_for_status()
            goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {kept}-")
            self._write(url, response, kept if response.status_code == requests.codes.partial and goes_on else 0)

    def _write(self, url: str, response: Any, kept: int) -> None:
        from tqdm import tqdm

        if kept:
            self._report(f"{url}: going on after {kept} bytes")
        else:
            self._origin.write_text(json.dumps({"url": url, "validator": _strong_validator(response.headers)}))
        total = kept + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        bar = tqdm(total=total, initial=kept, unit="B", unit_scale=True, desc=url.rpartition("/")[2], disable=None)
        with self._part.open("ab" if kept else "wb") as stream, bar:
            for block in response.iter_content(_BLOCK):
                stream.write(block)
                bar.update(len(block))
        self._require_whole(url, total)

    def _require_whole(self, url: str, total: int | None) -> None:
        import requests

        if total is not None and self._size() != total:
            raise requests.ConnectionError(f"{url}: expected {total} bytes, found {self._size()}")

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _validator(self, url: str) -> str | None:
        """What proves that the server's file is the one that the part is of; None where nothing does."""
        try:
            origin = json.loads(self._origin.read_text())
            validator: str | None = origin["validator"] if origin["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return validator


def _strong_validator(headers: Any) -> str | None:
    tag: str | None = headers.get("ETag")
    modified: str | None = headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else modified
