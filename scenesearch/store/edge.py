"""Qdrant Edge, embedded: the server's own engine in this process, a folder per collection.

One process at a time has a collection open; listing, describing and aliases need no lock. Points
are safe against a killed process once `upsert` returns, against power loss once `flush` does.
No call of the engine releases Python's global lock.

Up to 100,000 points search is an exact scan. Ways to do it, 100,000 vectors of 512 dimensions on
2 cores, 10 nearest (p50; recall@10 against numpy; random unit vectors / 200 clusters):

    float32 scan                            12 ms    1.000 / 1.000
    int8 scan, no rescore                    4 ms     .938 / .923
    int8 scan, rescore, oversampling 2       4 ms    1.000 / 1.000
    4-bit scan, same                         2 ms     .988 / -
    HNSW (m 16, ef 100, 20,000 vectors)      1 ms     .36  / -       built in 5 s, 50 s for 100,000

So large collections get int8 copies pinned in memory. Small ones (up to 40 MB of vectors, 20,000
of 512 dimensions: 2.4 ms) stay as they are, and `optimize` returns at once. A scan grows with the
library, so above 100,000 points `optimize` builds a graph beside the copies. A million vectors of
384 dimensions that lie as pictures do (mixtures of two of 7,564 real embeddings, and noise), asked
200 captions of the engine alone, the set-up of `make bench-large`; resident memory with int8 copies
and graph in it:

                                          p50 / p95     recall@10    resident
    int8 scan, rescore                    20 / 25 ms    1.000        920 MB    optimize 14 s
    graph (m 16, ef_construct 100), ef 128  0.5 / 8 ms   .939
                                   ef 256   0.6 / 3 ms   .971
                                   ef 512   0.9 / 3 ms   .991        960 MB    built in 217 s
    passing a third: scan / ef 512        21 / 22, 1.4 / 16 ms

Mixtures of 1,000 photographs' embeddings, as `make bench-large` has them, are harder: .94 at ef 512
and .99 at ef 1024, which is therefore used. Behind a filter that passes a third of them the graph
found .85 at ef 1024, behind two thirds .96 (10 and 6 ms). So what a filter passes is scanned up to
400,000 points (recall 1.000, 26 ms for a third of a million), and beyond that the graph is walked
by ACORN (P. Patel et al., 2024): two thirds 1.000 at 30 ms. Scanning is the better of the two for a
third: ACORN takes 50 ms at ef 512.

Of 100,000 such vectors ef 512 finds all (0.6 ms; the scan 2.2 ms). Random unit vectors, which no
encoder gives, are not for a graph: recall .47 at 100,000.

Through this class, 13 indexed fields and whole payloads, p50 / p95 in ms, recall@10 always 1.000:

                          1,000         100,000 random    100,000 clustered
    no filter             0.3 / 0.4     4.2 / 10.4        4.9 / 11.0
    passing 1 %           0.2 / 0.2     0.5 / 1.2         0.6 / 3.5
    passing 10 %          0.3 / 0.3     1.4 / 2.7         1.5 / 2.4
    passing 50 %          0.3 / 0.4     5.2 / 10.0        5.1 / 5.8
    passing 90 %          0.3 / 0.4     8.6 / 16.5        9.6 / 16.0
    open, first search    80 ms         0.2-1.5 s
    upsert                              4,000-5,000 points/s; optimize 15-27 s, mostly indexes
"""

