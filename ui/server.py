"""The page as an ASGI application: Streamlit, and what our components fetch, behind our
middleware."""

import re
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.web.server.starlette import App

from scenesearch.home.settings import Settings
from scenesearch.pictures.records import LIBRARY_NAME
from ui.access import sessions
from ui.first_paint import StyledPage
from ui.gallery.routes import gallery_app
from ui.map.routes import map_app
from ui.middleware import AccessMiddleware
from ui.scripts import scripts_app
from ui.settings import base_path, may_choose_library, using_library


class PageServer(App):
    """Streamlit's application. Each request passes the middleware first, and an error in a view is
    shown in the page's own words."""

    def __init__(self, script: Path, settings: Settings) -> None:
        super().__init__(script, on_script_error=_show_uncaught)
        self._settings = settings
        if settings.page_password is not None:
            # A key that cannot be used is reported before anything is served.
            sessions(settings.data_dir, settings.page_password.get_secret_value())
        self._middleware: AccessMiddleware | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._middleware is None:  # the server's options are read only now
            base = base_path()
            behind = _beside_ours(StyledPage(super().__call__), base)
            self._middleware = AccessMiddleware(behind, self._settings, base=base)
        await self._middleware(scope, receive, send)


def _beside_ours(streamlit: ASGIApp, base: str) -> ASGIApp:
    """Our addresses, and below `/of/LIBRARY/` those of a library that was chosen."""
    ours = {"gallery": gallery_app(base), "maps": map_app(base), "scripts": scripts_app(base)}
    known = re.compile(rf"{re.escape(base)}(?:/of/([^/]+))?(/({'|'.join(ours)})/.*)")

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asked = known.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if asked is None:
            await streamlit(scope, receive, send)
            return
        library, path, app = asked[1], asked[2], ours[asked[3]]
        if library is None:
            await app(scope, receive, send)
        elif may_choose_library() and LIBRARY_NAME.fullmatch(library):
            with using_library(library):
                await app({**scope, "path": f"{base}{path}"}, receive, send)
        else:
            await streamlit(scope, receive, send)

    return answer


def _show_uncaught(error: Exception) -> bool:
    from ui.views.errors import show_uncaught  # the views are imported while the server starts

    return show_uncaught(error)
