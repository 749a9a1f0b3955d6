"""A server on the loopback that answers through the client's in-memory mode, by gRPC and REST.

It proves what travels: every request and answer is serialised as a real server would have it.
What a server finds, indexes or refuses by itself it cannot prove. It knows the calls that
ServerStore makes, wants the API key when given one, and fails as told.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import (
    collections_service_pb2_grpc,
    points_service_pb2_grpc,
    qdrant_pb2_grpc,
)

from tests.integration.qdrant_rest_loopback import Refusal, RestLoopback

# What can be wrong with a server that is there: too busy, not now, slow, without room.
Trouble = Literal["busy", "unavailable", "slow", "full", "making"]


class QdrantLoopback:
    """A server at `port` (gRPC) and `rest_port` until closed.

    `failures` are given out one per gRPC call, first to last; `troubles` one per call of the
    name, by either protocol. A slow call is done, and answered after `slow_s`. With a `folder`
    it keeps its data there; with `beside` it is a further node over that one's data.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        read_only_api_key: str | None = None,
        slow_s: float = 1.5,
        folder: Path | None = None,
        port: int = 0,
        rest_port: int = 0,
        version: str = "1.19.0",
        beside: "QdrantLoopback | None" = None,
    ) -> None:
        self.version = version
        self.peer_id = random.getrandbits(53)  # every server has a number of its own
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.troubles: dict[str, list[Trouble]] = {}
        self.calls: list[str] = []
        self._slow_s = slow_s
        self._api_key = api_key
        self._read_only_api_key = read_only_api_key
        self._beside = beside
        if beside is not None:
            self._memory, self._lock = beside._memory, beside._lock
        else:
            self._memory = QdrantClient(path=str(folder)) if folder else QdrantClient(":memory:")
            self._lock = threading.Lock()  # the in-memory mode is not thread-safe
        self._server = grpc.server(ThreadPoolExecutor(4))
        for base, register, calls in (
            (
                collections_service_pb2_grpc.CollectionsServicer,
                collections_service_pb2_grpc.add_CollectionsServicer_to_server,
                _COLLECTIONS | {"CollectionClusterInfo": self._peers},
            ),
            (
                points_service_pb2_grpc.PointsServicer,
                points_service_pb2_grpc.add_PointsServicer_to_server,
                _POINTS,
            ),
            (
                qdrant_pb2_grpc.QdrantServicer,
                qdrant_pb2_grpc.add_QdrantServicer_to_server,
                {"HealthCheck": self._health},
            ),
        ):
            servicer = base()
            for name, answer in calls.items():
                setattr(servicer, name, partial(self._serve, name, answer))
            register(servicer, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()
        self._rest = RestLoopback(self._serve_rest, rest_port)
        self.rest_port = self._rest.port

    def close(self) -> None:
        self._rest.close()
        self._server.stop(None).wait()
        if self._beside is None:
            self._memory.close()

    def _health(self, memory: QdrantClient, request: Any) -> Any:
        return wire.HealthCheckReply(title="loopback over memory", version=self.version)

    def _peers(self, memory: QdrantClient, request: Any) -> Any:
        return wire.CollectionClusterInfoResponse(peer_id=self.peer_id, shard_count=1)

    def _serve(self, name: str, answer: Callable[..., Any], request: Any, context: Any) -> Any:
        self.calls.append(name)
        sent = dict(context.invocation_metadata())
        if not self._allowed(name, sent.get("api-key")):
            if sent.get("api-key") == self._read_only_api_key:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, _FORBIDDEN)
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key")
        if self.failures:
            context.abort(*self.failures.pop(0))
        trouble = self._trouble(name)
        if trouble == "busy":
            context.set_trailing_metadata((("retry-after", "1"),))
        if trouble in _CODES:
            context.abort(*_CODES[trouble])
        try:
            with self._lock:
                answered = answer(self._memory, request)
        except ValueError as error:
            missing = "not found" in str(error)
            code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, str(error))
        if trouble == "slow":
            time.sleep(self._slow_s)
        return answered

    def _serve_rest(self, name: str, key: str | None, answer: Callable[[QdrantClient], Any]) -> Any:
        self.calls.append(name)
        if not self._allowed(name, key):
            if key is not None and key == self._read_only_api_key:
                raise Refusal(403, _FORBIDDEN)
            raise Refusal(401, "Must provide an API key")
        trouble = self._trouble(name)
        if trouble in _STATUS:
            retry = {"Retry-After": "1"} if trouble == "busy" else {}
            raise Refusal(_STATUS[trouble], _CODES[trouble][1], retry)
        try:
            with self._lock:
                answered = answer(self._memory)
            if name == "HealthCheck":
                answered["version"] = self.version
            elif name == "CollectionClusterInfo":
                answered["peer_id"] = self.peer_id
        except ValueError as error:
            raise Refusal(404 if "not found" in str(error) else 400, str(error)) from None
        if trouble == "slow":
            time.sleep(self._slow_s)
        return answered

    def _allowed(self, name: str, key: str | None) -> bool:
        if self._api_key is None or key == self._api_key:
            return True
        reading = name not in _WRITES
        return reading and self._read_only_api_key is not None and key == self._read_only_api_key

    def _trouble(self, name: str) -> Trouble | None:
        waiting = self.troubles.get(name)
        return waiting.pop(0) if waiting else None


