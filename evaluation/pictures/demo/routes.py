"""Allow-list of the HTTP routes that the demo's page needs, plus security headers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class PageOnly:
    """Answers 404 to all but the page's own routes, and adds the security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _ALLOWED.fullmatch(scope["path"]):
            await self._app(scope, receive, send_with_headers)
        else:
            await PlainTextResponse("not found", status_code=404)(scope, receive, send)


def middleware(hosts: Sequence[str]) -> list[Middleware]:
    """The server's middleware. hosts: accepted Host headers, which prevents DNS rebinding."""
    return [Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)), Middleware(PageOnly)]
