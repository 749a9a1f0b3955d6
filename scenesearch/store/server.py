"""A Qdrant server, for several processes or machines; real collections, aliases and indexes.

Requests go through gRPC when its port is given. What may pass (a refused connection, a time-out,
429, 503) is tried again with growing, jittered pauses: reads for a moment, because somebody is
waiting, writes for as long as one request may take, because an ingest should outlive a restart
of the server. The client's own uploader is not used: it retries without pause, and for ever when
told to slow down. Every operation may be repeated safely.

A collection's specification is its metadata in the server, under the key `scenesearch`. Large
ones get int8 copies in memory and a graph as in the embedded home; smaller segments are scanned.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from scenesearch.runtime.cancel import check_cancelled, sleep
from scenesearch.runtime.retry import RetryPolicy, retry
from scenesearch.store import ranking
from scenesearch.store.base import (
    RESCORED,
    CollectionMissing,
    CollectionSpec,
    CollectionUnfinished,
    Leftover,
    Penalty,
    Point,
    ScoredPoint,
    State,
    StoreError,
    StoreUnavailable,
    check_name,
)
from scenesearch.store.conditions import facet_field, new_fields
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from scenesearch.store.payload import (
    check_dimension,
    check_diversity,
    check_words,
    embedding_of,
    key_path,
    payload_keys,
    payload_of,
    point_ids,
    points_of,
    scored_of,
    vectors_of,
)
from scenesearch.store.server_faults import Fault, understand
from scenesearch.store.server_filter import as_filter, index_of
from scenesearch.store.server_nodes import Node, Nodes, open_nodes
from scenesearch.store.words import POOL, RRF_K, WORDS, Fusion, Words, words_asked, words_of

_T = TypeVar("_T")

# A server takes 32 MB in one request; a float takes up to 20 bytes in JSON.
_BATCH = 256
_BATCH_FLOATS = 400_000

_READ_PATIENCE_S = 2.0

# How often somebody is told that the server is waited for.
_WAIT_AGAIN_S = 20.0

# So long a collection without indexes may be in the making by another process.
_MAKING_S = 30.0

# Nodes of a cluster hear of a new collection within moments of one another.
_MADE_EVERYWHERE_S = 3.0

# How long what a collection declares is believed: another process may move an alias or add fields.
_SPEC_FRESH_S = 2.0

# Segments of fewer points are scanned (edge.py has the figures). The embedded home scans more: a
# server shares its processors among many requests.
_GRAPH_FROM = 100_000

_METADATA_KEY = "scenesearch"

# Until the indexes are made: what a crash leaves behind can be told and made again.
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
        url: str,
        api_key: str | None = None,
        grpc_port: int | Literal["auto"] | None = "auto",
        timeout_s: float = 60,
        *,
        patience_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        """`url` may be several addresses of a cluster's nodes, with ',' between them.

        `patience_s` is how long a server that is away is waited for, at every request; by
        default reads wait for a moment, writes as long as one request may take. `on_wait` is
        told, now and then, what is being waited for.
        """
        nodes = open_nodes(url, api_key, grpc_port, timeout_s)
        self._set_up(nodes, timeout_s, patience_s, on_wait)

    @classmethod
    def from_client(
        cls, client: QdrantClient, *, name: str = "memory", timeout_s: float = 60
    ) -> "ServerStore":
        """A store over a client that is ready; `name` stands for the URL in messages."""
        store = cls.__new__(cls)
        store._set_up(Nodes([Node(client, name)]), timeout_s)
        return store

    def _set_up(
        self,
        nodes: Nodes,
        timeout_s: float,
        patience_s: float | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._nodes = nodes
        self._url = nodes.shown
        self._timeout_s = timeout_s
        self._read_patience = RetryPolicy(patience_s or min(_READ_PATIENCE_S, timeout_s))
        self._write_patience = RetryPolicy(patience_s or timeout_s)
        self._on_wait = on_wait
        self._waited_at = -_WAIT_AGAIN_S
        self.retried = 0
        self._specs: dict[str, tuple[CollectionSpec, float]] = {}
        self._closed = False

    @property
    def _client(self) -> QdrantClient:
        return self._nodes.current.client

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        check_name(name)
        indexes = {key_path(field.name): index_of(field) for field in spec.fields}
        if name in self.aliases() or (name in self.collections() and self._gets_finished(name)):
            raise StoreError(f"a collection or alias {name!r} is already there")
        if name in self.collections():
            self._write(lambda: self._client.delete_collection(name), name)
        mine = {_UNFINISHED: uuid4().hex, "library": spec.library}
        try:
            self._write(
                lambda: self._client.create_collection(
                    name,
                    vectors_config=models.VectorParams(
                        size=spec.dimension, distance=models.Distance.COSINE
                    ),
                    sparse_vectors_config=(
                        {WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)}
                        if spec.words
                        else None
                    ),
                    hnsw_config=models.HnswConfigDiff(
                        m=16,
                        ef_construct=100,
                        full_scan_threshold=_GRAPH_FROM * spec.dimension * 4 // 1024,  # KB
                    ),
                    quantization_config=models.ScalarQuantization(
                        scalar=models.ScalarQuantizationConfig(
                            type=models.ScalarType.INT8, always_ram=True
                        )
                    ),
                    strict_mode_config=models.StrictModeConfig(
                        enabled=True,
                        unindexed_filtering_retrieve=False,
                        unindexed_filtering_update=False,
                    ),
                    metadata={_METADATA_KEY: mine},
                ),
                name,
            )
        except StoreUnavailable:
            raise
        except StoreError:
            # Refused: another process made it at this moment, or we did and did not hear of it.
            if name not in self.collections():
                raise
            if self._recorded(name) != mine:
                self._gets_finished(name)
                raise StoreError(f"a collection or alias {name!r} is already there") from None
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
        answer = self._read(lambda: self._client.get_collections())
        return sorted(collection.name for collection in answer.collections)

    def delete_collection(self, name: str) -> None:
        check_name(name)
        if name not in self.collections():
            raise self._missing(name)
        self._write(lambda: self._client.delete_collection(name), name)
        self._forget()

    def set_alias(self, alias: str, collection: str) -> None:
        check_name(alias)
        collections = self.collections()
        if check_name(collection) not in collections:
            raise self._missing(collection)
        if alias in collections:
            raise StoreError(f"{alias!r} is a collection and cannot be an alias")
        # Both in one request: no reader finds the alias missing in between.
        operations: list[models.DeleteAliasOperation | models.CreateAliasOperation] = [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
            )
        ]
        if alias in self.aliases():
            gone = models.DeleteAlias(alias_name=alias)
            operations.insert(0, models.DeleteAliasOperation(delete_alias=gone))
        self._write(lambda: self._client.update_collection_aliases(operations), collection)
        self._forget()

    def aliases(self) -> dict[str, str]:
        answer = self._read(lambda: self._client.get_aliases())
        return {alias.alias_name: alias.collection_name for alias in answer.aliases}

    def resolve(self, name: str) -> str:
        check_name(name)
        if name in self.collections():
            return name
        aliases = self.aliases()
        if name in aliases:
            return aliases[name]
        raise self._missing(name)

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        spec = self._spec(name)
        size = max(1, min(_BATCH, _BATCH_FLOATS // spec.dimension))
        for start in range(0, len(points), size):
            batch = points[start : start + size]
            rows = zip(
                point_ids((point.image_id for point in batch), spec),
                vectors_of(batch, spec),
                map(payload_of, batch),
                strict=True,
            )
            # model_construct: what it would check, value by value, has just been checked.
            prepared = [
                models.PointStruct.model_construct(
                    id=id_,
                    vector=_with_words(vector, words_of(payload) if spec.words else None),
                    payload=payload,
                )
                for id_, vector, payload in rows
            ]
            self._upsert(name, prepared)

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        ids = self._point_ids(name, image_ids)
        if ids:
            self._write(
                lambda: self._client.delete(name, models.PointIdsList(points=ids), wait=True), name
            )

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        ids = self._point_ids(name, image_ids)
        found: dict[str, Point] = {}
        for start in range(0, len(ids), 1000):
            part = ids[start : start + 1000]
            for point in points_of(self._retrieve(name, part, with_vectors), self._spec(name)):
                found[point.image_id] = point
        return found

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
        # One collection from first to last, even if the alias moves meanwhile.
        collection = self.resolve(name)
        filter_ = self._filter(collection, where)
        keys = payload_keys(payload)
        offset: Any = None
        if after is not None:
            (offset,) = self._point_ids(collection, [after])
        while True:
            check_cancelled()
            records, offset = self._scroll(
                collection, filter_, keys, with_vectors, batch_size, offset
            )
            points = points_of(records, self._spec(collection))
            yield from (point for point in points if point.image_id != after)
            if offset is None:
                return

    def search(
        self,
        name: str,
        vector: NDArray[np.float32],
        *,
        k: int,
        offset: int = 0,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        exact: bool = False,
    ) -> list[ScoredPoint]:
        check_dimension(vector, self._spec(name), "the query")
        query = vector.tolist()
        filter_ = self._filter(name, where)
        keys = payload_keys(payload)

        def fetch(limit: int) -> list[ScoredPoint]:
            answer = self._read(
                lambda: self._client.query_points(
                    name,
                    query=query,
                    query_filter=filter_,
                    search_params=_EXACT if exact else _SEARCH,
                    limit=limit,
                    with_payload=keys,
                ),
                name,
            )
            return [hit for hit in scored_of(answer.points, self._spec(name)) if hit]

        return ranking.page(fetch, k=k, offset=offset)

    def search_hybrid(
        self,
        name: str,
        vector: NDArray[np.float32],
        text: str,
        *,
        k: int,
        offset: int = 0,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        exact: bool = False,
        fusion: Fusion = "dbsf",
    ) -> list[ScoredPoint]:
        def nearest(k: int, offset: int = 0) -> list[ScoredPoint]:
            return self.search(
                name, vector, k=k, offset=offset, where=where, payload=payload, exact=exact
            )

        spec = self._spec(name)
        check_words(spec)
        check_dimension(vector, spec, "the query")
        ranking.check_page(k, offset)
        words = words_asked(text)
        if words is None:
            return nearest(k, offset)
        filter_ = self._filter(name, where)
        sides = [
            models.Prefetch(
                query=vector.tolist(),
                filter=filter_,
                params=_EXACT if exact else _SEARCH,
                limit=POOL,
            ),
            models.Prefetch(query=_sparse(words), using=WORDS, filter=filter_, limit=POOL),
        ]
        query = (
            models.RrfQuery(rrf=models.Rrf(k=RRF_K))
            if fusion == "rrf"
            else models.FusionQuery(fusion=models.Fusion.DBSF)
        )

        def fused(limit: int) -> list[ranking.Ranked]:
            return self._ranked(name, query, payload, limit, prefetch=sides)

        first = ranking.reranked(fused, vector, k=offset + k)
        return ranking.then_nearest(first, nearest, k=k, offset=offset)

    def search_rescored(
        self,
        name: str,
        vector: NDArray[np.float32],
        penalty: Penalty,
        *,
        k: int,
        offset: int = 0,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        exact: bool = False,
    ) -> list[ScoredPoint]:
        def nearest(k: int) -> list[ScoredPoint]:
            return self.search(name, vector, k=k, where=where, payload=payload, exact=exact)

        def fetch(limit: int) -> list[ranking.Ranked]:
            return self._ranked(
                name, query, payload, limit, filter_=filter_, params=_EXACT if exact else _SEARCH
            )

        ranking.check_page(k, offset)
        check_dimension(vector, self._spec(name), "the query")
        filter_ = self._filter(name, where)
        query = models.NearestQuery(nearest=vector.tolist())
        first = ranking.rescored(fetch, vector, penalty, k=RESCORED)
        return ranking.then_nearest(first, nearest, k=k, offset=offset)

    def search_diverse(
        self,
        name: str,
        vector: NDArray[np.float32],
        *,
        k: int,
        offset: int = 0,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        diversity: float = 0.5,
    ) -> list[ScoredPoint]:
        def nearest(k: int) -> list[ScoredPoint]:
            return self.search(name, vector, k=k, where=where, payload=payload)

        check_dimension(vector, self._spec(name), "the query")
        ranking.check_page(k, offset)
        mmr = models.Mmr(diversity=check_diversity(diversity), candidates_limit=POOL)
        query = models.NearestQuery(nearest=vector.tolist(), mmr=mmr)
        filter_ = self._filter(name, where)
        found = self._ranked(name, query, payload, min(offset + k, POOL), filter_=filter_)
        first = ranking.with_cosines(found, vector)
        return ranking.then_nearest(first, nearest, k=k, offset=offset)

    def recommend(
        self,
        name: str,
        vector: NDArray[np.float32],
        *,
        right: Sequence[NDArray[np.float32]] = (),
        wrong: Sequence[NDArray[np.float32]] = (),
        weight: int = 1,
        k: int,
        offset: int = 0,
        where: Filter = (),
        payload: Sequence[str] | None = None,
    ) -> list[ScoredPoint]:
        spec = self._spec(name)
        for example in (vector, *right, *wrong):
            check_dimension(example, spec, "the query or an example")
        examples = models.RecommendInput(
            positive=[example.tolist() for example in (*[vector] * weight, *right)],
            negative=[example.tolist() for example in wrong],
            strategy=models.RecommendStrategy.SUM_SCORES,
        )
        query = models.RecommendQuery(recommend=examples)
        filter_ = self._filter(name, where)

        def summed(limit: int) -> list[ranking.Ranked]:
            return self._ranked(name, query, payload, limit, filter_=filter_)

        return ranking.reranked(summed, vector, k=k, offset=offset)

    def count(self, name: str, *, where: Filter = ()) -> int:
        filter_ = self._filter(name, where)
        answer = self._read(
            lambda: self._client.count(name, count_filter=filter_, exact=True), name
        )
        return answer.count

    def facet(
        self, name: str, field: str, *, where: Filter = (), limit: int = 100
    ) -> list[tuple[str | int | bool, int]]:
        declared = self._declared(name, lambda spec: facet_field(field, spec))
        filter_ = self._filter(name, where)
        answer = self._read(
            lambda: self._client.facet(
                name, key_path(field), facet_filter=filter_, limit=limit, exact=True
            ),
            name,
        )
        return ranking.by_count([(hit.value, hit.count) for hit in answer.hits], declared)

    def flush(self, name: str) -> None:
        """Nothing is left to do: the server acknowledges what its log holds, and syncs that."""
        self.resolve(name)

    def optimize(self, name: str) -> None:
        """Wait while the server optimizes by itself, at most for one request's time limit."""
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            info = self._read(lambda: self._client.get_collection(name), name)
            if info.status != models.CollectionStatus.YELLOW:
                return
            sleep(0.5)

    def release(self, name: str, *, if_wanted: bool = False) -> bool:
        """Nothing: a server is shared."""
        return False

    def working_on(self, name: str, *, wait_s: float | None = None) -> AbstractContextManager[None]:
        """Nothing: workers of many machines fill a server's collection together."""
        return nullcontext()

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        """Collections whose indexes were never made; aliases go with what they lead to."""
        found = [name for name in self.collections() if not self._gets_finished(name)]
        for name in found if remove else ():
            self.delete_collection(name)
        return [Leftover("collection", name) for name in found]

    def health(self) -> str:
        info = self._read(lambda: self._client.info())
        count = len(self.collections())  # unlike the version, this needs the key
        noun = "collection" if count == 1 else "collections"
        away = [node.shown for node in self._nodes.all if not self._answers(node)]
        gone = f"; no answer from {', '.join(away)}" if away else ""
        return f"Qdrant server {info.version} at {self._url}, {count} {noun}{gone}"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._nodes.close()

    def _create_index(self, name: str, key: str, index: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Payload indexes have no effect")  # in memory
            self._write(
                lambda: self._client.create_payload_index(name, key, index, wait=True), name
            )

    def _record(self, name: str, spec: CollectionSpec) -> None:
        metadata = {_METADATA_KEY: spec.to_json()}
        self._write(lambda: self._client.update_collection(name, metadata=metadata), name)
        self._forget()

    def _confirm(self, name: str) -> None:
        """Raise StoreError when what was just made is not the server of the address.

        Two empty servers look alike at first contact; this tells them apart before a picture is
        written.
        """
        deadline = time.monotonic() + _MADE_EVERYWHERE_S
        while not self._read(lambda: self._nodes.current.confirm(name)):
            if time.monotonic() > deadline:
                node = self._nodes.current
                self._write(lambda: self._client.delete_collection(name), name)
                raise node.elsewhere()
            sleep(0.1)

    def _recorded(self, name: str) -> Any:
        info = self._read(lambda: self._client.get_collection(name), name)
        return (info.config.metadata or {}).get(_METADATA_KEY)

    def _gets_finished(self, name: str) -> bool:
        """Whether it is whole, or becomes so while another process makes it; a crash's is not."""
        deadline = time.monotonic() + _MAKING_S
        while _unfinished(self._recorded(name)):
            if time.monotonic() > deadline:
                return False
            sleep(0.1)
        return True

    def _upsert(self, name: str, points: list[models.PointStruct]) -> None:
        self._write(lambda: self._client.upsert(name, points, wait=True), name)

    def _retrieve(
        self, name: str, ids: list[int | str | UUID], with_vectors: bool
    ) -> list[models.Record]:
        return self._read(
            lambda: self._client.retrieve(
                name, ids=ids, with_payload=True, with_vectors=_wanted(with_vectors)
            ),
            name,
        )

    def _ranked(
        self,
        name: str,
        query: models.Query,
        payload: Sequence[str] | None,
        limit: int,
        *,
        filter_: models.Filter | None = None,
        prefetch: list[models.Prefetch] | None = None,
        params: models.SearchParams = _SEARCH,
    ) -> list[ranking.Ranked]:
        """The first `limit` of the engine's order with their vectors; none for a limit of 0."""
        if not limit:
            return []
        answer = self._read(
            lambda: self._client.query_points(
                name,
                query=query,
                prefetch=prefetch,
                query_filter=filter_,
                search_params=params,
                limit=limit,
                with_payload=payload_keys(payload),
                with_vectors=_wanted(True),
            ),
            name,
        )
        hits = scored_of(answer.points, self._spec(name))
        return [
            (hit, embedding_of(one.vector))
            for hit, one in zip(hits, answer.points, strict=True)
            if hit
        ]

    def _scroll(
        self,
        collection: str,
        filter_: models.Filter | None,
        keys: bool | list[str],
        with_vectors: bool,
        limit: int,
        offset: Any,
    ) -> tuple[list[models.Record], Any]:
        return self._read(
            lambda: self._client.scroll(
                collection,
                scroll_filter=filter_,
                limit=limit,
                offset=offset,
                with_payload=keys,
                with_vectors=_wanted(with_vectors),
            ),
            collection,
        )

    def _point_ids(self, name: str, image_ids: Sequence[str]) -> list[int | str | UUID]:
        return [*point_ids(image_ids, self._spec(name))]

    def _filter(self, name: str, where: Filter) -> models.Filter | None:
        return self._declared(name, lambda spec: as_filter(where, spec)) if where else None

    def _declared(self, name: str, ask: Callable[[CollectionSpec], _T]) -> _T:
        """What `ask` makes of the declared fields, asked again in case one was just added."""
        try:
            return ask(self._spec(name))
        except (StoreUnavailable, CollectionMissing):
            raise
        except StoreError:
            return ask(self._spec(name, fresh_s=0))

    def _spec(self, name: str, *, fresh_s: float = _SPEC_FRESH_S) -> CollectionSpec:
        check_name(name)
        spec, read_at = self._specs.get(name, (None, 0.0))
        if spec is not None and time.monotonic() - read_at < fresh_s:
            return spec
        recorded = self._recorded(name)
        if _unfinished(recorded):
            raise CollectionUnfinished(name, recorded.get("library", ""))
        if recorded is None:
            raise StoreError(f"collection {name} at {self._url} was not made by scenesearch")
        try:
            spec = CollectionSpec.from_json(recorded)
        except ValueError as error:
            raise StoreError(f"collection {name} at {self._url}: {error}") from None
        self._specs[name] = (spec, time.monotonic())
        return spec

    def _forget(self) -> None:
        self._specs.clear()

    def _read(self, do: Callable[[], _T], collection: str | None = None) -> _T:
        return self._patiently(do, collection, self._read_patience)

    def _write(self, do: Callable[[], _T], collection: str) -> _T:
        return self._patiently(do, collection, self._write_patience)

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
            if self._on_wait and fault and now > self._waited_at + _WAIT_AGAIN_S:
                self._waited_at = now
                self._on_wait(
                    f"Qdrant at {self._url}: {fault.text}; "
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

    def _answers(self, node: Node) -> bool:
        if node is self._nodes.current:
            return True
        try:
            node.knock()
            node.meet()
        except Exception as error:
            if understand(error) is None:
                raise
            return False
        return True

    def _ask(self, do: Callable[[], _T]) -> _T:
        """What `do` gives, at the next address where the current one is lost, each asked once."""
        for others in reversed(range(len(self._nodes.all))):
            node = self._nodes.current
            try:
                if len(self._nodes.all) > 1:
                    node.knock()
                node.meet()
                answer = do()
            except Exception as error:
                fault = understand(error)
                if fault is None or not fault.lost:
                    raise
                self._nodes.leave(node)
                if not others:
                    raise
            else:
                node.heard()
                return answer
        raise AssertionError("there is at least one address")

    def _final(self, fault: Fault, collection: str | None) -> StoreError:
        match fault.kind:
            case "passing" | "down":
                return StoreUnavailable(f"cannot use Qdrant at {self._url}: {fault.text}")
            case "key":
                return StoreUnavailable(f"Qdrant at {self._url} refused the API key: {fault.text}")
            case "read only":
                return StoreUnavailable(
                    f"Qdrant at {self._url}: this API key may only read; "
                    "SCENESEARCH_QDRANT_API_KEY is the setting of the one that writes"
                )
            case "limited":
                return StoreUnavailable(
                    f"Qdrant at {self._url}: this API key is for some collections alone "
                    f"({fault.text}); SCENESEARCH_QDRANT_API_KEY takes one for all of them"
                )
            case "missing" if collection is not None:
                return self._missing(collection)
        return StoreError(f"Qdrant at {self._url} refused the request: {fault.text}")

    def _missing(self, name: str) -> CollectionMissing:
        libraries: list[str] = []
        with suppress(StoreError):
            libraries = list(self.aliases()) or self.collections()
        return CollectionMissing(name, libraries, at=self._url)


def _unfinished(recorded: Any) -> bool:
    return isinstance(recorded, dict) and _UNFINISHED in recorded


def _wanted(with_vectors: bool) -> bool | list[str]:
    """The picture's own vector, which has no name, and never its words."""
    return [""] if with_vectors else False


def _sparse(words: Words) -> models.SparseVector:
    return models.SparseVector(indices=words.indices, values=words.values)


def _with_words(vector: list[float], words: Words | None) -> Any:
    return vector if words is None else {"": vector, WORDS: _sparse(words)}