_FORBIDDEN = "Forbidden: Global manage access is required"
_WRITES = frozenset({"Create", "Update", "Delete", "UpdateAliases", "Upsert", "CreateFieldIndex"})

_CODES: dict[Trouble | None, tuple[grpc.StatusCode, str]] = {
    "busy": (grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many requests"),
    "unavailable": (grpc.StatusCode.UNAVAILABLE, "not ready yet"),
    "full": (grpc.StatusCode.INTERNAL, "Service internal error: No space left on device"),
    # In the first second of a collection on a cluster.
    "making": (
        grpc.StatusCode.INTERNAL,
        "Service internal error: 0 of 0 read operations failed",
    ),
}
_STATUS: dict[Trouble | None, int] = {"busy": 429, "unavailable": 503, "full": 500, "making": 500}


def _given(request: Any, field: str) -> Any:
    return getattr(request, field) if request.HasField(field) else None


def _filter(request: Any) -> models.Filter | None:
    given = _given(request, "filter")
    return None if given is None else GrpcToRest.convert_filter(given)


def _payload_wanted(request: Any) -> Any:
    given = _given(request, "with_payload")
    return True if given is None else GrpcToRest.convert_with_payload_selector(given)


def _vectors_wanted(request: Any) -> Any:
    given = _given(request, "with_vectors")
    return False if given is None else GrpcToRest.convert_with_vectors_selector(given)


def _written() -> wire.PointsOperationResponse:
    done = wire.UpdateResult(operation_id=1, status=wire.UpdateStatus.Completed)
    return wire.PointsOperationResponse(result=done)


def _create(memory: QdrantClient, request: Any) -> Any:
    memory.create_collection(
        request.collection_name,
        vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config),
        sparse_vectors_config=(
            GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
            if request.HasField("sparse_vectors_config")
            else None
        ),
        metadata=GrpcToRest.convert_payload(request.metadata),
    )
    return wire.CollectionOperationResponse(result=True)


def _update(memory: QdrantClient, request: Any) -> Any:
    metadata = GrpcToRest.convert_payload(request.metadata)
    memory.update_collection(request.collection_name, metadata=metadata)
    return wire.CollectionOperationResponse(result=True)


def _delete_collection(memory: QdrantClient, request: Any) -> Any:
    memory.delete_collection(request.collection_name)
    return wire.CollectionOperationResponse(result=True)


