"""The store an installation uses: a Qdrant server when one is named, else the embedded engine."""

from pathlib import Path

from scenesearch.store.base import VectorStore


def open_store(
    *,
    edge_dir: Path,
    qdrant_url: str | None,
    qdrant_api_key: str | None = None,
    grpc_port: int | None = 6334,
    timeout_s: float = 60,
    command: str | None = None,
) -> VectorStore:
    """The home that the settings name; `command` is what other processes are told of this one.

    Only the home in use is imported: the server's client takes 0.8-2.3 s, the engine 5 ms.
    """
    if qdrant_url:
        from scenesearch.store.server import ServerStore

        return ServerStore(
            qdrant_url, api_key=qdrant_api_key, grpc_port=grpc_port, timeout_s=timeout_s
        )
    from scenesearch.store.edge import EdgeStore

    return EdgeStore(edge_dir, command=command)
