"""Starts the server: `scenesearch serve --port 8600`."""

import os
import socket
from collections.abc import Sequence
from types import FrameType

import anyio
import uvicorn

from scenesearch.errors import SceneSearchError
from scenesearch.home import logs, prometheus
from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.runtime import memory, signals
from scenesearch.runtime.events import log_errors_of
from scenesearch.runtime.server_signals import ended_by_signals
from serve.app import make_app
from serve.assistant import make_assistant
from serve.gate import LOOPBACK
from serve.jobs import Jobs
from serve.keys import Keys, read_keys
from serve.libraries import Libraries
from serve.service import Service
from serve.webhook_delivery import WebhookDelivery
from serve.workers import Workers


class ServeError(SceneSearchError):
    """The server cannot be started; the message is one sentence for the operator."""


def run_server(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8600,
    libraries: Sequence[str] = (),
    allow_write: bool = False,
) -> int:
    """Serve until Ctrl-C, SIGTERM or SIGHUP; returns the exit status.

    Begun requests are finished first. Raises ServeError when the port is taken, and without keys
    for any address but this machine's own.
    """
    keys = read_keys(settings.api_keys.get_secret_value() if settings.api_keys else None)
    if not keys and host not in LOOPBACK:
        raise ServeError(
            f"--host {host} lets others ask, so it needs SCENESEARCH_API_KEYS; "
            "`scenesearch serve --new-key NAME` makes one"
        )
    listening = _listen(host, port)
    logs.configure(settings, service=True)
    log_errors_of("uvicorn.error")
    service = make_service(settings, keys, libraries)
    service.libraries.check(keys.callers)
    close = prometheus.serve(settings.metrics_address) if settings.metrics_address else None
    count_no_more = prometheus.count_searches() if close is None else None
    name = f"[{host}]" if ":" in host else host
    logs.log_message(f"API: http://{name}:{listening.getsockname()[1]} (Ctrl-C ends it)")
    config = uvicorn.Config(
        make_app(service, allow_write=allow_write),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=int(settings.api_timeout_s) + 1,
    )
    try:
        with ended_by_signals():
            _Server(config, service).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        if close is not None:
            close()
        if count_no_more is not None:
            count_no_more()
    return signals.exit_status()


def run_assistant(
    settings: Settings, *, libraries: Sequence[str] = (), allow_write: bool = False
) -> None:
    """Answer an assistant over standard input and output, until its input or a signal ends it."""
    logs.configure(settings, service=True)
    service = make_service(settings, Keys(), libraries)

    def end() -> None:
        service.close()
        os._exit(signals.exit_status())  # a thread waits for input, and nothing else wakes it

    signals.install_handlers(end)
    try:
        anyio.run(make_assistant(service, allow_write=allow_write).run_stdio_async)
    finally:
        service.close()


def make_service(settings: Settings, keys: Keys, libraries: Sequence[str] = ()) -> Service:
    """The service of these settings; its jobs are not started."""
    # The server encodes on the CPU even if the same settings give ingest a GPU.
    settings = settings.model_copy(update={"device": "cpu"})
    memory.set_limit(settings.memory_mb)
    installation = Installation(settings)
    opened = Libraries(installation, libraries)
    return Service(
        settings,
        opened,
        keys,
        Workers(timeout_s=settings.api_timeout_s),
        Jobs(installation),
        WebhookDelivery(opened, keys),
    )


class _Server(uvicorn.Server):
    """Says that it is not ready from the signal on, while begun requests are finished."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.is_stopping = True
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With TCP named, asyncio sends each part of an answer at once; else it may wait for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ServeError(
            f"cannot serve on {host} port {port}: {error.strerror or error}; choose another --port"
        ) from None
    return listening
