"""ASGI middleware before Streamlit: checks the host name and the login of every request, and adds
security headers to every response.

Streamlit's own endpoints (uploads, media, metrics, components, the websocket) check no login.
Without one, only the health check is answered, and the form that asks for the password.
"""

import asyncio
import html
import json
from collections.abc import Mapping
from http import HTTPStatus
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
from ui.access import Sessions, password_matches, sessions
from ui.login_throttle import LoginThrottle

MAX_PASSWORD_LENGTH = 1024
_MAX_FORM_BYTES = 8192
_FORM_TIMEOUT_S = 10.0
# Each scrypt takes 16 MB and 50 ms of a core.
_MAX_CONCURRENT_CHECKS = 2

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

_LOGIN_PAGE = """<!DOCTYPE html>
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
<body><main><h1>scenesearch</h1>{alert}{form}</main></body>
</html>
"""
_FORM = """<form method="post">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 maxlength="1024" required autofocus>
<button>Open</button>
</form>"""


class AccessMiddleware:
    """ASGI middleware that passes on the requests of visitors who may see the page.

    `base` is the path that the page is served under, '' for the root.
    """

    def __init__(self, app: ASGIApp, settings: Settings, *, base: str = "") -> None:
        self._app = app
        self._base = f"/{base.strip('/')}" if base.strip("/") else ""
        self._uses_oidc = settings.page_login
        self._hashed = ""
        self._sessions: Sessions | None = None
        if settings.page_password is not None and not self._uses_oidc:
            self._hashed = settings.page_password.get_secret_value()
            self._sessions = sessions(settings.data_dir, self._hashed)
        self._throttle = LoginThrottle()
        self._checks = asyncio.Semaphore(_MAX_CONCURRENT_CHECKS)

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
        if path == "/_stcore/health" and reads:  # asked by whatever starts the page
            await self._app(scope, receive, send)
            return
        response = await self._own_response(scope, receive, headers, path, reads=reads)
        await (response or self._app)(scope, receive, send)

    async def _own_response(
        self, scope: Scope, receive: Receive, headers: Headers, path: str, *, reads: bool
    ) -> Response | None:
        """What is answered in the page's place; None for a request that goes on to the page."""
        if not is_host_allowed(headers.get("host")):
            return _plain(HTTPStatus.FORBIDDEN, "this host name is not allowed")
        cookies = _cookies(headers)
        if self._sessions is not None:
            if path == "/logout" and reads:
                self._sessions.log_out(cookies.get(self._sessions.cookie))
                response = RedirectResponse(f"{self._base}/", HTTPStatus.SEE_OTHER)
                response.delete_cookie(self._sessions.cookie)
                return response
            if _is_form(scope, headers) and not path.startswith("/_stcore/"):
                return await self._log_in(self._sessions, scope, receive, cookies)
        if self._is_logged_in(cookies):
            return None
        if self._uses_oidc and reads and path in ("/auth/login", "/auth/logout", "/oauth2callback"):
            return None
        if reads and "text/html" in headers.get("accept", ""):
            return self._login_page()
        return _plain(HTTPStatus.UNAUTHORIZED, "log in first")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        cookies = _cookies(headers)
        if not is_host_allowed(headers.get("host")) or not self._is_logged_in(cookies):
            await send({"type": "websocket.close", "code": 1008})  # refused before it is opened
            return

        async def receive_while_logged_in() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not self._is_logged_in(cookies):
                await send({"type": "websocket.close", "code": 1008})
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        await self._app(scope, receive_while_logged_in, send)

    def _is_logged_in(self, cookies: Mapping[str, str]) -> bool:
        if self._uses_oidc:
            return _has_oidc_login(cookies)
        return self._sessions is None or self._sessions.is_valid(cookies.get(self._sessions.cookie))

    async def _log_in(
        self, logins: Sessions, scope: Scope, receive: Receive, cookies: Mapping[str, str]
    ) -> Response:
        """The answer to a password: a cookie and the way back, or the form with what is wrong."""
        cookie = cookies.get(logins.cookie)
        if logins.is_valid(cookie):  # logged in from another tab meanwhile
            return RedirectResponse(_requested(scope), HTTPStatus.SEE_OTHER)
        password = await _read_password(receive)
        if password is None:
            return self._login_page("This is not the password.")
        client = scope.get("client")
        address, browser = (client[0] if client else ""), logins.browser_of(cookie)
        wait_s = self._throttle.begin(address, browser)
        if wait_s > 0:
            seconds = max(1, round(wait_s + 0.5))
            message = f"Too many wrong passwords: try again in {seconds} s."
            response = self._login_page(message, HTTPStatus.TOO_MANY_REQUESTS)
            response.headers["Retry-After"] = str(seconds)
            return response
        async with self._checks:
            is_right = await asyncio.to_thread(password_matches, password, self._hashed)
        if not is_right:
            return self._login_page("This is not the password.")
        self._throttle.succeeded(address, browser)
        redirect = RedirectResponse(_requested(scope), HTTPStatus.SEE_OTHER)
        redirect.set_cookie(
            logins.cookie,
            logins.log_in(),
            max_age=logins.max_age_s,
            httponly=True,
            samesite="lax",
            secure=scope["scheme"] == "https",
        )
        return redirect

    def _login_page(
        self, message: str = "", status: HTTPStatus = HTTPStatus.UNAUTHORIZED
    ) -> Response:
        """The form that asks for the password, or with OIDC the link to the provider."""
        form = _FORM
        if self._uses_oidc:
            try:
                address = html.escape(generate_login_redirect_url("default"))
                form = f'<a class="button" href="{address}">Log in</a>'
            except StreamlitAuthError:  # a mistake in the configuration lets nobody in
                form = ""
                message = "Logging in is not set up: .streamlit/secrets.toml has no section [auth]."
        alert = f'<p role="alert">{html.escape(message)}</p>' if message else ""
        page = _LOGIN_PAGE.format(alert=alert, form=form)
        return HTMLResponse(page, status, {"Cache-Control": "no-store"})


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers


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


async def _read_password(receive: Receive) -> str | None:
    """The form's password; None for anything else, and for a form that is too long or too slow."""
    body, more = b"", True
    try:
        async with asyncio.timeout(_FORM_TIMEOUT_S):
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message["type"] == "http.request" and message.get("more_body", False)
                if len(body) > _MAX_FORM_BYTES:
                    return None
        (password,) = parse_qs(body.decode(), strict_parsing=True)["password"]
    except (TimeoutError, ValueError, KeyError):
        return None
    return password if len(password) <= MAX_PASSWORD_LENGTH else None


def _requested(scope: Scope) -> str:
    """The address that was asked for, never one of another site, as '//example.org' is."""
    query = scope.get("query_string", b"").decode("latin-1")
    path = quote("/" + scope["path"].lstrip("/\\"))
    return f"{path}?{query}" if query else path


def _has_oidc_login(cookies: Mapping[str, str]) -> bool:
    """Whether Streamlit's own signed cookie of an OIDC login is among them."""
    if not secrets_singleton.load_if_toml_exists() or "auth" not in secrets_singleton:
        return False
    secret, origin = get_cookie_secret(), get_origin_from_redirect_uri()

    def read_cookie(name: str) -> bytes | None:
        value = cookies.get(name)
        return decode_signed_value(secret, name, value.encode("latin-1")) if value else None

    try:
        user = json.loads(get_cookie_with_chunks(read_cookie, USER_COOKIE_NAME) or b"{}")
    except ValueError:
        return False
    is_ours = isinstance(user, dict) and origin is not None and user.get("origin") == origin
    return is_ours and user.get("is_logged_in") is True
