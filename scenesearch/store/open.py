"""The store an installation uses: a Qdrant server when one is named, else the embedded engine."""

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
) -> VectorStore:
    """The home that the settings name; `command` is what other processes are told of this one.

    `patience_s` and `on_wait`: how long a server that is away is waited for, and who is told.

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

    return EdgeStore(edge_dir, command=command)