def _update_aliases(memory: QdrantClient, request: Any) -> Any:
    memory.update_collection_aliases(
        [GrpcToRest.convert_alias_operations(action) for action in request.actions]
    )
    return wire.CollectionOperationResponse(result=True)


def _get_collection(memory: QdrantClient, request: Any) -> Any:
    info = memory.get_collection(request.collection_name)
    return wire.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))


def _list(memory: QdrantClient, request: Any) -> Any:
    names = [found.name for found in memory.get_collections().collections]
    return wire.ListCollectionsResponse(
        collections=[wire.CollectionDescription(name=name) for name in names]
    )


def _list_aliases(memory: QdrantClient, request: Any) -> Any:
    aliases = map(RestToGrpc.convert_alias_description, memory.get_aliases().aliases)
    return wire.ListAliasesResponse(aliases=list(aliases))


def _upsert(memory: QdrantClient, request: Any) -> Any:
    points = [GrpcToRest.convert_point_struct(point) for point in request.points]
    memory.upsert(request.collection_name, points)
    return _written()


def _delete(memory: QdrantClient, request: Any) -> Any:
    memory.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
    return _written()


def _get(memory: QdrantClient, request: Any) -> Any:
    records = memory.retrieve(
        request.collection_name,
        ids=[GrpcToRest.convert_point_id(id_) for id_ in request.ids],
        with_payload=_payload_wanted(request),
        with_vectors=_vectors_wanted(request),
    )
    return wire.GetResponse(result=list(map(RestToGrpc.convert_record, records)))


def _scroll(memory: QdrantClient, request: Any) -> Any:
    offset = _given(request, "offset")
    records, following = memory.scroll(
        request.collection_name,
        scroll_filter=_filter(request),
        limit=request.limit,
        offset=None if offset is None else GrpcToRest.convert_point_id(offset),
        with_payload=_payload_wanted(request),
        with_vectors=_vectors_wanted(request),
    )
    return wire.ScrollResponse(
        result=list(map(RestToGrpc.convert_record, records)),
        next_page_offset=(
            None if following is None else RestToGrpc.convert_extended_point_id(following)
        ),
    )


def _query(memory: QdrantClient, request: Any) -> Any:
    answer = memory.query_points(
        request.collection_name,
        query=GrpcToRest.convert_query(request.query),
        using=_given(request, "using"),
        query_filter=_filter(request),
        prefetch=[GrpcToRest.convert_prefetch_query(side) for side in request.prefetch] or None,
        search_params=GrpcToRest.convert_search_params(request.params),
        limit=request.limit,
        with_payload=_payload_wanted(request),
        with_vectors=_vectors_wanted(request),
        score_threshold=_given(request, "score_threshold"),
    )
    return wire.QueryResponse(result=list(map(RestToGrpc.convert_scored_point, answer.points)))


def _count(memory: QdrantClient, request: Any) -> Any:
    found = memory.count(request.collection_name, count_filter=_filter(request), exact=True)
    return wire.CountResponse(result=wire.CountResult(count=found.count))


def _facet(memory: QdrantClient, request: Any) -> Any:
    answer = memory.facet(
        request.collection_name,
        request.key,
        facet_filter=_filter(request),
        limit=request.limit,
        exact=request.exact,
    )
    return wire.FacetResponse(hits=list(map(RestToGrpc.convert_facet_value_hit, answer.hits)))


def _index(memory: QdrantClient, request: Any) -> Any:
    memory.get_collection(request.collection_name)  # in memory there is nothing to index
    return _written()


_COLLECTIONS = {
    "Create": _create,
    "Update": _update,
    "Delete": _delete_collection,
    "UpdateAliases": _update_aliases,
    "Get": _get_collection,
    "List": _list,
    "ListAliases": _list_aliases,
}
_POINTS = {
    "Upsert": _upsert,
    "Delete": _delete,
    "Get": _get,
    "Scroll": _scroll,
    "Query": _query,
    "Count": _count,
    "Facet": _facet,
    "CreateFieldIndex": _index,
}