import importlib.metadata
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import cast

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from scenesearch.store import ranking
from scenesearch.store.base import (
    RESCORED,
    CollectionSpec,
    IndexBusy,
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
from scenesearch.store.edge_build import build_shard, load_shard
from scenesearch.store.edge_files import EdgeFiles
from scenesearch.store.edge_filter import as_filter, index_of
from scenesearch.store.edge_lock import Held, HolderLock, command_words
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter
from scenesearch.store.payload import (
    check_dimension,
    check_diversity,
    check_words,
    key_path,
    named,
    payload_keys,
    payload_of,
    point_ids,
    vectors_of,
)
from scenesearch.store.words import POOL, RRF_K, WORDS, Fusion, Words, words_asked, words_of

# Points per engine operation: 2 MB of 512-d vectors, one entry of the write-ahead log.
_BATCH = 1000

# The engine makes files of 32 MB for its log and each kind of data, several at a time.
_ROOM_BYTES = 256 * 2**20

# Vectors up to this size are scanned as they are.
_PLAIN_KB = 40_000

# Above so many points there is a graph.
_GRAPH_FROM = 100_000

# Where a filter passes no more, or there are no more, the engine scans them all the same.
_SCANNED = 400_000

# A filter breaks the graph's paths; ACORN also looks behind points that do not pass. Not where
# nearly all pass, and the paths are whole.
_SEARCH = engine.SearchParams(
    hnsw_ef=1024,
    acorn=engine.AcornSearchParams(enable=True, max_selectivity=0.9),
    quantization=engine.QuantizationSearchParams(rescore=True, oversampling=3.0),
)
_EXACT = engine.SearchParams(exact=True)


@dataclass(frozen=True)
class _Open:
    """A collection this process has open, with the lock that says so."""

    name: str
    spec: CollectionSpec
    shard: engine.EdgeShard
    lock: HolderLock


class EdgeStore:
    """The embedded home; `command` is what another process is told of this one.

    A second process waits `lock_wait_s` for a collection before it hears IndexBusy: two
    searches from two terminals need not know of each other.
    """

    def __init__(self, root: Path, *, command: str | None = None, lock_wait_s: float = 5.0) -> None:
        self._files = EdgeFiles(root)
        self._command = command or command_words()
        self._lock_wait_s = lock_wait_s
        self._guard = threading.RLock()
        self._opened: dict[str, _Open] = {}
        self._closed = False
        self.retried = 0  # nothing is between this process and its engine

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        check_name(name)
        for field in spec.fields:
            key_path(field.name)
        with self._guard, self._disk(name):
            self._refuse_taken(name)
            self._check_room(name)
            lock = self._locked(name, spec.library)
            try:
                self._refuse_taken(name)  # made by another while this one waited
                workshop = self._files.workshop(name)
                indexes = {key_path(field.name): index_of(field) for field in spec.fields}
                build_shard(workshop / "shard", _config(spec), indexes)
                self._files.write_spec(workshop, spec)
                self._files.publish(workshop, name)
            finally:
                lock.release()

    def describe(self, name: str) -> CollectionSpec:
        return self._files.spec(self.resolve(name))

    def add_fields(self, name: str, fields: Sequence[PayloadField]) -> None:
        with self._guard, self._shard(name) as opened:
            added = new_fields(opened.spec, fields)
            for field in added:
                index = engine.UpdateOperation.create_field_index(
                    key_path(field.name), index_of(field)
                )
                opened.shard.update(index)
            if added:
                spec = replace(opened.spec, fields=(*opened.spec.fields, *added))
                self._files.write_spec(self._files.folder(opened.name), spec)
                self._opened[opened.name] = replace(opened, spec=spec)

    def record(
        self, name: str, *, state: State | None = None, previous: str | None = None
    ) -> CollectionSpec:
        with self._guard, self._shard(name) as opened:
            spec = opened.spec.changed(state=state, previous=previous)
            self._files.write_spec(self._files.folder(opened.name), spec)
            self._opened[opened.name] = replace(opened, spec=spec)
            return spec

    def collections(self) -> list[str]:
        return self._files.collections()

    def delete_collection(self, name: str) -> None:
        with self._guard, self._disk(name):
            if not self._files.exists(name):
                raise self._files.missing(name)
            opened = self._opened.pop(name, None)
            if opened:
                opened.shard.close()
            lock = opened.lock if opened else self._locked(name, self._files.spec(name).library)
            try:
                if not self._files.exists(name):  # deleted by another while this one waited
                    raise self._files.missing(name)
                self._files.remove(name)
            finally:
                lock.release()

    def set_alias(self, alias: str, collection: str) -> None:
        with self._disk(alias):
            if not self._files.exists(collection):
                raise self._files.missing(collection)
            if self._files.exists(alias):
                raise StoreError(f"{alias!r} is a collection and cannot be an alias")
            self._files.point_alias(alias, collection)

    def aliases(self) -> dict[str, str]:
        return self._files.aliases()

    def resolve(self, name: str) -> str:
        return self._files.resolve(name)

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        for start in range(0, len(points), _BATCH):
            batch = points[start : start + _BATCH]
            with self._shard(name) as opened:
                self._check_room(opened.name)
                ids = point_ids((point.image_id for point in batch), opened.spec)
                payloads = list(map(payload_of, batch))
                vectors = vectors_of(batch, opened.spec)
                words = map(words_of, payloads) if opened.spec.words else repeat(None)
                prepared = list(map(engine.Point, ids, map(_with_words, vectors, words), payloads))
                opened.shard.update(engine.UpdateOperation.upsert_points(prepared))

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        with self._shard(name) as opened:
            ids: list[engine.PointId] = [*point_ids(image_ids, opened.spec)]
            if ids:
                opened.shard.update(engine.UpdateOperation.delete_points(ids))

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        with self._shard(name) as opened:
            ids: list[engine.PointId] = [*point_ids(image_ids, opened.spec)]
            records = opened.shard.retrieve(ids, True, _wanted(with_vectors)) if ids else []
        return {point.image_id: point for point in _points(records, opened.spec)}

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
        keys = payload_keys(payload)
        offset: engine.PointId | None = None
        if after is not None:
            (offset,) = point_ids([after], self._files.spec(collection))
        while True:
            with self._shard(collection) as opened:
                request = engine.ScrollRequest(
                    offset=offset,
                    limit=batch_size,
                    filter=as_filter(where, opened.spec),
                    with_payload=keys,
                    with_vector=_wanted(with_vectors),
                )
                records, offset = opened.shard.scroll(request)
            points = _points(records, opened.spec)
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
        with self._shard(name) as opened:
            check_dimension(vector, opened.spec, "the query")
            query = engine.Query.Nearest(vector.tolist())
            filter_ = as_filter(where, opened.spec)
            keys = payload_keys(payload)

            def fetch(limit: int) -> list[ScoredPoint]:
                request = engine.QueryRequest(
                    limit=limit,
                    query=query,
                    filter=filter_,
                    params=_EXACT if exact else _SEARCH,
                    with_payload=keys,
                )
                return [hit for hit in _scored(opened.shard.query(request), opened.spec) if hit]

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

        with self._shard(name) as opened:
            check_words(opened.spec)
            check_dimension(vector, opened.spec, "the query")
            filter_ = as_filter(where, opened.spec)
        words = words_asked(text)
        if words is None:
            return nearest(k, offset)
        by_cosine = engine.Prefetch(
            POOL,
            query=engine.Query.Nearest(vector.tolist()),
            filter=filter_,
            params=_EXACT if exact else _SEARCH,
        )
        by_words = engine.Prefetch(
            POOL, query=engine.Query.Nearest(_sparse(words), using=WORDS), filter=filter_
        )
        query = _fusion(fusion)
        ranking.check_page(k, offset)

        def fused(limit: int) -> list[ranking.Ranked]:
            return self._ranked(name, query, payload, limit, prefetches=[by_cosine, by_words])

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
        with self._shard(name) as opened:
            check_dimension(vector, opened.spec, "the query")
            filter_ = as_filter(where, opened.spec)
        query = engine.Query.Nearest(vector.tolist())
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

        with self._shard(name) as opened:
            check_dimension(vector, opened.spec, "the query")
            filter_ = as_filter(where, opened.spec)
        ranking.check_page(k, offset)
        query = engine.Mmr(vector.tolist(), 1 - check_diversity(diversity), POOL)
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
        with self._shard(name) as opened:
            for example in (vector, *right, *wrong):
                check_dimension(example, opened.spec, "the query or an example")
            filter_ = as_filter(where, opened.spec)
        examples = engine.RecommendQuery(
            [example.tolist() for example in (*[vector] * weight, *right)],
            [example.tolist() for example in wrong],
        )
        query = engine.Query.RecommendSumScores(examples)

        def summed(limit: int) -> list[ranking.Ranked]:
            return self._ranked(name, query, payload, limit, filter_=filter_)

        return ranking.reranked(summed, vector, k=k, offset=offset)

    def count(self, name: str, *, where: Filter = ()) -> int:
        with self._shard(name) as opened:
            request = engine.CountRequest(exact=True, filter=as_filter(where, opened.spec))
            return opened.shard.count(request)

    def facet(
        self, name: str, field: str, *, where: Filter = (), limit: int = 100
    ) -> list[tuple[str | int | bool, int]]:
        with self._shard(name) as opened:
            declared = facet_field(field, opened.spec)
            request = engine.FacetRequest(
                key_path(field), limit=limit, exact=True, filter=as_filter(where, opened.spec)
            )
            hits = [(hit.value, hit.count) for hit in opened.shard.facet(request).hits]
        return ranking.by_count(hits, declared)

    def flush(self, name: str) -> None:
        with self._shard(name) as opened:
            opened.shard.flush()

    def optimize(self, name: str) -> None:
        with self._shard(name) as opened:
            self._check_room(opened.name, beside=self._files.size_bytes(opened.name))
            large = opened.shard.info().points_count > _GRAPH_FROM
        if large:
            self._prepare_graph(name)
        with self._shard(name) as opened:
            # Returns within a millisecond when no segment is large or full of deleted points.
            if opened.shard.optimize():
                # Without it the next start replays the whole log: 1.3 s for 100,000 points.
                opened.shard.flush()

    def release(self, name: str, *, if_wanted: bool = False) -> bool:
        with self._guard:
            collections = {self.resolve(name)}
            if name not in collections:
                # Also what the alias stood for before somebody moved it.
                collections |= {at for at, one in self._opened.items() if one.spec.library == name}
            released = False
            for collection in collections & self._opened.keys():
                if not if_wanted or self._opened[collection].lock.is_wanted():
                    self._shut(self._opened.pop(collection))
                    released = True
            return released

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        with self._disk("the store"):
            found = [Leftover("alias", name) for name in self._files.dangling()]
            for path in self._files.unfinished():
                name = path.name.partition("-")[2]
                lock = HolderLock(self._files.lock(name), self._command)
                with suppress(Held):  # somebody is at work there
                    lock.acquire(0)
                    try:
                        found.append(Leftover("folder", str(path)))
                        if remove:
                            shutil.rmtree(path, ignore_errors=True)
                    finally:
                        lock.release()
            for note in self._files.holders():
                lock = HolderLock(note.with_name(note.name.replace(".holder.json", ".lock")), "")
                if lock.is_free():
                    found.append(Leftover("lock", str(note)))
                    if remove:
                        note.unlink(missing_ok=True)
        return found

    def health(self) -> str:
        version = importlib.metadata.version("qdrant-edge-py")
        with self._disk("the store"):
            count = len(self.collections())
        noun = "collection" if count == 1 else "collections"
        return f"Qdrant Edge {version}, embedded, {count} {noun} in {self._files.root}"

    def close(self) -> None:
        with self._guard:
            self._closed = True
            while self._opened:
                self._shut(self._opened.popitem()[1])

    def _ranked(
        self,
        name: str,
        query: "engine.ScoringQueryType",
        payload: Sequence[str] | None,
        limit: int,
        *,
        filter_: engine.Filter | None = None,
        prefetches: list[engine.Prefetch] | None = None,
        params: engine.SearchParams = _SEARCH,
    ) -> list[ranking.Ranked]:
        """The first `limit` of the engine's order with their vectors; none for a limit of 0."""
        if not limit:
            return []
        request = engine.QueryRequest(
            limit=limit,
            query=query,
            prefetches=prefetches,
            filter=filter_,
            params=params,
            with_payload=payload_keys(payload),
            with_vector=_wanted(True),
        )
        with self._shard(name) as opened:
            found = opened.shard.query(request)
        hits = _scored(found, opened.spec)
        return [(hit, _embedding(one.vector)) for hit, one in zip(hits, found, strict=True) if hit]

    def _prepare_graph(self, name: str) -> None:
        """Let the shard's next optimization build a graph: opened anew, it takes the setting."""
        with self._guard, self._shard(name) as opened:
            opened.shard.flush()
            opened.shard.close()
            del self._opened[opened.name]  # for good, should it not open again
            try:
                graph = _config(opened.spec, edges=16)
                shard = load_shard(self._files.shard(opened.name), graph)
            except BaseException:
                opened.lock.release()
                raise
            self._opened[opened.name] = replace(opened, shard=shard)

    def _shut(self, opened: _Open) -> None:
        try:
            with self._faults(opened.name):
                opened.shard.flush()
                opened.shard.close()
        finally:
            opened.lock.release()

    @contextmanager
    def _shard(self, name: str) -> Iterator[_Open]:
        with self._disk(name):
            collection = self.resolve(name)
            opened = self._opened.get(collection) or self._load(collection)
        with self._faults(collection):
            yield opened

    def _load(self, collection: str) -> _Open:
        with self._guard:
            if self._closed:
                raise StoreError("the store is closed")
            if collection in self._opened:  # another thread was faster
                return self._opened[collection]
            lock = self._locked(collection, self._files.spec(collection).library)
            try:
                spec = self._files.spec(collection)  # gone or grown while this one waited
                with self._faults(collection):
                    shard = load_shard(self._files.shard(collection))
            except BaseException:
                lock.release()
                raise
            opened = self._opened[collection] = _Open(collection, spec, shard, lock)
            return opened

    def _check_room(self, collection: str, *, beside: int = 0) -> None:
        """Raise StoreUnavailable unless the disk has room to write, and for `beside` bytes more.

        The engine writes through mapped memory: on a full disk the process would die of SIGBUS.
        """
        self._files.root.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(self._files.root).free, _ROOM_BYTES + beside
        if free < needed:
            raise StoreUnavailable(
                f"cannot write collection {collection}: the disk of {self._files.root} is full, "
                f"{free // 2**20} MiB are free and {needed // 2**20} MiB needed"
            )

    def _refuse_taken(self, name: str) -> None:
        if self._files.exists(name) or name in self._files.aliases():
            raise StoreError(f"a collection or alias {name!r} is already there")

    def _locked(self, collection: str, library: str) -> HolderLock:
        lock = HolderLock(self._files.lock(collection), self._command)
        try:
            lock.acquire(self._lock_wait_s)
        except Held as held:
            who = (
                f"`{held.holder.command}` (process {held.holder.pid})"
                if held.holder
                else "another process"
            )
            raise IndexBusy(f"library {library} is in use by {who}; close it or wait") from None
        return lock

    @contextmanager
    def _disk(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self._files.root
            raise StoreUnavailable(
                f"cannot use {name}: {place}: {error.strerror or error}"
            ) from error

    @contextmanager
    def _faults(self, collection: str) -> Iterator[None]:
        try:
            yield
        except (StoreError, ValueError, TypeError):
            raise
        except Exception as error:
            raise _translated(collection, error) from error
        except BaseException as error:
            # A failed check inside the engine arrives as pyo3's PanicException.
            if type(error).__name__ != "PanicException":
                raise
            raise _translated(collection, error) from error


def _translated(collection: str, error: BaseException) -> StoreError:
    text = " ".join(str(error).split())
    if "WouldBlock" in text:  # opened by something that does not know our lock
        return IndexBusy(f"collection {collection} is in use by another program")
    if "No space left" in text or "os error 28" in text:
        return StoreUnavailable(f"cannot write collection {collection}: the disk is full")
    if "failed to load" in text or type(error).__name__ == "PanicException":
        return StoreError(
            f"collection {collection} is damaged ({text[:200]}); delete it and ingest again"
        )
    return StoreError(f"collection {collection}: {text[:300]}")


def _config(spec: CollectionSpec, edges: int = 0) -> engine.EdgeConfig:
    """The engine's settings; the graph has so many edges at each point, none for 0."""
    return engine.EdgeConfig(
        # Not read into memory beforehand: the int8 copies are, and they leave few to look up.
        vectors=engine.EdgeVectorParams(
            spec.dimension, engine.Distance.Cosine, memory=engine.Memory.Cold
        ),
        sparse_vectors=(
            {WORDS: engine.EdgeSparseVectorParams(modifier=engine.Modifier.Idf)}
            if spec.words
            else None
        ),
        hnsw_config=engine.HnswIndexConfig(
            m=edges,
            ef_construct=100,
            full_scan_threshold=_SCANNED * spec.dimension * 4 // 1024,  # kB
        ),
        quantization_config=engine.ScalarQuantizationConfig(
            engine.ScalarType.Int8, memory=engine.Memory.Pinned
        ),
        optimizers=engine.EdgeOptimizersConfig(indexing_threshold=_PLAIN_KB),
    )


def _points(records: Sequence[engine.Record], spec: CollectionSpec) -> list[Point]:
    payloads = named((record.payload for record in records), spec)
    return [
        Point(own[0], None if record.vector is None else _embedding(record.vector), own[1])
        for record, own in zip(records, payloads, strict=True)
        if own is not None
    ]


def _wanted(with_vectors: bool) -> bool | list[str]:
    """The picture's own vector, which has no name, and never its words."""
    return [""] if with_vectors else False


def _embedding(vector: "engine.Vector | None") -> NDArray[np.float32]:
    return np.asarray(vector, dtype=np.float32)


def _sparse(words: Words) -> engine.SparseVector:
    return engine.SparseVector(words.indices, words.values)


def _fusion(fusion: Fusion) -> engine.Fusion:
    # The stubs do not say that both are kinds of Fusion.
    return cast(
        engine.Fusion, engine.Fusion.Rrf(RRF_K) if fusion == "rrf" else engine.Fusion.Dbsf()
    )


def _with_words(vector: list[float], words: Words | None) -> "engine.Vector":
    return vector if words is None else {"": vector, WORDS: _sparse(words)}


def _scored(found: Sequence[engine.ScoredPoint], spec: CollectionSpec) -> list[ScoredPoint | None]:
    """None in the place of a point that names no picture."""
    payloads = named((one.payload for one in found), spec)
    return [
        None if own is None else ScoredPoint(own[0], one.score, own[1])
        for one, own in zip(found, payloads, strict=True)
    ]
