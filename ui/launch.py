"""Starts the search page's server: `scenesearch ui --port 8501`."""

import gc
import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from scenesearch.errors import SceneSearchError
from scenesearch.home import logs, prometheus
from scenesearch.home.settings import Settings
from scenesearch.runtime import memory, signals
from scenesearch.runtime.events import log_errors_of
from scenesearch.runtime.server_signals import ended_by_signals
from scenesearch.search.searcher import Searcher

# How long the pictures that a background ingest is working on may take at the end.
_LAST_PICTURES_S = 10.0

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class PageError(SceneSearchError):
    """The page cannot be started."""


def run_page(*, port: int = 8501, address: str = "127.0.0.1", library: str | None = None) -> int:
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP; returns the exit status.

    It runs in this process, with the settings of the environment and, if given, another library.
    Metrics are served beside it if the settings name an address for them. Raises PageError when
    the port is taken or Streamlit is not installed.
    """
    _check_port(address, port)
    try:
        from ui.server import PageServer
        from ui.settings import use_settings
    except ModuleNotFoundError as error:
        raise PageError(
            f"the page needs {error.name}: install it with `pip install -e '.[ui]'`"
        ) from None
    settings = Settings(library=library) if library else Settings()
    use_settings(settings, local=address in _LOOPBACK)
    options = _server_options(address, port, settings)
    logs.configure(settings, service=True)
    memory.set_limit(settings.memory_mb)
    close = prometheus.serve(settings.metrics_address) if settings.metrics_address else None
    host = f"[{address}]" if ":" in address else address
    message = f"Search page: http://{host}:{port} (Ctrl-C ends it)"
    if logs.for_machines():
        logs.log_message(message)
        options["logger.level"] = "error"  # Streamlit's own lines are not JSON
    else:
        print(message, file=sys.stderr, flush=True)
    _redirect_logs()
    # Proxies whose headers are trusted; the server itself would trust any that is local.
    os.environ["FORWARDED_ALLOW_IPS"] = settings.page_proxies
    try:
        with ended_by_signals():
            server = PageServer(Path(__file__).with_name("app.py"), settings)
            threading.Thread(target=get_ready, name="warm-up", daemon=True).start()
            server.run(config=options)
    except KeyboardInterrupt:
        _end_job()
    finally:
        if close is not None:
            close()
    return signals.exit_status()


def _end_job() -> None:
    """The job in the background ends as it does when a visitor cancels it."""
    from ui import resources

    jobs = resources.jobs()
    if jobs.current is not None:
        jobs.current.cancel()
        jobs.wait(_LAST_PICTURES_S)


def _redirect_logs() -> None:
    """What the server and Streamlit log about errors goes to our log, once."""
    # Our threads have no visitor, and Streamlit would warn about each of them.
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").addFilter(
        lambda record: "missing ScriptRunContext" not in record.getMessage()
    )
    # `ui.views.errors` logs errors in a view.
    logging.getLogger("streamlit.error_util").addFilter(lambda record: False)
    log_errors_of("uvicorn.error", "streamlit.runtime.backend_operation_handler")


def get_ready() -> None:
    """Do what visitors would have to wait for."""
    warm_up()
    # Streamlit collects garbage after each run of the page, when the browser is waiting for the
    # pictures. Walking through all modules took half of the processor time of a search.
    gc.collect()
    gc.freeze()


def warm_up() -> None:
    """Import the views, load the encoder and list the library by date before the first visitor has
    to wait for them: listing 100,000 pictures takes seconds."""
    from ui import resources
    from ui.gallery.listing import newest_first
    from ui.views import (  # noqa: F401
        add,
        collections,
        contents,
        duplicates,
        encoders,
        evaluation,
        left_out,
        map,
        models,
        search,
        settings,
    )

    with suppress(SceneSearchError), resources.open_library() as opened:  # the page shows it
        if isinstance(opened.searcher, Searcher):
            newest_first(opened, opened.searcher).shape(opened)


def _server_options(address: str, port: int, settings: Settings) -> dict[str, Any]:
    # A name that an attacker's DNS points at this machine must not reach private pictures.
    hosts = [host.strip() for host in settings.page_hosts.split(",") if host.strip()]
    if not hosts and address in _LOOPBACK:
        hosts = list(_LOOPBACK)
    return {
        "server.maxUploadSize": settings.page_upload_mb,
        "server.address": address,
        "server.port": port,
        "server.allowedHosts": hosts,  # none: any
        "server.headless": True,
        "server.fileWatcherType": "none",  # the page's code does not change; watching costs memory
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # a traceback belongs on stderr, not before a visitor
        "client.showErrorLinks": "false",  # they lead to other sites, with the error in them
        "client.showSidebarNavigation": False,
        "runner.magicEnabled": False,
        "logger.hideWelcomeMessage": True,
        "logger.enableRich": False,  # errors are in our log, and nowhere else
        # The page follows the visitor's light or dark only if each theme is set on its own.
        "theme.light.primaryColor": "#2a63c8",
        "theme.dark.primaryColor": "#2f6fde",
    }


def _check_port(address: str, port: int) -> None:
    """Streamlit would report it too, but with a log prefix and after seconds of imports."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise PageError(
                f"cannot serve on {address} port {port}: {error.strerror}; choose another --port"
            ) from None
