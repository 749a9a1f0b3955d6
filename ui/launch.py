"""Starts the search page's server: `scenesearch ui --port 8501`."""

import logging
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from scenesearch import logs, memory, metrics
from scenesearch.errors import SceneSearchError
from scenesearch.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


_started_with: Settings | None = None
_is_local = True


def page_settings() -> Settings:
    """What `run_page` was started with, else what the environment says."""
    return _started_with or Settings()


def is_local() -> bool:
    """Whether the page listens to this machine alone."""
    return _is_local


class PageError(SceneSearchError):
    """The page cannot be started."""


def run_page(*, port: int = 8501, address: str = "127.0.0.1", library: str | None = None) -> int:
    """Serve the page until Ctrl-C or SIGTERM; returns the exit status.

    It runs in this process, with the settings of the environment and, where given, another
    library; metrics are served beside it where the settings give an address. Raises PageError
    when the port is taken or Streamlit is not installed.
    """
    _check_port(address, port)
    try:
        from streamlit.web import cli as streamlit
    except ModuleNotFoundError as error:
        raise PageError(
            f"the page needs {error.name}: install it with `pip install 'scenesearch[ui]'`"
        ) from None
    global _started_with, _is_local
    _is_local = address in _LOOPBACK
    _started_with = Settings(library=library) if library else Settings()
    app = Path(__file__).with_name("app.py")
    wanted = _server_options(address, port, _started_with.page_upload_mb)
    options = [f"--{name}={value}" for name, value in wanted.items()]
    # A name that an attacker's DNS points at this machine must not reach private pictures.
    options += [f"--server.allowedHosts={host}" for host in _hosts(_started_with.page_hosts)]
    logs.configure(_started_with, service=True)
    memory.limit_to(_started_with.memory_mb)
    close = metrics.serve(_started_with.metrics_address) if _started_with.metrics_address else None
    host = f"[{address}]" if ":" in address else address
    told = f"Search page: http://{host}:{port} (Ctrl-C ends it)"
    if logs.for_machines():
        logs.log_message(told)
        options.append("--logger.level=error")  # Streamlit's own lines are no JSON
    else:
        print(told, file=sys.stderr, flush=True)
    # Our threads have no visitor, and Streamlit would say so for each of them.
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").addFilter(
        lambda record: "missing ScriptRunContext" not in record.getMessage()
    )
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    try:
        streamlit.main(["run", str(app), *options], standalone_mode=False)
    finally:
        if close is not None:
            close()
    return 0


def warm_up() -> None:
    """Import the views and load the encoder before the first visitor waits for them."""
    from ui import resources
    from ui.views import by_picture, evaluation, layout, library, models, search  # noqa: F401

    with suppress(SceneSearchError), resources.searching():  # the page tells what is wrong
        pass


def _hosts(named: str) -> tuple[str, ...]:
    """The names that requests may be addressed to; none for any."""
    if hosts := tuple(host.strip() for host in named.split(",") if host.strip()):
        return hosts
    return _LOOPBACK if _is_local else ()


def _server_options(address: str, port: int, upload_mb: int) -> dict[str, str | int]:
    return {
        "server.maxUploadSize": upload_mb,
        "server.address": address,
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",  # the page is no work in progress; watching costs memory
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # a traceback belongs on stderr, not before a visitor
        "client.showSidebarNavigation": "false",
        "runner.magicEnabled": "false",
        "logger.hideWelcomeMessage": "true",
        # Only for each theme on its own does the page still follow the visitor's light or dark.
        "theme.light.primaryColor": "#2a63c8",
        "theme.dark.primaryColor": "#2f6fde",
    }


def _check_port(address: str, port: int) -> None:
    """Streamlit would say it too, but with a log prefix and after seconds of imports."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise PageError(
                f"cannot serve on {address} port {port}: {error.strerror}; choose another --port"
            ) from None
