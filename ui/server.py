"""The page as an ASGI application: Streamlit behind our middleware."""

from pathlib import Path

from starlette.types import Receive, Scope, Send
from streamlit import config
from streamlit.web.server.starlette import App

from scenesearch.home.settings import Settings
from ui.access import sessions
from ui.middleware import AccessMiddleware


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
            base = config.get_option("server.baseUrlPath") or ""
            self._middleware = AccessMiddleware(super().__call__, self._settings, base=base)
        await self._middleware(scope, receive, send)


def _show_uncaught(error: Exception) -> bool:
    from ui.views.errors import show_uncaught  # the views are imported while the server starts

    return show_uncaught(error)
