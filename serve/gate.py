"""ASGI middleware before the application: whom a request comes from, and how much of it is taken.

Host name, web site and key are checked before a byte of the body is read. A body is then read
whole, within limits of size and time, so that no slow client keeps a thread.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scenesearch.home.prometheus import HTTP_REQUESTS, HTTP_SECONDS
from serve.keys import LOCAL, Caller, Keys
from serve.problems import Refused, come_back, response_of

# Where the application finds who asks.
CALLER = "scenesearch.caller"

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Answered to everybody, always: they say nothing but whether the server works.
_OPEN = ("/healthz", "/readyz", "/openapi.json")

# What a page of another web site can send without asking the browser's permission first.
_SENT_BY_PAGES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")

# So many bodies above this size are in memory at a time.
_LARGE_BYTES = 2**20
_MOST_LARGE = 4

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Limits:
    """How much a client may ask for."""

    body_bytes: int
    body_s: float
    requests: int


class Gate:
    """Passes on the requests that may be answered; `origins` are web sites whose pages may ask."""

    def __init__(self, app: ASGIApp, *, keys: Keys, origins: Iterable[str], limits: Limits) -> None:
        self._app = app
        self._keys = keys
        self._origins = frozenset(origins)
        self._limits = limits
        self._running = 0
        self._large = _Places(_MOST_LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                headers["Cross-Origin-Resource-Policy"] = (
                    "cross-origin" if self._origins else "same-origin"
                )
            await send(message)

        try:
            await self._http(scope, receive, send_counted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            HTTP_REQUESTS.labels(route, str(status)).inc()
            HTTP_SECONDS.labels(route).observe(time.perf_counter() - started)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            if scope["path"] not in _OPEN:
                self._check_origin(scope, headers)
                scope[CALLER] = self._caller(headers)
                if self._running >= self._limits.requests:
                    raise come_back(
                        HTTPStatus.TOO_MANY_REQUESTS, "the server is busy; try again in a moment"
                    )
        except Refused as refused:
            await response_of(refused)(scope, receive, send)
            return
        self._running += 1
        body = _Body(self._limits, self._large, headers)
        try:
            if scope["method"] in _CHANGING:
                await body.read(receive)
                receive = body.replayed(receive)
            await self._app(scope, receive, send)
        except Refused as refused:
            await response_of(refused)(scope, receive, send)
        finally:
            self._running -= 1
            body.forget()

    def _check_host(self, headers: Headers) -> None:
        """Without keys only names of this machine are answered: a name that an attacker's DNS
        points here would let a web page read everything."""
        if not self._keys and _host_name(headers.get("host", "")) not in LOOPBACK:
            raise Refused(
                HTTPStatus.FORBIDDEN, "without SCENESEARCH_API_KEYS only localhost is answered"
            )

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """A page of another site must not make a visitor's browser change something here."""
        if scope["method"] not in _CHANGING:
            return
        origin = headers.get("origin")
        own = f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
        if origin is not None and origin != own and origin not in self._origins:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "pages of other web sites may not ask (SCENESEARCH_API_ORIGINS)",
            )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in _SENT_BY_PAGES:
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "send JSON with Content-Type: application/json, or a picture with its own type",
            )

    def _caller(self, headers: Headers) -> Caller:
        if not self._keys:
            return LOCAL
        kind, _, key = headers.get("authorization", "").partition(" ")
        caller = self._keys.caller(key.strip()) if kind.lower() == "bearer" else None
        if caller is None:
            raise Refused(
                HTTPStatus.UNAUTHORIZED,
                "a valid key is needed: Authorization: Bearer KEY",
                {"WWW-Authenticate": 'Bearer realm="scenesearch"'},
            )
        return caller


class _Places:
    """So many may be in at a time."""

    def __init__(self, most: int) -> None:
        self.free = most


class _Body:
    """The body of one request, read whole. A large one takes one of few places."""

    def __init__(self, limits: Limits, places: _Places, headers: Headers) -> None:
        self._limits = limits
        self._places = places
        self._declared = headers.get("content-length", "")
        self._data = bytearray()
        self._is_large = False

    async def read(self, receive: Receive) -> None:
        if self._declared.isdigit():
            self._check(int(self._declared))
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":  # the client has gone
                        raise Refused(HTTPStatus.BAD_REQUEST, "the request has ended too early")
                    self._data += message.get("body", b"")
                    self._check(len(self._data))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the request did not arrive within {self._limits.body_s:g} s",
            ) from None

    def _check(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the request is larger than {self._limits.body_bytes / 1e6:g} MB",
                {"Connection": "close"},
            )
        if size > _LARGE_BYTES and not self._is_large:
            if not self._places.free:
                raise come_back(
                    HTTPStatus.TOO_MANY_REQUESTS,
                    f"{_MOST_LARGE} large requests are being read; try again in a moment",
                )
            self._places.free -= 1
            self._is_large = True

    def replayed(self, receive: Receive) -> Receive:
        data: bytes | None = bytes(self._data)
        self._data.clear()

        async def again() -> Message:
            nonlocal data
            if data is None:
                return await receive()
            body, data = data, None
            return {"type": "http.request", "body": body, "more_body": False}

        return again

    def forget(self) -> None:
        if self._is_large:
            self._places.free += 1


def _host_name(host: str) -> str:
    """'localhost' of 'localhost:8600', '::1' of '[::1]:8600'; '' for what is no host."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
    else:
        name, colon, port = host.partition(":")
        port = colon + port
    if port and not (port[0] == ":" and port[1:].isdigit()):
        return ""
    return name.lower()
