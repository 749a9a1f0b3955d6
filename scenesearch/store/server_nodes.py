"""The addresses of a Qdrant server: one, or one for each node of a cluster.

Requests go to one node until it is lost, then to the next. At the first contact each node must be
new enough, and its REST and gRPC ports must lead to the same server: an assumed gRPC port may
belong to another Qdrant.
"""

import re
import socket
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit, urlunsplit

from qdrant_client import QdrantClient
from qdrant_client import grpc as wire

from scenesearch.runtime.cancel import sleep
from scenesearch.store.base import StoreError

# The first version that matches prefixes, and lets nothing pass a condition without alternatives.
LOWEST = (1, 19)

_REST_PORT = 6333
_GRPC_PORT = 6334

# With several addresses, one that has been silent for a second must accept a connection before it
# is asked: a machine that is down answers nothing at all, and a request would wait for its time
# limit.
_SILENT_S = 1.0
_CONNECT_S = 0.5

# Two lists of collections differ while another process creates or deletes one. They are compared
# again this often, after this pause, before the ports count as two servers'.
_COMPARISONS = 3
_COMPARE_AGAIN_S = 0.2


class Node:
    """One address and its client, which uses gRPC if that has a port."""

    def __init__(
        self,
        client: QdrantClient,
        shown: str,
        *,
        host: str = "",
        port: int = _REST_PORT,
        grpc_port: int | None = None,
        timeout_s: float = 60,
    ) -> None:
        self.client = client
        self.shown = shown
        self._host = host
        self._port = port
        self._grpc_port = grpc_port
        self._timeout_s = timeout_s
        self._checking = threading.Lock()
        self._is_checked = False
        self._answered_at = 0.0

    def check_once(self) -> None:
        """At first contact, check version and ports; raises StoreError for what does not fit."""
        if self._is_checked:
            return
        with self._checking:
            if not self._is_checked:
                self._check()
                self._is_checked = True

    def answered(self) -> None:
        """Note that it has just answered."""
        self._answered_at = time.monotonic()

    def check_reachable(self) -> None:
        """Raise OSError if it has been silent and accepts no connection at once."""
        if time.monotonic() - self._answered_at < _SILENT_S:
            return
        socket.create_connection(
            (self._host, self._grpc_port or self._port), timeout=_CONNECT_S
        ).close()

    def forget(self) -> None:
        """Note that it was lost: when it comes back it is checked again."""
        self._is_checked = False

    def confirm(self, collection: str) -> bool:
        """Whether a collection just created over gRPC exists over REST too."""
        if self._grpc_port is None:
            return True
        there = self.client.http.collections_api.get_collections().result
        return there is not None and collection in {one.name for one in there.collections}

    def two_servers(self) -> StoreError:
        """The error for two ports that belong to two servers."""
        return StoreError(
            f"{self.shown} and port {self._grpc_port} on the same host are two different Qdrant "
            f"servers; set SCENESEARCH_QDRANT_GRPC_PORT to the gRPC port of {self.shown}, or to "
            "nothing for REST alone"
        )

    def _check(self) -> None:
        if self._grpc_port is None:
            self._check_version(self.client.info().version)
            return
        with ThreadPoolExecutor(1) as pool:  # in parallel, for the time of the slowest
            same = pool.submit(self._one_server)
            self._check_version(self.client.info().version)
        if same.result():
            return
        for _ in range(_COMPARISONS):
            sleep(_COMPARE_AGAIN_S)
            if self._one_server():
                return
        raise self.two_servers()

    def _one_server(self) -> bool:
        """Whether both ports list the same collections on the same peers."""
        with ThreadPoolExecutor(1) as pool:
            rest = pool.submit(self.client.http.collections_api.get_collections)
            over_grpc = {one.name for one in self.client.get_collections().collections}
        result = rest.result().result
        over_rest = {one.name for one in result.collections} if result else set()
        both = over_rest & over_grpc
        return self._same_peers(min(both)) if both else over_rest == over_grpc

    def _same_peers(self, collection: str) -> bool:
        """Whether both ports name the same peers for the collection.

        Every server has a peer number of its own, even a single one. Behind a load balancer the
        ports may belong to two nodes of one cluster.
        """
        answer = self.client.grpc_collections.CollectionClusterInfo(
            wire.CollectionClusterInfoRequest(collection_name=collection), timeout=self._timeout_s
        )
        over_grpc = {answer.peer_id} | {shard.peer_id for shard in answer.remote_shards}
        info = self.client.http.distributed_api.collection_cluster_info(collection).result
        assert info is not None  # noqa: S101 - the server's schema
        over_rest = {info.peer_id} | {shard.peer_id for shard in info.remote_shards}
        return bool(over_grpc & over_rest)

    def _check_version(self, version: str) -> None:
        numbers = re.match(r"v?(\d+)\.(\d+)", version)
        if numbers is None or tuple(map(int, numbers.groups())) < LOWEST:
            raise StoreError(
                f"Qdrant at {self.shown} is version {version or 'unknown'}; scenesearch needs "
                f"{'.'.join(map(str, LOWEST))} or newer: upgrade the server"
            )


