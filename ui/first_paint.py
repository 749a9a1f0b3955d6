"""The page's style sheet in the first answer that a browser gets.

Streamlit sends elements over the websocket, a style sheet among them: until it comes, the page
stands in Streamlit's own style and then jumps (layout shift 0.4 at 1440 pixels, 0.6 at 360).
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.style import STYLE

# Of the file without the style sheet.
_OF_THE_FILE = ("etag", "last-modified", "accept-ranges")
_FOR_THE_FILE = {b"if-none-match", b"if-modified-since", b"range", b"accept-encoding"}
_END = b"</body>"


class StyledPage:
    """ASGI middleware that adds the style sheet to the documents of an application. It stands at
    the end of the body: Streamlit's own rules are added to the head, and ours come after them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or "text/html" not in Headers(scope=scope).get("accept", "")
        ):
            await self._app(scope, receive, send)
            return
        kept = [header for header in scope["headers"] if header[0].lower() not in _FOR_THE_FILE]
        start: Message = {}
        parts: list[bytes] = []

        async def send_styled(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if not _is_document(start):
                    await send(start)
            elif not _is_document(start):
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    await _send_document(start, b"".join(parts), send)

        await self._app({**scope, "headers": kept}, receive, send_styled)


def _is_document(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/html")


async def _send_document(start: Message, body: bytes, send: Send) -> None:
    before, end, after = body.rpartition(_END)
    styled = before + STYLE.encode() + end + after if end else body
    headers = MutableHeaders(raw=list(start["headers"]))
    for name in _OF_THE_FILE:
        if name in headers:
            del headers[name]
    headers["content-length"] = str(len(styled))
    await send({**start, "headers": headers.raw})
    await send({"type": "http.response.body", "body": styled})
