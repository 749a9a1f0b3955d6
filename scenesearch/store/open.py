"""The store of an installation: a Qdrant server if one is configured, else the embedded engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from scenesearch.store.base import VectorStore


def open_store(
    *,
    edge_dir: Path,
    qdrant_url: str | None,
    qdrant_api_key: str | None = None,
    grpc_port: int | Literal["auto"] | None = "auto",
    timeout_s: float = 60,
    patience_s: float | None = None,
    on_wait: Callable[[str], None] | None = None,
    command: str | None = None,
    lock_wait_s: float = 5.0,
) -> VectorStore:
    """The home that the settings name; `command` is how other processes' messages call this one.

    `patience_s` is how long to wait for a server that is away, `lock_wait_s` for another process
    that keeps an embedded collection. `on_wait` receives a sentence about either wait.

    Only the home in use is imported: the server's client takes 0.8-2.3 s, the engine 5 ms.
    """
    if qdrant_url:
        from scenesearch.store.server import ServerStore

        return ServerStore(
            qdrant_url,
            api_key=qdrant_api_key,
            grpc_port=grpc_port,
            timeout_s=timeout_s,
            patience_s=patience_s,
            on_wait=on_wait,
        )
    from scenesearch.store.edge import EdgeStore

    return EdgeStore(edge_dir, command=command, lock_wait_s=lock_wait_s, on_wait=on_wait)
