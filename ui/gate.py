"""What every request passes before Streamlit sees it: the host it names, then the login; and the
headers that every response carries.

Streamlit's own endpoints (uploads, media, metrics, components, the websocket) ask nobody who they
are. Before a login only the health check is answered, and the form that asks for the password.
"""

import asyncio
import html
import json
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks, get_origin_from_redirect_uri
from streamlit.errors import StreamlitAuthError
from streamlit.runtime.secrets import secrets_singleton
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from scenesearch.home.settings import Settings
from ui.access import Sessions, password_fits
from ui.access import sessions as sessions_of
from ui.guesses import Guesses

LONGEST_PASSWORD = 1024
_MOST_FORM_BYTES = 8192
_FORM_WITHIN_S = 10.0
# scrypt takes 16 MB and 50 ms of a core each time.
_CHECKED_AT_ONCE = 2

# Streamlit runs inline scripts of its own and compiles expressions of charts; nothing is fetched
# from, sent to or framed by another site.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "frame-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": _POLICY,
}

_LOG_IN_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<link rel="icon" href="data:,">
<title>scenesearch</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 0; }}
  main {{ max-width: 20rem; margin: 18vh auto 0; padding: 0 1rem; }}
  h1 {{ font-size: 1.9rem; }}
  label, input, button, .button {{ display: block; width: 100%; box-sizing: border-box; }}
  input, button, .button {{ font: inherit; padding: 0.5rem 0.75rem; border-radius: 0.5rem; }}
  input {{ margin: 0.25rem 0 1rem; border: 1px solid #888; }}
  button, .button {{
    border: 0; background: #2a63c8; color: #fff; text-align: center; text-decoration: none;
  }}
</style>
</head>
<body><main><h1>scenesearch</h1>{said}{way}</main></body>
</html>
"""
_FORM = """<form method="post">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 maxlength="1024" required autofocus>
<button>Open</button>
</form>"""


class Gate:
    """ASGI: lets to the application behind it who is admitted, and nobody else.

    `base` is the path that the page lies under, '' for the root.
    """

    def __init__(self, app: ASGIApp, settings: Settings, *, base: str = "") -> None:
        self._app = app
        self._base = f"/{base.strip('/')}" if base.strip("/") else ""
        self._login = settings.page_login
        self._hashed = ""
        self._sessions: Sessions | None = None
        if settings.page_password is not None and not self._login:
            self._hashed = settings.page_password.get_secret_value()
            self._sessions = sessions_of(settings.data_dir, self._hashed)
        self.guesses = Guesses()
        self._checking = asyncio.Semaphore(_CHECKED_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(self._base)
        reads = scope["method"] in ("GET", "HEAD")
        if path == "/_stcore/health" and reads:  # what starts the page asks it
            await self._app(scope, receive, send)
            return
        if not is_host_allowed(headers.get("host")):
            await _plain(HTTPStatus.FORBIDDEN, "not a name of this page")(scope, receive, send)
            return
        cookies = _cookies(headers)
        if self._sessions is not None:
            if path == "/logout" and reads:
                self._sessions.end(cookies.get(self._sessions.cookie))
                response: Response = RedirectResponse(f"{self._base}/", HTTPStatus.SEE_OTHER)
                response.delete_cookie(self._sessions.cookie)
                await response(scope, receive, send)
                return
            if _is_form(scope, headers) and not path.startswith("/_stcore/"):
                response = await self._guess(self._sessions, scope, receive, cookies)
                await response(scope, receive, send)
                return
        if self._admits(cookies) or (
            self._login and reads and path in ("/auth/login", "/auth/logout", "/oauth2callback")
        ):
            await self._app(scope, receive, send)
            return
        wants_page = reads and "text/html" in headers.get("accept", "")
        response = self._asking() if wants_page else _plain(HTTPStatus.UNAUTHORIZED, "log in first")
        await response(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        cookies = _cookies(headers)
        if not is_host_allowed(headers.get("host")) or not self._admits(cookies):
            await send({"type": "websocket.close", "code": 1008})  # refused before it is opened
            return

        async def still_admitted() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not self._admits(cookies):
                await send({"type": "websocket.close", "code": 1008})
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        await self._app(scope, still_admitted, send)

    def _admits(self, cookies: MutableMapping[str, str]) -> bool:
        if self._login:
            return _is_logged_in(cookies)
        return self._sessions is None or self._sessions.admits(cookies.get(self._sessions.cookie))

    async def _guess(
        self,
        sessions: Sessions,
        scope: Scope,
        receive: Receive,
        cookies: MutableMapping[str, str],
    ) -> Response:
        """The answer to a password: its cookie and the way back, or why not."""
        cookie = cookies.get(sessions.cookie)
        if sessions.admits(cookie):  # in another tab meanwhile
            return RedirectResponse(_back(scope), HTTPStatus.SEE_OTHER)
        password = await _password(receive)
        if password is None:
            return self._asking("This is not the password.")
        client = scope.get("client")
        address, browser = (client[0] if client else ""), sessions.browser_of(cookie)
        wait_s = self.guesses.begin(address, browser)
        if wait_s > 0:
            seconds = max(1, round(wait_s + 0.5))
            told = f"Too many wrong passwords: try again in {seconds} s."
            return self._asking(told, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(seconds)})
        async with self._checking:
            right = await asyncio.to_thread(password_fits, password, self._hashed)
        if not right:
            return self._asking("This is not the password.")
        self.guesses.was_right(address, browser)
        response = RedirectResponse(_back(scope), HTTPStatus.SEE_OTHER)
        response.set_cookie(
            sessions.cookie,
            sessions.begin(),
            max_age=int(sessions.lasts_s),
            httponly=True,
            samesite="lax",
            secure=scope["scheme"] == "https",
        )
        return response

    def _asking(
        self,
        told: str = "",
        status: HTTPStatus = HTTPStatus.UNAUTHORIZED,
        more: dict[str, str] | None = None,
    ) -> Response:
        """The page that asks who comes."""
        way = _FORM
        if self._login:
            try:
                address = generate_login_redirect_url("default")
            except StreamlitAuthError:  # nobody is let in by a mistake in the set-up
                address = ""
            way = f'<a class="button" href="{html.escape(address)}">Log in</a>' if address else ""
            if not address:
                told = "Logging in is not set up: .streamlit/secrets.toml has no section [auth]."
        said = f'<p role="alert">{html.escape(told)}</p>' if told else ""
        headers = {"Cache-Control": "no-store"} | (more or {})
        return HTMLResponse(_LOG_IN_PAGE.format(said=said, way=way), status, headers)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending


def _plain(status: HTTPStatus, text: str) -> Response:
    return PlainTextResponse(text, status, {"Cache-Control": "no-store"})


def _cookies(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in headers.getlist("cookie"):
        found |= cookie_parser(line)
    return found


def _is_form(scope: Scope, headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip()
    return scope["method"] == "POST" and kind == "application/x-www-form-urlencoded"


async def _password(receive: Receive) -> str | None:
    """The form's password; None for what is no such form, too long or too slow."""
    body, more = b"", True
    try:
        async with asyncio.timeout(_FORM_WITHIN_S):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message["type"] == "http.request" and message.get("more_body", False)
                if len(body) > _MOST_FORM_BYTES:
                    return None
        (password,) = parse_qs(body.decode(), strict_parsing=True)["password"]
    except (TimeoutError, ValueError, KeyError):
        return None
    return password if len(password) <= LONGEST_PASSWORD else None


def _back(scope: Scope) -> str:
    """The address that was asked for; never another site's, as '//example.org' is."""
    query = scope.get("query_string", b"").decode("latin-1")
    path = quote("/" + scope["path"].lstrip("/\\"))
    return f"{path}?{query}" if query else path


def _is_logged_in(cookies: MutableMapping[str, str]) -> bool:
    """Whether Streamlit's own signed cookie of an OIDC login is among them."""
    if not secrets_singleton.load_if_toml_exists() or "auth" not in secrets_singleton:
        return False
    secret, origin = get_cookie_secret(), get_origin_from_redirect_uri()

    def one(name: str) -> bytes | None:
        value = cookies.get(name)
        return decode_signed_value(secret, name, value.encode("latin-1")) if value else None

    try:
        user = json.loads(get_cookie_with_chunks(one, USER_COOKIE_NAME) or b"{}")
    except ValueError:
        return False
    is_ours: Any = isinstance(user, dict) and origin is not None and user.get("origin") == origin
    return bool(is_ours and user.get("is_logged_in") is True)
