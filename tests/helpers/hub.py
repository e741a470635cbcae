"""A hub of models on this machine, for the hub's own client."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, file_download


@dataclass
class Hub:
    """files: contents by "organization/repository/name". refusal: status of every answer, if not 0; requests: names."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    refusal: int = 0
    requests: list[str] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        name = self.path.lstrip("/").replace("/resolve/main", "")
        hub.requests.append(name)
        content = hub.files.get(name)
        if hub.refusal or content is None:
            self.send_response(hub.refusal or 404)
            self.send_header("X-Error-Code", "GatedRepo" if hub.refusal else "EntryNotFound")
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        body = b"" if hub.refusal else content or b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (of http.server)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def closed() -> str:
    """An address of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def use_hub(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the hub's client asks this address, and keeps files in this folder."""
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    values = {"ENDPOINT": address, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_CACHE": str(cache)}
    for name, value in {"HF_HUB_OFFLINE": False, **values}.items():
        monkeypatch.setattr(constants, name, value)
        if hasattr(file_download, name):  # older clients have copies there
            monkeypatch.setattr(file_download, name, value)


@contextmanager
def serve_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client uses."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    use_hub(hub.address, cache, monkeypatch)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
