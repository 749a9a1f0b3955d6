"""A Qdrant server, for several processes or machines; real collections, aliases and indexes.

Requests go through gRPC if its port is given. Every operation can be repeated safely
(`server_requests`).

A collection's specification is its metadata in the server, under the key `scenesearch`. Large
segments get int8 copies in memory and a graph, as in the embedded home; smaller ones are scanned.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, TypeVar
from uuid import uuid4

from qdrant_client import QdrantClient, models

from scenesearch.runtime.cancel import sleep
from scenesearch.store import ranking
from scenesearch.store.ask import Ask, Cosine, Diverse, Examples
from scenesearch.store.base import (
    CollectionMissing,
    CollectionSpec,
    CollectionUnfinished,
    Leftover,
    Point,
    ScoredPoint,
    State,
    StoreError,
    StoreUnavailable,
    check_name,
    name_taken,
)
from scenesearch.store.conditions import facet_field, new_fields
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from scenesearch.store.payload import (
    key_path,
    payload_keys,
    point_ids,
    points_of,
    scrolled,
    stored_points,
    vector_names,
)
from scenesearch.store.server_filter import as_filter, index_of
from scenesearch.store.server_nodes import Nodes, open_nodes
from scenesearch.store.server_requests import Requests
from scenesearch.store.sparse import WORDS, SparseVector

_T = TypeVar("_T")

# A server takes 32 MB in one request; a float takes up to 20 bytes in JSON.
_BATCH = 256
_BATCH_FLOATS = 400_000

# How long another process may take to create a collection's indexes.
_CREATION_S = 30.0

# The nodes of a cluster learn of a new collection within moments of one another.
_CREATED_EVERYWHERE_S = 3.0

# How long to trust a collection's specification: another process may move an alias or add fields.
_SPEC_FRESH_S = 2.0

# Segments of fewer points are scanned (edge.py has the figures). The embedded home scans more,
# because a server shares its processors among many requests.
_GRAPH_FROM = 100_000

_METADATA_KEY = "scenesearch"
_VERSION_KEY = "scenesearch-version"

# The metadata until the indexes exist, so that what a crash leaves behind is known as such.
_UNFINISHED = "unfinished"

_SEARCH = models.SearchParams(
    quantization=models.QuantizationSearchParams(rescore=True, oversampling=3.0),
    hnsw_ef=1024,
    acorn=models.AcornSearchParams(enable=True, max_selectivity=0.9),  # as in the embedded home
)
_EXACT = models.SearchParams(exact=True)


class ServerStore:
    """The server's home; `grpc_port` None uses REST alone, 'auto' gRPC beside port 6333."""

    def __init__(
        self,
        url: str | Nodes,
        api_key: str | None = None,
        grpc_port: int | Literal["auto"] | None = "auto",
        timeout_s: float = 60,
        *,
        patience_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """`url` may be several addresses of a cluster's nodes, separated by ','.

        `patience_s` is how long each request waits for a server that is away. By default reads
        wait for a moment, writes as long as one request may take. Now and then `on_wait` receives
        a sentence about what is being waited for.
        """
        nodes = open_nodes(url, api_key, grpc_port, timeout_s) if isinstance(url, str) else url
        self._requests = Requests(nodes, timeout_s, patience_s, on_wait)
        self._read, self._write = self._requests.read, self._requests.write
        self._specs: dict[str, tuple[CollectionSpec, float]] = {}

    @property
    def retried(self) -> int:
        return self._requests.retried

    @property
    def _client(self) -> QdrantClient:
        return self._requests.client

    # Collections and aliases

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        check_name(name)
        indexes = {key_path(field.name): index_of(field) for field in spec.fields}
        if name in self.aliases() or (name in self.collections() and self._gets_finished(name)):
            raise name_taken(name)
        if name in self.collections():
            self._write(lambda: self._client.delete_collection(name), name)
        mine = {_UNFINISHED: uuid4().hex, "library": spec.library}
        try:
            self._write(
                lambda: self._client.create_collection(name, **_config(spec, metadata=mine)), name
            )
        except StoreUnavailable:
            raise
        except StoreError:
            # Refused: another process has just created it, or this one has and got no answer.
            if name not in self.collections():
                raise
            if self._recorded(name) != mine:
                self._gets_finished(name)
                raise name_taken(name) from None
        self._confirm(name)
        for key, index in indexes.items():
            self._create_index(name, key, index)
        self._record(name, spec)

    def describe(self, name: str) -> CollectionSpec:
        return self._spec(name, fresh_s=0)

    def add_fields(self, name: str, fields: Sequence[PayloadField]) -> None:
        collection = self.resolve(name)
        spec = self._spec(collection, fresh_s=0)
        added = new_fields(spec, fields)
        for field in added:
            self._create_index(collection, key_path(field.name), index_of(field))
        if added:
            self._record(collection, replace(spec, fields=(*spec.fields, *added)))

    def record(
        self, name: str, *, state: State | None = None, previous: str | None = None
    ) -> CollectionSpec:
        collection = self.resolve(name)
        spec = self._spec(collection, fresh_s=0).changed(state=state, previous=previous)
        self._record(collection, spec)
        return spec

    def collections(self) -> list[str]:
        return self._requests.collections()

    def delete_collection(self, name: str) -> None:
        check_name(name)
        if name not in self.collections():
            raise self._requests.missing(name)
        self._write(lambda: self._client.delete_collection(name), name)
        self._specs.clear()

    def set_alias(self, alias: str, collection: str) -> None:
        check_name(alias)
        collections = self.collections()
        if check_name(collection) not in collections:
            raise self._requests.missing(collection)
        if alias in collections:
            raise StoreError(f"{alias!r} is a collection and cannot be an alias")
        # Both in one request, so that no reader finds the alias missing in between.
        operations: list[models.DeleteAliasOperation | models.CreateAliasOperation] = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
            )
        ]
        if alias in self.aliases():
            gone = models.DeleteAlias(alias_name=alias)
            operations.insert(0, models.DeleteAliasOperation(delete_alias=gone))
        self._write(lambda: self._client.update_collection_aliases(operations), collection)
        self._specs.clear()

    def aliases(self) -> dict[str, str]:
        return self._requests.aliases()

    def resolve(self, name: str) -> str:
        check_name(name)
        if name in self.collections():
            return name
        aliases = self.aliases()
        if name in aliases:
            return aliases[name]
        raise self._requests.missing(name)

    # Points

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        spec = self._spec(name)
        size = max(1, min(_BATCH, _BATCH_FLOATS // spec.dimension))
        for start in range(0, len(points), size):
            self._upsert(name, points[start : start + size], spec)

    def _upsert(self, name: str, points: Sequence[Point], spec: CollectionSpec) -> None:
        # model_construct: `stored_points` has just checked what it would check value by value.
        prepared = [
            models.PointStruct.model_construct(
                id=point.id, vector=_with_words(point.vector, point.words), payload=point.payload
            )
            for point in stored_points(points, spec)
        ]
        self._write(lambda: self._client.upsert(name, prepared, wait=True), name)

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        ids: list[Any] = [*point_ids(image_ids, self._spec(name))]
        if ids:
            selector = models.PointIdsList(points=ids)
            self._write(lambda: self._client.delete(name, selector, wait=True), name)
            self._change(name)

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        spec = self._spec(name)
        ids = point_ids(image_ids, spec)
        found: dict[str, Point] = {}
        for start in range(0, len(ids), 1000):
            records = self._retrieve(name, ids[start : start + 1000], with_vectors)
            found |= {point.image_id: point for point in points_of(records, spec)}
        return found

    def _retrieve(self, name: str, ids: Sequence[str], with_vectors: bool) -> list[models.Record]:
        return self._read(
            lambda: self._client.retrieve(
                name, ids=ids, with_payload=True, with_vectors=vector_names(with_vectors)
            ),
            name,
        )

    def scroll(
        self,
        name: str,
        *,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        with_vectors: bool = False,
        batch_size: int = 1000,
        after: str | None = None,
    ) -> Iterator[Point]:
        # One collection from beginning to end, even if the alias moves in the meantime.
        collection = self.resolve(name)
        filter_ = self._filter(collection, where)

        def fetch(offset: Any) -> tuple[list[models.Record], Any]:
            return self._read(
                lambda: self._client.scroll(
                    collection,
                    scroll_filter=filter_,
                    limit=batch_size,
                    offset=offset,
                    with_payload=payload_keys(payload),
                    with_vectors=vector_names(with_vectors),
                ),
                collection,
            )

        yield from scrolled(fetch, self._spec(collection), after)

    def search(self, name: str, ask: Ask) -> list[ScoredPoint]:
        filter_ = self._filter(name, ask.where)

        def query(
            rank_by: ranking.EngineRankBy, limit: int, with_vectors: bool
        ) -> list[models.ScoredPoint]:
            request = _request(ask, filter_, rank_by, limit, with_vectors)
            return self._read(lambda: self._client.query_points(name, **request), name).points

        return ranking.answer(ask, self._spec(name), query)

    def count(self, name: str, *, where: Filter = ()) -> int:
        filter_ = self._filter(name, where)
        answer = self._read(
            lambda: self._client.count(name, count_filter=filter_, exact=True), name
        )
        return answer.count

    def facet(
        self, name: str, field: str, *, where: Filter = (), limit: int = 100
    ) -> list[tuple[str | int | bool, int]]:
        declared = self._by_spec(name, lambda spec: facet_field(field, spec))
        filter_ = self._filter(name, where)
        answer = self._read(
            lambda: self._client.facet(
                name, key_path(field), facet_filter=filter_, limit=limit, exact=True
            ),
            name,
        )
        return ranking.by_count([(hit.value, hit.count) for hit in answer.hits], declared)

    # Upkeep

    def version(self, name: str) -> str:
        collection = self.resolve(name)
        info = self._read(lambda: self._client.get_collection(collection), collection)
        changed = (info.config.metadata or {}).get(_VERSION_KEY)
        return f"{collection} {info.points_count} {changed}"

    def flush(self, name: str) -> None:
        """The server acknowledges what is in its log, which it syncs: only the version is new."""
        self._change(name)

    def _change(self, name: str) -> None:
        collection = self.resolve(name)
        metadata = {_VERSION_KEY: uuid4().hex}  # the other keys stay
        self._write(
            lambda: self._client.update_collection(collection, metadata=metadata), collection
        )

    def optimize(self, name: str) -> None:
        """Wait while the server optimizes by itself, at most as long as one request may take."""
        deadline = time.monotonic() + self._requests.timeout_s
        while time.monotonic() < deadline:
            info = self._read(lambda: self._client.get_collection(name), name)
            if info.status != models.CollectionStatus.YELLOW:
                return
            sleep(0.5)

    def release(self, name: str, *, if_wanted: bool = False) -> bool:
        """Nothing to do: a server is shared."""
        return False

    def working_on(self, name: str, *, wait_s: float | None = None) -> AbstractContextManager[None]:
        """Nothing to do: workers on many machines fill a server's collection together."""
        return nullcontext()

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        """Collections whose indexes were never created; aliases go with their collections."""
        found = [name for name in self.collections() if not self._gets_finished(name)]
        for name in found if remove else ():
            self.delete_collection(name)
        return [Leftover("collection", name) for name in found]

    def health(self) -> str:
        info = self._read(lambda: self._client.info())
        count = len(self.collections())  # unlike the version, this needs the key
        noun = "collection" if count == 1 else "collections"
        silent = self._requests.silent_nodes()
        silence = f"; no answer from {', '.join(silent)}" if silent else ""
        return f"Qdrant server {info.version} at {self._requests.url}, {count} {noun}{silence}"

    def close(self) -> None:
        self._requests.close()

    # Specifications

    def _create_index(self, name: str, key: str, index: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect")  # in memory
            self._write(
                lambda: self._client.create_payload_index(name, key, index, wait=True), name
            )

    def _record(self, name: str, spec: CollectionSpec) -> None:
        metadata = {_METADATA_KEY: spec.to_json()}
        self._write(lambda: self._client.update_collection(name, metadata=metadata), name)
        self._specs.clear()

    def _recorded(self, name: str) -> Any:
        info = self._read(lambda: self._client.get_collection(name), name)
        return (info.config.metadata or {}).get(_METADATA_KEY)

    def _confirm(self, name: str) -> None:
        """Raise StoreError if the collection just created is not on the server of the address.

        Two empty servers look alike at first contact; this tells them apart before a picture is
        written.
        """
        deadline = time.monotonic() + _CREATED_EVERYWHERE_S
        while not self._read(lambda: self._requests.nodes.current.confirm(name)):
            if time.monotonic() > deadline:
                node = self._requests.nodes.current
                self._write(lambda: self._client.delete_collection(name), name)
                raise node.two_servers()
            sleep(0.1)

    def _gets_finished(self, name: str) -> bool:
        """Whether it is complete, or another process completes it now; not after a crash."""
        deadline = time.monotonic() + _CREATION_S
        while _unfinished(self._recorded(name)):
            if time.monotonic() > deadline:
                return False
            sleep(0.1)
        return True

    def _spec(self, name: str, *, fresh_s: float = _SPEC_FRESH_S) -> CollectionSpec:
        check_name(name)
        spec, read_at = self._specs.get(name, (None, 0.0))
        if spec is not None and time.monotonic() - read_at < fresh_s:
            return spec
        recorded = self._recorded(name)
        if _unfinished(recorded):
            raise CollectionUnfinished(name, recorded.get("library", ""))
        if recorded is None:
            raise StoreError(
                f"collection {name} at {self._requests.url} was not made by scenesearch"
            )
        try:
            spec = CollectionSpec.from_json(recorded)
        except ValueError as error:
            raise StoreError(f"collection {name} at {self._requests.url}: {error}") from None
        self._specs[name] = (spec, time.monotonic())
        return spec

    def _filter(self, name: str, where: Filter) -> models.Filter | None:
        return self._by_spec(name, lambda spec: as_filter(where, spec)) if where else None

    def _by_spec(self, name: str, do: Callable[[CollectionSpec], _T]) -> _T:
        """The result of `do`, repeated with a fresh specification if a field was just added."""
        try:
            return do(self._spec(name))
        except (StoreUnavailable, CollectionMissing):
            raise
        except StoreError:
            return do(self._spec(name, fresh_s=0))


def _config(spec: CollectionSpec, metadata: dict[str, str]) -> dict[str, Any]:
    """The arguments that create a collection."""
    words = {WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)}
    return {
        "vectors_config": models.VectorParams(size=spec.dimension, distance=models.Distance.COSINE),
        "sparse_vectors_config": words if spec.words else None,
        "hnsw_config": models.HnswConfigDiff(
            m=16,
            ef_construct=100,
            full_scan_threshold=_GRAPH_FROM * spec.dimension * 4 // 1024,  # KB
        ),
        "quantization_config": models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        ),
        "strict_mode_config": models.StrictModeConfig(
            enabled=True,
            unindexed_filtering_retrieve=False,
            unindexed_filtering_update=False,
        ),
        "metadata": {_METADATA_KEY: metadata},
    }


def _request(
    ask: Ask,
    filter_: models.Filter | None,
    rank_by: ranking.EngineRankBy,
    limit: int,
    with_vectors: bool,
) -> dict[str, Any]:
    """The arguments of the client's query."""
    vector = ask.vector.tolist()
    params = _EXACT if ask.exact else _SEARCH
    prefetch: list[models.Prefetch] | None = None
    using: str | None = None  # the embedding, which has no name
    query: models.Query
    match rank_by:
        case Cosine():
            query = models.NearestQuery(nearest=vector)
        case ranking.Fused(words=words, fusion=fusion):
            prefetch = [
                models.Prefetch(query=vector, filter=filter_, params=params, limit=ranking.POOL),
                models.Prefetch(
                    query=_sparse(words), using=WORDS, filter=filter_, limit=ranking.POOL
                ),
            ]
            filter_ = None
            query = (
                models.RrfQuery(rrf=models.Rrf(k=ranking.RRF_K))
                if fusion == "rrf"
                else models.FusionQuery(fusion=models.Fusion.DBSF)
            )
        case ranking.ByWords(words=words):
            query, using = models.NearestQuery(nearest=_sparse(words)), WORDS
        case Diverse(diversity=diversity):
            mmr = models.Mmr(diversity=diversity, candidates_limit=ranking.POOL)
            query = models.NearestQuery(nearest=vector, mmr=mmr)
        case Examples(right=right, wrong=wrong, weight=weight):
            query = models.RecommendQuery(
                recommend=models.RecommendInput(
                    positive=[vector] * weight + [example.tolist() for example in right],
                    negative=[example.tolist() for example in wrong],
                    strategy=models.RecommendStrategy.SUM_SCORES,
                )
            )
    return {
        "query": query,
        "prefetch": prefetch,
        "using": using,
        "query_filter": filter_,
        "search_params": params,
        "limit": limit,
        "with_payload": payload_keys(ask.payload),
        "with_vectors": vector_names(with_vectors),
        "score_threshold": None if with_vectors else ask.min_cosine,
    }


def _unfinished(recorded: Any) -> bool:
    return isinstance(recorded, dict) and _UNFINISHED in recorded


def _sparse(words: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=words.indices, values=words.values)


def _with_words(vector: list[float], words: SparseVector | None) -> Any:
    return vector if words is None else {"": vector, WORDS: _sparse(words)}
