"""Requests to a Qdrant server: repeated with patience, at another node when one is lost.

Errors that may pass (a refused connection, a time-out, 429, 503) are tried again with growing,
jittered pauses: reads for a moment, because somebody is waiting, writes for as long as one request
may take, because an ingest should survive a restart of the server. The client's own uploader is not
used: it retries without pause, and for ever when told to slow down.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from qdrant_client import QdrantClient

from scenesearch.runtime.retry import RetryPolicy, retry
from scenesearch.store.base import CollectionMissing, StoreError, StoreUnavailable, check_name
from scenesearch.store.server_faults import Fault, understand
from scenesearch.store.server_nodes import Node, Nodes

_T = TypeVar("_T")

_READ_PATIENCE_S = 2.0

# How often a wait for the server is reported.
_REPORT_AGAIN_S = 20.0


class Requests:
    """Asks the nodes of a server; see `ServerStore` for `patience_s` and `on_wait`."""

    def __init__(
        self,
        nodes: Nodes,
        timeout_s: float,
        patience_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.nodes = nodes
        self.url = nodes.shown
        self.timeout_s = timeout_s
        self.retried = 0
        self._read_patience = RetryPolicy(patience_s or min(_READ_PATIENCE_S, timeout_s))
        self._write_patience = RetryPolicy(patience_s or timeout_s)
        self._on_wait = on_wait
        self._report_again = 0.0
        self._closed = False

    @property
    def client(self) -> QdrantClient:
        """The client of the node that is asked now."""
        return self.nodes.current.client

    def read(self, do: Callable[[], _T], collection: str | None = None) -> _T:
        """The result of a request that reads; `collection` is named if it is missing."""
        return self._patiently(do, collection, self._read_patience)

    def write(self, do: Callable[[], _T], collection: str) -> _T:
        """The result of a request that writes and can be repeated safely."""
        return self._patiently(do, collection, self._write_patience)

    def collections(self) -> list[str]:
        answer = self.read(lambda: self.client.get_collections())
        return sorted(collection.name for collection in answer.collections)

    def aliases(self) -> dict[str, str]:
        answer = self.read(lambda: self.client.get_aliases())
        return {alias.alias_name: alias.collection_name for alias in answer.aliases}

    def missing(self, name: str) -> CollectionMissing:
        libraries: list[str] = []
        with suppress(StoreError):
            libraries = list(self.aliases()) or self.collections()
        return CollectionMissing(name, libraries, at=self.url)

    def silent_nodes(self) -> list[str]:
        """Addresses that give no answer."""
        return [node.shown for node in self.nodes.all if not self._answers(node)]

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.nodes.close()

    def _patiently(self, do: Callable[[], _T], collection: str | None, patience: RetryPolicy) -> _T:
        if collection is not None:
            check_name(collection)

        def attempt() -> _T:
            if self._closed:
                raise StoreError("the store is closed")
            return self._ask(do)

        def passing(error: Exception) -> float | None:
            fault = understand(error)
            return fault.retry_after_s if fault and fault.kind == "passing" else None

        def waiting(error: Exception, pause_s: float) -> None:
            self.retried += 1
            fault, now = understand(error), time.monotonic()
            if self._on_wait and fault and now > self._report_again:
                self._report_again = now + _REPORT_AGAIN_S
                self._on_wait(
                    f"Qdrant at {self.url}: {fault.text}; "
                    f"trying again for up to {patience.deadline_s:.0f} s"
                )

        try:
            return retry(attempt, patience, delay_of=passing, on_retry=waiting)
        except StoreError:
            raise
        except Exception as error:
            fault = understand(error)
            if fault is None:
                raise
            raise self._final(fault, collection) from error

    def _ask(self, do: Callable[[], _T]) -> _T:
        """The result of `do`; if the current node is lost, at the next one, each tried once."""
        for others in reversed(range(len(self.nodes.all))):
            node = self.nodes.current
            try:
                if len(self.nodes.all) > 1:
                    node.check_reachable()
                node.check_once()
                answer = do()
            except Exception as error:
                fault = understand(error)
                if fault is None or not fault.lost:
                    raise
                self.nodes.leave(node)
                if not others:
                    raise
            else:
                node.answered()
                return answer
        raise AssertionError("there is at least one address")

    def _answers(self, node: Node) -> bool:
        if node is self.nodes.current:
            return True
        try:
            node.check_reachable()
            node.check_once()
        except Exception as error:
            if understand(error) is None:
                raise
            return False
        return True

    def _final(self, fault: Fault, collection: str | None) -> StoreError:
        match fault.kind:
            case "passing" | "down":
                return StoreUnavailable(f"cannot use Qdrant at {self.url}: {fault.text}")
            case "key":
                return StoreUnavailable(f"Qdrant at {self.url} refused the API key: {fault.text}")
            case "read only":
                return StoreUnavailable(
                    f"Qdrant at {self.url}: this API key may only read; "
                    "set SCENESEARCH_QDRANT_API_KEY to one that may write"
                )
            case "limited":
                return StoreUnavailable(
                    f"Qdrant at {self.url}: this API key is limited to some collections "
                    f"({fault.text}); set SCENESEARCH_QDRANT_API_KEY to one for all collections"
                )
            case "missing" if collection is not None:
                return self.missing(collection)
        return StoreError(f"Qdrant at {self.url} refused the request: {fault.text}")
