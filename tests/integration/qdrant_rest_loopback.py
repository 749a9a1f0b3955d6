"""The loopback's other protocol: Qdrant's REST API over the same memory.

Bodies are read with the client's own models and answered as a server would, so that all that
travels is serialised; what a server finds or refuses by itself it cannot prove.
"""

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient, models

Body = dict[str, Any]


class RestLoopback:
    """Serves at `port`; `call` does what its gRPC twin does around each named call.

    A call gets the memory and returns the result; what is raised is `Refusal`.
    """

    def __init__(
        self, call: Callable[[str, str | None, Callable[[QdrantClient], Any]], Any], port: int = 0
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else {}
                path = self.path.partition("?")[0]
                key = self.headers.get("api-key")
                try:
                    name, answer, names = _call(self.command, path)
                    result = call(name, key, lambda memory: answer(memory, body, *names))
                except Refusal as refusal:
                    error = {"status": {"error": refusal.text}, "time": 0.0}
                    return self.reply(refusal.status, error, refusal.headers)
                whole = {"result": _plain(result), "status": "ok", "time": 0.0}
                return self.reply(200, whole if path != "/" else result, {})

            def reply(self, status: int, content: Any, headers: dict[str, str]) -> None:
                raw = json.dumps(content).encode()
                with suppress(ConnectionError):  # whoever asked may have given up
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(raw)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Refusal(Exception):  # noqa: N818 - an answer, to the server that gives it
    """An answer with an error status."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers or {}


def _call(method: str, path: str) -> tuple[str, Callable[..., Any], tuple[str, ...]]:
    """What is asked for: the call's name, what answers it, and the collection in the path."""
    for (wanted, pattern), (name, answer) in _CALLS.items():
        found = re.fullmatch(pattern, path)
        if method == wanted and found:
            return name, answer, found.groups()
    raise Refusal(404, f"{method} {path}")


def _plain(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return json.loads(result.model_dump_json())
    if isinstance(result, list):
        return [_plain(part) for part in result]
    return result


def _read(kind: Any, value: Any) -> Any:
    return None if value is None else TypeAdapter(kind).validate_python(value)


def _written(memory: QdrantClient) -> Body:
    return {"operation_id": 1, "status": "completed"}


def _list(memory: QdrantClient, body: Body) -> Any:
    return memory.get_collections()


def _create(memory: QdrantClient, body: Body, name: str) -> Any:
    request = models.CreateCollection.model_validate(body)
    return memory.create_collection(
        name,
        vectors_config=request.vectors,
        sparse_vectors_config=request.sparse_vectors,
        metadata=request.metadata,
    )


def _update(memory: QdrantClient, body: Body, name: str) -> Any:
    return memory.update_collection(name, metadata=body["metadata"])


def _delete_collection(memory: QdrantClient, body: Body, name: str) -> Any:
    return memory.delete_collection(name)


def _get_collection(memory: QdrantClient, body: Body, name: str) -> Any:
    return memory.get_collection(name)


def _aliases(memory: QdrantClient, body: Body) -> Any:
    return memory.get_aliases()


def _update_aliases(memory: QdrantClient, body: Body) -> Any:
    request = models.ChangeAliasesOperation.model_validate(body)
    return memory.update_collection_aliases(request.actions)


def _index(memory: QdrantClient, body: Body, name: str) -> Any:
    memory.get_collection(name)  # in memory there is nothing to index
    return _written(memory)


def _upsert(memory: QdrantClient, body: Body, name: str) -> Any:
    memory.upsert(name, models.PointsList.model_validate(body).points)
    return _written(memory)


def _delete(memory: QdrantClient, body: Body, name: str) -> Any:
    memory.delete(name, _read(models.PointsSelector, body))
    return _written(memory)


def _get(memory: QdrantClient, body: Body, name: str) -> Any:
    request = models.PointRequest.model_validate(body)
    return memory.retrieve(
        name,
        ids=request.ids,
        with_payload=True if request.with_payload is None else request.with_payload,
        with_vectors=request.with_vector or False,
    )


def _scroll(memory: QdrantClient, body: Body, name: str) -> Any:
    request = models.ScrollRequest.model_validate(body)
    points, following = memory.scroll(
        name,
        scroll_filter=request.filter,
        limit=request.limit or 10,
        offset=request.offset,
        with_payload=True if request.with_payload is None else request.with_payload,
        with_vectors=request.with_vector or False,
    )
    return {"points": _plain(points), "next_page_offset": following}


def _query(memory: QdrantClient, body: Body, name: str) -> Any:
    request = models.QueryRequest.model_validate(body)
    return memory.query_points(
        name,
        query=request.query,
        using=request.using,
        prefetch=request.prefetch,
        query_filter=request.filter,
        search_params=request.params,
        limit=request.limit or 10,
        with_payload=True if request.with_payload is None else request.with_payload,
        with_vectors=request.with_vector or False,
        score_threshold=request.score_threshold,
    )


def _count(memory: QdrantClient, body: Body, name: str) -> Any:
    request = models.CountRequest.model_validate(body)
    return memory.count(name, count_filter=request.filter, exact=True)


def _facet(memory: QdrantClient, body: Body, name: str) -> Any:
    request = models.FacetRequest.model_validate(body)
    return memory.facet(
        name, request.key, facet_filter=request.filter, limit=request.limit or 10, exact=True
    )


def _version(memory: QdrantClient, body: Body) -> Any:
    return {"title": "loopback over memory", "version": ""}  # the server has its own


def _peers(memory: QdrantClient, body: Body, name: str) -> Any:
    memory.get_collection(name)
    return {
        "peer_id": 0,  # the server has its own
        "shard_count": 1,
        "local_shards": [],
        "remote_shards": [],
        "shard_transfers": [],
    }


_ONE = r"/collections/([^/]+)"
_CALLS: dict[tuple[str, str], tuple[str, Callable[..., Any]]] = {
    ("GET", "/"): ("HealthCheck", _version),
    ("GET", "/collections"): ("List", _list),
    ("GET", "/aliases"): ("ListAliases", _aliases),
    ("POST", "/collections/aliases"): ("UpdateAliases", _update_aliases),
    ("PUT", _ONE): ("Create", _create),
    ("PATCH", _ONE): ("Update", _update),
    ("DELETE", _ONE): ("Delete", _delete_collection),
    ("GET", _ONE): ("Get", _get_collection),
    ("GET", _ONE + "/cluster"): ("CollectionClusterInfo", _peers),
    ("PUT", _ONE + "/index"): ("CreateFieldIndex", _index),
    ("PUT", _ONE + "/points"): ("Upsert", _upsert),
    ("POST", _ONE + "/points/delete"): ("Delete", _delete),
    ("POST", _ONE + "/points"): ("Get", _get),
    ("POST", _ONE + "/points/scroll"): ("Scroll", _scroll),
    ("POST", _ONE + "/points/query"): ("Query", _query),
    ("POST", _ONE + "/points/count"): ("Count", _count),
    ("POST", _ONE + "/facet"): ("Facet", _facet),
}