class Nodes:
    """All addresses; `current` is the one that is asked."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.all = tuple(nodes)
        self._current = 0

    @property
    def current(self) -> Node:
        return self.all[self._current]

    @property
    def shown(self) -> str:
        return ", ".join(node.shown for node in self.all)

    def leave(self, node: Node) -> None:
        """Go on to the next address, unless another thread has done so already."""
        if len(self.all) > 1:
            node.forget()
        if node is self.current:
            self._current = (self._current + 1) % len(self.all)

    def close(self) -> None:
        for node in self.all:
            node.client.close()


def open_nodes(
    urls: str, api_key: str | None, grpc_port: int | str | None, timeout_s: float
) -> Nodes:
    """A node for each address in `urls`, separated by ','; no request is made yet.

    `grpc_port` 'auto' stands for 6334 if the address has Qdrant's usual port or none, and for REST
    alone if it has another; None stands for REST alone. Raises StoreError for an invalid address.
    """
    addresses = [url.strip() for url in urls.split(",") if url.strip()]
    if not addresses:
        raise StoreError("SCENESEARCH_QDRANT_URL holds no address")
    return Nodes([_open(url, api_key, grpc_port, timeout_s) for url in addresses])


def _open(url: str, api_key: str | None, grpc_port: int | str | None, timeout_s: float) -> Node:
    url = url if "//" in url else f"http://{url}"
    shown = _without_secrets(url)
    with warnings.catch_warnings():
        # A key over plain HTTP is fine on the same machine, and otherwise the operator's choice.
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
        try:
            address = urlsplit(url)
            port = address.port or _REST_PORT
            (address.hostname or "").encode("idna")  # as a connection would: no label empty or long
            if grpc_port == "auto":
                grpc_port = _GRPC_PORT if port == _REST_PORT else None
            client = QdrantClient(
                url=url,
                api_key=api_key,
                prefer_grpc=grpc_port is not None,
                grpc_port=int(grpc_port or _GRPC_PORT),
                timeout=max(1, round(timeout_s)),
                check_compatibility=False,  # asks the server in a thread and warns by itself
                # By itself gRPC tries a server that has been away for long only every two minutes.
                grpc_options={"grpc.max_reconnect_backoff_ms": 2000},
            )
        except ValueError as error:
            raise StoreError(f"{shown} is no address of a Qdrant server: {error}") from error
    return Node(
        client,
        shown,
        host=address.hostname or "localhost",
        port=port,
        grpc_port=None if grpc_port is None else int(grpc_port),
        timeout_s=timeout_s,
    )


def _without_secrets(url: str) -> str:
    """The URL without a user name, password or query, for messages."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))
    except ValueError:
        return "the given URL"
