"""The page as an application of the web server: Streamlit behind the gate."""

from pathlib import Path

from starlette.types import Receive, Scope, Send
from streamlit import config
from streamlit.web.server.starlette import App

from scenesearch.home.settings import Settings
from ui.access import sessions
from ui.gate import Gate


class Served(App):
    """Streamlit's application; each request passes the gate first, each fault of a view is told
    in the page's own words."""

    def __init__(self, script: Path, settings: Settings) -> None:
        super().__init__(script, on_script_error=_told)
        self._settings = settings
        if settings.page_password is not None:
            # What is wrong with the key is told before anything is served.
            sessions(settings.data_dir, settings.page_password.get_secret_value())
        self._gate: Gate | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._gate is None:  # not before the server's options are read
            base = config.get_option("server.baseUrlPath") or ""
            self._gate = Gate(super().__call__, self._settings, base=base)
        await self._gate(scope, receive, send)


def _told(error: Exception) -> bool:
    from ui.views.failures import tell_uncaught  # the views load while the server starts

    return tell_uncaught(error)
