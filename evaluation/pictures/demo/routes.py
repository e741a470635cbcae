"""Allow-list of the demo's server: its page's routes, from its own pages, in bounded size; plus security headers."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from results.run_directory.found import bytes_in

# Gradio serves more: proxies, monitoring, an editor of the app's code, programming interfaces.
_ALLOWED = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?|/(assets|static|svelte)/.*"
    r"|/gradio_api/(theme\.css|startup-events|upload|upload_progress|queue/(join|data)|run/predict|heartbeat/\w+|cancel|reset|info)/?"
    r"|/gradio_api/file=(?![a-z+]+:).*",
    re.IGNORECASE,
)

_HEADERS = {
    # The browser may load only this server's files, and pictures inside the page.
    b"content-security-policy": b"default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    b"script-src 'self' 'unsafe-inline' 'unsafe-eval'; font-src 'self' data:; connect-src 'self'; worker-src 'self' "
    b"blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


_UPLOAD = "/gradio_api/upload"
_OVERHEAD = 2**16  # bytes of an upload's form, and the most of any other body


class PageOnly:
    """Refuses what the page itself does not ask for, and adds the security headers.

    hosts: accepted Host headers, which prevents DNS rebinding; None for any. uploads: the folder of uploads.
    upload_bytes, total_bytes: the most of one upload and of the folder.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str] | None, uploads: Path, upload_bytes: int, total_bytes: int
    ) -> None:
        self._app, self._hosts, self._uploads = app, hosts, uploads
        self._upload_bytes, self._total_bytes = upload_bytes, total_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""
        is_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
            await send(message)

        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, reason = self._refusal(scope)
        if not status:
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception:  # a visitor's request must not write to the operator's terminal
                if is_started:
                    return
                status, reason = 500, "error"
            else:
                return
        await PlainTextResponse(reason, status_code=status)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        """Status and reason for which a request is refused; 0 where it is not."""
        headers, path = Headers(scope=scope), scope["path"]
        host = _host_name(f"//{headers.get('host', '')}")
        if self._hosts is not None and host not in self._hosts:
            return 400, "invalid host"
        if not _ALLOWED.fullmatch(path):
            return 404, "not found"
        if scope["method"] in ("GET", "HEAD"):
            return 0, ""
        # A page of another site may send forms here, but neither read answers nor hide where it is from.
        origin = headers.get("origin")
        if headers.get("sec-fetch-site") == "cross-site" or (origin is not None and _host_name(origin) != host):
            return 403, "expected a request of this server's own page"
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return 411, "expected a Content-Length"
        is_upload = path.rstrip("/") == _UPLOAD
        if int(length) > (self._upload_bytes if is_upload else 0) + _OVERHEAD:
            return 413, "too large"
        if is_upload and int(length) + bytes_in(self._uploads) > self._total_bytes:
            return 507, "the uploads of this server take all of their room; try again in an hour"
        return 0, ""


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
