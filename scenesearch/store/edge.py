"""Qdrant Edge, embedded: the server's own engine in this process, a folder per collection.

One process at a time has a collection open, in turns (`scenesearch.store.edge_lock`): who has it
longer than a turn lets it go between two operations, or when idle, as soon as somebody waits.
Listing, describing and aliases need no lock. Points are safe against a killed process once
`upsert` returns, against power loss once `flush` does.
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
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import cast

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from scenesearch.errors import FULL, UNWRITABLE, obstacle
from scenesearch.runtime.cancel import check_cancelled
from scenesearch.store import edge_room, ranking
from scenesearch.store.base import (
    RESCORED,
    CollectionSpec,
    IndexBusy,
    Leftover,
    NoRoom,
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
from scenesearch.store.edge_copy import copied, nobody_writing
from scenesearch.store.edge_files import EdgeFiles, read_all
from scenesearch.store.edge_filter import as_filter, index_of
from scenesearch.store.edge_lock import Held, HolderLock, command_words
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
from scenesearch.store.words import POOL, RRF_K, WORDS, Fusion, Words, words_asked, words_of

# Points per engine operation: 2 MB of 512-d vectors, one entry of the write-ahead log.
_BATCH = 1000

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

# How long a collection is kept though others wait: a search is done by then, and an ingest of
# small pictures has written two batches. On a machine with other work both take longer, which
# shows in how long it took to open; a large library is not opened for less either.
_TURN_S = 0.5
_TURN_OPENINGS = 2

# So often it is looked whether others wait, once the turn is over: to look takes 0.03 ms, and a
# search of a small library not much longer.
_LOOK_S = 0.05

# So often a store looks whether somebody waits for what it has open and does not use.
_LISTEN_S = 0.1

# An ingest in a crowd waits at every turn.
_TELL_AGAIN_S = 60.0

# How long a process at work waits for its next turn.
_WORK_WAIT_S = 600.0


@dataclass
class _Open:
    """A collection this process has open, with the lock that says so.

    Where it cannot be written there is a copy in the place of a lock, and what is in the way.
    """

    name: str
    spec: CollectionSpec
    shard: engine.EdgeShard
    lock: HolderLock | None
    copy: "tempfile.TemporaryDirectory[str] | None" = None
    in_the_way: str = ""
    turn_ends: float = 0.0  # by the monotonic clock
    users: int = 0  # operations at work on it
    is_written: bool = False  # since it was last flushed
    is_leaving: bool = False  # to be let go when nobody works on it

    def is_due(self) -> bool:
        """Whether it is another process's turn; for a copy nobody waits."""
        now = time.monotonic()
        if self.lock is not None and now > self.turn_ends and not self.is_leaving:
            self.turn_ends = now + _LOOK_S
            self.is_leaving = self.lock.is_wanted()
        return self.is_leaving

    def release(self) -> None:
        """To be called once, behind the shard's end."""
        if self.copy is not None:
            self.copy.cleanup()
        if self.lock is not None:
            self.lock.release()


