"""Starts the search page's server: `scenesearch ui --port 8501`."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from scenesearch.errors import SceneSearchError
from scenesearch.home import logs, prometheus
from scenesearch.home.settings import Settings
from scenesearch.runtime import memory, native_stderr, signals
from scenesearch.runtime.events import LOGGER

# How long the pictures that a background ingest has in hand may take at the end.
_LAST_PICTURES_S = 10.0

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
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP; returns the exit status.

    It runs in this process, with the settings of the environment and, where given, another
    library; metrics are served beside it where the settings give an address. Raises PageError
    when the port is taken or Streamlit is not installed.
    """
    _check_port(address, port)
    try:
        from ui.served import Served
    except ModuleNotFoundError as error:
        raise PageError(
            f"the page needs {error.name}: install it with `pip install 'scenesearch[ui]'`"
        ) from None
    global _started_with, _is_local
    _is_local = address in _LOOPBACK
    _started_with = Settings(library=library) if library else Settings()
    options = _server_options(address, port, _started_with)
    logs.configure(_started_with, service=True)
    memory.set_limit(_started_with.memory_mb)
    close = (
        prometheus.serve(_started_with.metrics_address) if _started_with.metrics_address else None
    )
    host = f"[{address}]" if ":" in address else address
    told = f"Search page: http://{host}:{port} (Ctrl-C ends it)"
    if logs.for_machines():
        logs.log_message(told)
        options["logger.level"] = "error"  # Streamlit's own lines are no JSON
    else:
        print(told, file=sys.stderr, flush=True)
    _hear_others()
    # Of those who stand before the page; the server itself would believe any that is local.
    os.environ["FORWARDED_ALLOW_IPS"] = _started_with.page_proxies
    try:
        with _ended_by_signals():
            served = Served(Path(__file__).with_name("app.py"), _started_with)
            threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
            served.run(config=options)
    except KeyboardInterrupt:
        _end_work()
    finally:
        if close is not None:
            close()
    return signals.exit_status()


def _end_work() -> None:
    """What is at work in the background ends as it does when it is cancelled."""
    from ui import resources

    jobs = resources.jobs()
    if jobs.current is not None:
        jobs.current.cancel()
        jobs.wait(_LAST_PICTURES_S)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """The server closes at SIGINT and SIGTERM and raises them again afterwards; SIGHUP, which it
    does not know, is passed on to it as SIGTERM."""
    signals.install_handlers(lambda: signal.raise_signal(signal.SIGTERM))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    try:
        yield
    finally:
        signals.install_handlers()


def _end(number: int, frame: FrameType | None) -> None:
    signals.record(number)
    native_stderr.ignore_repeated_signal()
    raise KeyboardInterrupt


def _hear_others() -> None:
    """What the server and Streamlit log of faults goes through our log, once."""
    # Our threads have no visitor, and Streamlit would say so for each of them.
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").addFilter(
        lambda record: "missing ScriptRunContext" not in record.getMessage()
    )
    # `ui.views.failures` logs what happened in a view.
    logging.getLogger("streamlit.error_util").addFilter(lambda record: False)
    for name in ("uvicorn.error", "streamlit.runtime.backend_operation_handler"):
        logging.getLogger(name).addFilter(_into_our_log)


def _into_our_log(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING:
        LOGGER.log(
            record.levelno,
            record.getMessage(),
            exc_info=record.exc_info,
            extra={"event": "server"},
        )
    return False


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


def _server_options(address: str, port: int, settings: Settings) -> dict[str, Any]:
    return {
        "server.maxUploadSize": settings.page_upload_mb,
        "server.address": address,
        "server.port": port,
        # A name that an attacker's DNS points at this machine must not reach private pictures.
        "server.allowedHosts": list(_hosts(settings.page_hosts)),
        "server.headless": True,
        "server.fileWatcherType": "none",  # the page is no work in progress; watching costs memory
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # a traceback belongs on stderr, not before a visitor
        "client.showErrorLinks": "false",  # which lead to other sites, with the error in them
        "client.showSidebarNavigation": False,
        "runner.magicEnabled": False,
        "logger.hideWelcomeMessage": True,
        "logger.enableRich": False,  # faults are in our log, and nowhere else
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
