"""A small server on 127.0.0.1 that can break off, change its files and answer wrongly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Loopback:
    """files: contents by name. cuts: bytes of each coming answer after which the server hangs up.

    validators: whether answers carry an ETag, without which a part cannot be resumed. requests: (name, Range) of each.
    headers: more of each answer. endless: whether contents are repeated until nobody listens, their length unsaid.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    validators: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        state: Loopback = self.server.state  # type: ignore[attr-defined]
        name, wanted = self.path.lstrip("/"), self.headers.get("Range")
        state.requests.append((name, wanted))
        content = state.files.get(name)
        if content is None:
            self.send_error(404)
            return
        tag = f'"{hash(content)}"'
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.headers.get("If-Range") == tag else 0
        self.send_response(206 if first else 200)
        for header, value in state.headers.items():
            self.send_header(header, value)
        if state.endless:
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(content)
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if state.validators:
            self.send_header("ETag", tag)
        self.end_headers()
        cut = state.cuts.pop(0) if state.cuts else len(content)
        self.wfile.write(content[first : first + cut])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[Loopback]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    state = Loopback(f"http://127.0.0.1:{server.server_address[1]}")
    server.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