class EdgeStore:
    """The embedded home; `command` is what another process is told of this one.

    Processes take turns at a collection. When one of them keeps it for `lock_wait_s`, those that
    wait hear IndexBusy; `on_wait` is told of a wait that takes long.
    """

    def __init__(
        self,
        root: Path,
        *,
        command: str | None = None,
        lock_wait_s: float = 5.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._files = EdgeFiles(root)
        self._command = command or command_words()
        self._lock_wait_s = lock_wait_s
        self._on_wait = on_wait
        self._guard = threading.RLock()  # of the three below; nobody waits for a lock within it
        self._opened: dict[str, _Open] = {}
        self._doors: dict[str, threading.Lock] = {}  # one thread opens a collection, others wait
        self._listener: threading.Thread | None = None
        self._working: set[str] = set()
        self._tell_again = 0.0
        self._closed = False
        self.retried = 0  # nothing is between this process and its engine

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        check_name(name)
        for field in spec.fields:
            key_path(field.name)
        with self._disk(name):
            self._refuse_taken(name)
            self._check_room(name)
            lock = self._locked(name, spec.library)
            try:
                self._refuse_taken(name)  # made by another while this one waited
                workshop = self._files.workshop(name)
                indexes = {key_path(field.name): index_of(field) for field in spec.fields}
                with self._faults(name):
                    build_shard(workshop / "shard", _config(spec), indexes)
                self._files.write_spec(workshop, spec)
                self._files.publish(workshop, name)
            finally:
                lock.release()

    def describe(self, name: str) -> CollectionSpec:
        return self._files.spec(self.resolve(name))

    def add_fields(self, name: str, fields: Sequence[PayloadField]) -> None:
        with self._shard(name) as opened, self._guard:
            added = new_fields(opened.spec, fields)
            if added:
                self._check_writable(opened)
            for field in added:
                index = engine.UpdateOperation.create_field_index(
                    key_path(field.name), index_of(field)
                )
                opened.shard.update(index)
            if added:
                spec = replace(opened.spec, fields=(*opened.spec.fields, *added))
                self._files.write_spec(self._files.folder(opened.name), spec)
                opened.spec, opened.is_written = spec, True

    def record(
        self, name: str, *, state: State | None = None, previous: str | None = None
    ) -> CollectionSpec:
        with self._shard(name) as opened, self._guard:
            self._check_writable(opened)
            spec = opened.spec.changed(state=state, previous=previous)
            self._files.write_spec(self._files.folder(opened.name), spec)
            opened.spec = spec
            return spec

    def collections(self) -> list[str]:
        return self._files.collections()

    def delete_collection(self, name: str) -> None:
        with self._disk(name):
            if not self._files.exists(name):
                raise self._files.missing(name)
            self._let_go({name})
            lock = self._locked(name, self._files.spec(name).library)
            try:
                if not self._files.exists(name):  # deleted by another while this one waited
                    raise self._files.missing(name)
                with self._alone_with(name), lock.doing("deleting it"):
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
                self._check_writable(opened)
                ids = point_ids((point.image_id for point in batch), opened.spec)
                payloads = list(map(payload_of, batch))
                vectors = vectors_of(batch, opened.spec)
                words = map(words_of, payloads) if opened.spec.words else repeat(None)
                prepared = list(map(engine.Point, ids, map(_with_words, vectors, words), payloads))
                opened.is_written = True
                opened.shard.update(engine.UpdateOperation.upsert_points(prepared))

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        with self._shard(name) as opened:
            ids: list[engine.PointId] = [*point_ids(image_ids, opened.spec)]
            if ids:
                self._check_writable(opened)
                opened.is_written = True
                opened.shard.update(engine.UpdateOperation.delete_points(ids))

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        with self._shard(name) as opened:
            ids: list[engine.PointId] = [*point_ids(image_ids, opened.spec)]
            records = opened.shard.retrieve(ids, True, _wanted(with_vectors)) if ids else []
        return {point.image_id: point for point in points_of(records, opened.spec)}

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
            check_cancelled()
            with self._shard(collection) as opened:
                request = engine.ScrollRequest(
                    offset=offset,
                    limit=batch_size,
                    filter=as_filter(where, opened.spec),
                    with_payload=keys,
                    with_vector=_wanted(with_vectors),
                )
                records, offset = opened.shard.scroll(request)
            points = points_of(records, opened.spec)
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
                return [hit for hit in scored_of(opened.shard.query(request), opened.spec) if hit]

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
        with self._disk(name):
            if self.resolve(name) not in self._opened:
                return  # what was written was flushed when it was let go
        with self._shard(name) as opened:
            self._flush(opened)

    def optimize(self, name: str) -> None:
        with self._shard(name) as opened:
            count = opened.shard.info().points_count
            folder = self._files.shard(opened.name)
            self._check_writable(
                opened, edge_room.to_optimize(folder, count, opened.spec.dimension)
            )
            assert opened.lock is not None  # noqa: S101 - what can be written is no copy
            with opened.lock.doing("preparing it for fast search"):
                if count > _GRAPH_FROM:
                    self._prepare_graph(opened)
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
            return self._let_go(collections, if_due=if_wanted)

    @contextmanager
    def working_on(self, name: str, *, wait_s: float | None = None) -> Iterator[None]:
        with self._disk(name):
            collection = self.resolve(name)
            library = self._files.spec(collection).library
        try:
            lock = HolderLock(self._files.work_lock(collection), self._command)
            self._acquire(lock, library, "being worked on", wait_s)
        except OSError:
            # On a disk that cannot be written nobody works; who only looks or deletes may, and who
            # wants to write is told at the first point.
            yield
            return
        self._working.add(collection)
        try:
            yield
        finally:
            self._working.discard(collection)
            lock.release()

    def _alone_with(self, collection: str) -> AbstractContextManager[None]:
        """Working on a collection, which this store may do already."""
        if collection in self._working:
            return nullcontext()
        return self.working_on(collection, wait_s=0)

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        with self._disk("the store"):
            found = [Leftover("alias", name) for name in self._files.dangling()]
            for path in self._files.unfinished():
                name = path.name.partition("-")[2]
                with suppress(Held), nobody_writing(self._files.lock(name), 0):
                    found.append(Leftover("folder", str(path)))
                    if remove:
                        shutil.rmtree(path, ignore_errors=True)
            for note in self._files.holders():
                file = note.with_name(note.name.replace(".holder.json", ".lock"))
                with suppress(Held), nobody_writing(file, 0):
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

    def _let_go(self, collections: set[str], *, if_due: bool = False) -> bool:
        """Close those that are open, or are another's turn, once no thread is at work on them;
        whether any was."""
        with self._guard:
            opened = [self._opened[name] for name in collections & self._opened.keys()]
            leaving = [one for one in opened if not if_due or one.is_due()]
            for one in leaving:
                one.is_leaving = True
                if not one.users:
                    del self._opened[one.name]
                    self._shut(one)
            return bool(leaving)

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
        hits = scored_of(found, opened.spec)
        return [
            (hit, embedding_of(one.vector)) for hit, one in zip(hits, found, strict=True) if hit
        ]

    def _prepare_graph(self, opened: _Open) -> None:
        """Let the shard's next optimization build a graph: opened anew, it takes the setting."""
        with self._guard:
            opened.shard.flush()
            opened.shard.close()
            try:
                graph = _config(opened.spec, edges=16)
                opened.shard = load_shard(self._files.shard(opened.name), graph)
            except BaseException:
                del self._opened[opened.name]  # for good, should it not open again
                opened.release()
                raise

    def _flush(self, opened: _Open) -> None:
        """Make safe against power loss what was written; on a full disk it stays in the log.

        What was only read has nothing to flush: closing would do it once more, a hundred files.
        """
        folder = self._files.shard(opened.name)
        if opened.is_written and edge_room.free_bytes(folder) > edge_room.OPENING_BYTES:
            opened.shard.flush()
            opened.is_written = False

    def _shut(self, opened: _Open) -> None:
        try:
            with self._disk(opened.name), self._faults(opened.name):
                self._flush(opened)
                opened.shard.close()
        finally:
            opened.release()

    @contextmanager
    def _shard(self, name: str) -> Iterator[_Open]:
        with self._disk(name):
            collection = self.resolve(name)
            opened = self._entered(collection)
        try:
            with self._faults(collection):
                yield opened
        finally:
            with self._guard:
                opened.users -= 1
                if not opened.users and self._opened.get(collection) is opened:
                    self._let_go({collection}, if_due=True)

    def _entered(self, collection: str) -> _Open:
        """The collection, opened if it is not, with one more operation at work on it."""
        while True:
            with self._guard:
                if self._closed:
                    raise StoreError("the store is closed")
                if opened := self._opened.get(collection):
                    opened.users += 1
                    return opened
                door = self._doors.setdefault(collection, threading.Lock())
            with door:
                if collection not in self._opened:
                    self._load(collection)

    def _load(self, collection: str) -> None:
        opened = self._open(collection)
        with self._guard:
            if self._closed:
                self._shut(opened)
                return
            self._opened[collection] = opened
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, daemon=True)
                self._listener.start()

    def _listen(self) -> None:
        """Let go of what is open and not used when another process waits, until nothing is."""
        while True:
            time.sleep(_LISTEN_S)
            with self._guard:
                idle = {name for name, one in self._opened.items() if not one.users}
                with suppress(StoreError):  # told to the next who opens it
                    self._let_go(idle, if_due=True)
                if not self._opened:
                    self._listener = None
                    return

    def _open(self, collection: str) -> _Open:
        """Where it lies, or a copy of it where it cannot be written."""
        folder = self._files.shard(collection)
        if edge_room.free_bytes(folder) < edge_room.to_open(folder, folder):
            return self._open_copy(collection, FULL)
        try:
            return self._open_in_place(collection)
        except (OSError, StoreUnavailable) as error:
            in_the_way = obstacle(error)
            if in_the_way not in UNWRITABLE:
                raise
            return self._open_copy(collection, in_the_way)

    def _open_in_place(self, collection: str) -> _Open:
        lock = self._locked(collection, self._files.spec(collection).library)
        try:
            spec = self._files.spec(collection)  # gone or grown while this one waited
            began = time.monotonic()
            with self._faults(collection, opening=True):
                shard = load_shard(self._files.shard(collection))
            now = time.monotonic()
        except BaseException:
            lock.release()
            raise
        turn_ends = now + max(_TURN_S, _TURN_OPENINGS * (now - began))
        return _Open(collection, spec, shard, lock, turn_ends=turn_ends)

    def _open_copy(self, collection: str, in_the_way: str) -> _Open:
        spec = self._files.spec(collection)
        try:
            copy = copied(
                self._files.shard(collection),
                self._files.lock(collection),
                wait_s=self._lock_wait_s,
                why=in_the_way,
            )
        except Held as held:
            raise IndexBusy(
                f"library {spec.library} is in use by {held}; close it or wait"
            ) from None
        try:
            with self._faults(collection, opening=True):
                shard = load_shard(Path(copy.name) / "shard")
        except BaseException:
            copy.cleanup()
            raise
        return _Open(collection, spec, shard, None, copy, in_the_way)

    def _check_writable(self, opened: _Open, needed: int | None = None) -> None:
        """Raise StoreUnavailable where it is a copy, or the disk has not so many bytes free."""
        if opened.copy is not None:
            raise StoreUnavailable(
                f"cannot write collection {opened.name}: {self._files.root}: {opened.in_the_way}"
            )
        self._check_room(opened.name, needed)

    def _check_room(self, collection: str, needed: int | None = None) -> None:
        """Raise NoRoom unless the disk has so many bytes free, by default enough to write."""
        free = edge_room.free_bytes(self._files.root)
        needed = edge_room.to_write(self._files.root) if needed is None else needed
        if free < needed:
            raise NoRoom(
                f"cannot write collection {collection}: the disk of {self._files.root} is full, "
                f"{free // 2**20} MiB are free and {needed // 2**20} MiB needed"
            )

    def _refuse_taken(self, name: str) -> None:
        if self._files.exists(name) or name in self._files.aliases():
            raise StoreError(f"a collection or alias {name!r} is already there")

    def _locked(self, collection: str, library: str) -> HolderLock:
        lock = HolderLock(self._files.lock(collection), self._command)
        # Work that has begun is not given up for somebody's long turn.
        patience_s = _WORK_WAIT_S if collection in self._working else self._lock_wait_s
        self._acquire(lock, library, "in use", patience_s)
        return lock

    def _acquire(self, lock: HolderLock, what: str, how: str, wait_s: float | None = None) -> None:
        def sentence(held: Held) -> str:
            return f"library {what} is {how} by {held}"

        def waiting(held: Held) -> None:
            now = time.monotonic()
            if self._on_wait is not None and now > self._tell_again:
                self._tell_again = now + _TELL_AGAIN_S
                self._on_wait(f"{sentence(held)}; waiting")

        try:
            lock.acquire(self._lock_wait_s if wait_s is None else wait_s, waiting)
        except Held as held:
            raise IndexBusy(f"{sentence(held)}; close it or wait") from None

    @contextmanager
    def _disk(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self._files.root
            why = obstacle(error) or error.strerror or error
            raise StoreUnavailable(f"cannot use {name}: {place}: {why}") from error

    @contextmanager
    def _faults(self, collection: str, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except (StoreError, ValueError, TypeError):
            raise
        except Exception as error:
            raise self._translated(collection, error, opening) from error
        except BaseException as error:
            # A failed check inside the engine arrives as pyo3's PanicException.
            if type(error).__name__ != "PanicException":
                raise
            raise self._translated(collection, error, opening) from error

    def _translated(self, collection: str, error: BaseException, opening: bool) -> StoreError:
        """Damaged is only what does not open though every byte of it can be read."""
        text = " ".join(str(error).split())[:300]
        if "WouldBlock" in text:  # opened by something that does not know our lock
            return IndexBusy(f"collection {collection} is in use by another program")
        folder = self._files.folder(collection)
        if why := obstacle(error):
            return StoreUnavailable(f"cannot use collection {collection} in {folder}: {why}")
        if opening:
            try:
                read_all(folder)
            except OSError as fault:
                why = obstacle(fault) or fault.strerror or str(fault)
                return StoreUnavailable(
                    f"cannot use collection {collection}: {fault.filename or folder}: {why}"
                )
            return StoreError(
                f"collection {collection} is damaged ({text}); copy {folder} elsewhere first, then "
                "restore a backup, or delete that folder and ingest again"
            )
        if type(error).__name__ == "PanicException":
            return StoreError(
                f"the engine gave up on collection {collection} ({text}); try again, and where it "
                f"says so again copy {folder} elsewhere, then restore a backup"
            )
        return StoreError(f"collection {collection}: {text}")


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


def _wanted(with_vectors: bool) -> bool | list[str]:
    """The picture's own vector, which has no name, and never its words."""
    return [""] if with_vectors else False


def _sparse(words: Words) -> engine.SparseVector:
    return engine.SparseVector(words.indices, words.values)


def _fusion(fusion: Fusion) -> engine.Fusion:
    # The stubs do not say that both are kinds of Fusion.
    return cast(
        engine.Fusion, engine.Fusion.Rrf(RRF_K) if fusion == "rrf" else engine.Fusion.Dbsf()
    )


def _with_words(vector: list[float], words: Words | None) -> "engine.Vector":
    return vector if words is None else {"": vector, WORDS: _sparse(words)}
