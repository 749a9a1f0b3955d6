"""Qdrant Edge, embedded: the server's own engine in this process, a folder per collection.

Processes take turns: one at a time has a collection open (`edge_turns`). Listing, describing and
aliases need no lock. Points are safe against a killed process once `upsert` returns, and against
power loss once `flush` does. No call of the engine releases Python's global lock.

Up to 100,000 points search is an exact scan. Ways to find the 10 nearest of 100,000 vectors of 512
dimensions on 2 cores (p50; recall@10 against numpy; random unit vectors / 200 clusters):

    float32 scan                            12 ms    1.000 / 1.000
    int8 scan, no rescore                    4 ms     .938 / .923
    int8 scan, rescore, oversampling 2       4 ms    1.000 / 1.000
    4-bit scan, same                         2 ms     .988 / -
    HNSW (m 16, ef 100, 20,000 vectors)      1 ms     .36  / -       built in 5 s, 50 s for 100,000

So large collections get int8 copies, pinned in memory. Small ones (up to 40 MB of vectors: 20,000
of 512 dimensions, 2.4 ms) stay as they are, and `optimize` returns at once. A scan takes longer
the larger the library, so above 100,000 points `optimize` also builds a graph. Measured on a
million vectors of 384 dimensions distributed like pictures (mixtures of two of 7,564 real
embeddings, and noise) with 200 captions as queries, on the engine alone (the set-up of
`make bench-large`); resident memory includes int8 copies and graph:

                                          p50 / p95     recall@10    resident
    int8 scan, rescore                    20 / 25 ms    1.000        920 MB    optimize 14 s
    graph (m 16, ef_construct 100), ef 128  0.5 / 8 ms   .939
                                   ef 256   0.6 / 3 ms   .971
                                   ef 512   0.9 / 3 ms   .991        960 MB    built in 217 s
    passing a third: scan / ef 512        21 / 22, 1.4 / 16 ms

Mixtures of 1,000 photographs' embeddings, as in `make bench-large`, are harder: .94 at ef 512 and
.99 at ef 1024, which is why 1024 is used. With a filter that passes a third of them the graph found
.85 at ef 1024, with one that passes two thirds .96 (10 and 6 ms). So up to 400,000 points that pass
a filter are scanned (recall 1.000, 26 ms for a third of a million). For more, ACORN walks the graph
(P. Patel et al., 2024): two thirds give 1.000 at 30 ms. For a third scanning is better: ACORN takes
50 ms at ef 512.

In 100,000 such vectors ef 512 finds everything (0.6 ms; the scan 2.2 ms). A graph does not suit
random unit vectors (recall .47 at 100,000), but no encoder produces them.

Through this class with 13 indexed fields and whole payloads, p50 / p95 in ms, recall@10 all 1.000:

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import qdrant_edge as engine

from scenesearch.store import edge_room, ranking
from scenesearch.store.ask import Ask, Cosine, Diverse, Examples
from scenesearch.store.base import (
    CollectionSpec,
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
from scenesearch.store.edge_build import build_shard
from scenesearch.store.edge_copy import nobody_writing
from scenesearch.store.edge_faults import disk_faults, engine_faults
from scenesearch.store.edge_files import EdgeFiles
from scenesearch.store.edge_filter import as_filter, index_of
from scenesearch.store.edge_lock import LockHeld, command_words
from scenesearch.store.edge_turns import OpenCollection, Turns
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
from scenesearch.store.sparse import WORDS, SparseVector

# Points per engine operation: 2 MB of 512-d vectors, one entry of the write-ahead log.
_BATCH = 1000

# Vectors up to this size are scanned as they are.
_PLAIN_KB = 40_000

# Collections with more points than this get a graph.
_GRAPH_FROM = 100_000

# The engine scans all the same where no more points than this pass a filter, or exist.
_SCANNED = 400_000

# A filter breaks the graph's paths; ACORN also looks behind points that do not pass. It is not used
# where nearly all points pass and the paths are whole.
_SEARCH = engine.SearchParams(
    hnsw_ef=1024,
    acorn=engine.AcornSearchParams(enable=True, max_selectivity=0.9),
    quantization=engine.QuantizationSearchParams(rescore=True, oversampling=3.0),
)
_EXACT = engine.SearchParams(exact=True)


class EdgeStore:
    """The embedded home; `command` is how other processes' messages call this one.

    Processes take turns at a collection. When one of them keeps it for `lock_wait_s`, those that
    wait raise IndexBusy; `on_wait` receives a sentence about a long wait.
    """

    retried = 0  # nothing is between this process and its engine

    def __init__(
        self,
        root: Path,
        *,
        command: str | None = None,
        lock_wait_s: float = 5.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._files = EdgeFiles(root)
        self._turns = Turns(self._files, command or command_words(), lock_wait_s, on_wait)

    # Collections and aliases

    def create_collection(self, name: str, spec: CollectionSpec) -> None:
        check_name(name)
        indexes = {key_path(field.name): index_of(field) for field in spec.fields}
        with self._disk_faults(name):
            self._check_free(name)
            edge_room.check_room(self._files.root, name)
            lock = self._turns.lock(name, spec.library)
            try:
                self._check_free(name)  # another may have created it while this one waited
                folder = self._files.new_folder(name)
                with engine_faults(self._files.folder(name)):
                    build_shard(folder / "shard", _config(spec), indexes)
                self._files.write_spec(folder, spec)
                self._files.publish(folder, name)
            finally:
                lock.release()

    def describe(self, name: str) -> CollectionSpec:
        return self._files.spec(self.resolve(name))

    def add_fields(self, name: str, fields: Sequence[PayloadField]) -> None:
        with self._turns.using(name) as opened, self._turns.guard:
            added = new_fields(opened.spec, fields)
            if not added:
                return
            self._check_writable(opened)
            for field in added:
                opened.shard.update(
                    engine.UpdateOperation.create_field_index(key_path(field.name), index_of(field))
                )
            opened.is_written = True
            self._write_spec(opened, replace(opened.spec, fields=(*opened.spec.fields, *added)))

    def record(
        self, name: str, *, state: State | None = None, previous: str | None = None
    ) -> CollectionSpec:
        with self._turns.using(name) as opened, self._turns.guard:
            self._check_writable(opened)
            self._write_spec(opened, opened.spec.changed(state=state, previous=previous))
            return opened.spec

    def collections(self) -> list[str]:
        return self._files.collections()

    def delete_collection(self, name: str) -> None:
        with self._disk_faults(name):
            if not self._files.exists(name):
                raise self._files.missing(name)
            self._turns.release({name})
            lock = self._turns.lock(name, self._files.spec(name).library)
            try:
                if not self._files.exists(name):  # another deleted it while this one waited
                    raise self._files.missing(name)
                with self._turns.alone_with(name), lock.doing("deleting it"):
                    self._files.remove(name)
            finally:
                lock.release()

    def set_alias(self, alias: str, collection: str) -> None:
        with self._disk_faults(alias):
            if not self._files.exists(collection):
                raise self._files.missing(collection)
            if self._files.exists(alias):
                raise StoreError(f"{alias!r} is a collection and cannot be an alias")
            self._files.point_alias(alias, collection)

    def aliases(self) -> dict[str, str]:
        return self._files.aliases()

    def resolve(self, name: str) -> str:
        return self._files.resolve(name)

    # Points

    def upsert(self, name: str, points: Sequence[Point]) -> None:
        for start in range(0, len(points), _BATCH):
            with self._turns.using(name) as opened:
                self._check_writable(opened)
                prepared = [
                    engine.Point(point.id, _with_words(point.vector, point.words), point.payload)
                    for point in stored_points(points[start : start + _BATCH], opened.spec)
                ]
                opened.is_written = True
                with self._files.changing(opened.folder):
                    opened.shard.update(engine.UpdateOperation.upsert_points(prepared))

    def delete(self, name: str, image_ids: Sequence[str]) -> None:
        with self._turns.using(name) as opened:
            ids: list[engine.PointId] = [*point_ids(image_ids, opened.spec)]
            if ids:
                self._check_writable(opened)
                opened.is_written = True
                with self._files.changing(opened.folder):
                    opened.shard.update(engine.UpdateOperation.delete_points(ids))

    def retrieve(
        self, name: str, image_ids: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Point]:
        with self._turns.using(name) as opened:
            ids: list[engine.PointId] = [*point_ids(image_ids, opened.spec)]
            found = opened.shard.retrieve(ids, True, vector_names(with_vectors)) if ids else []
        return {point.image_id: point for point in points_of(found, opened.spec)}

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
        keys = payload_keys(payload)

        def fetch(
            offset: "engine.PointId | None",
        ) -> "tuple[list[engine.Record], engine.PointId | None]":
            with self._turns.using(collection) as opened:
                return opened.shard.scroll(
                    engine.ScrollRequest(
                        offset=offset,
                        limit=batch_size,
                        filter=as_filter(where, opened.spec),
                        with_payload=keys,
                        with_vector=vector_names(with_vectors),
                    )
                )

        yield from scrolled(fetch, self._files.spec(collection), after)

    def search(self, name: str, ask: Ask) -> list[ScoredPoint]:
        with self._turns.using(name) as opened:
            filter_ = as_filter(ask.where, opened.spec)

            def query(
                rank_by: ranking.EngineRankBy, limit: int, with_vectors: bool
            ) -> list[engine.ScoredPoint]:
                return opened.shard.query(_request(ask, filter_, rank_by, limit, with_vectors))

            return ranking.answer(ask, opened.spec, query)

    def count(self, name: str, *, where: Filter = ()) -> int:
        with self._turns.using(name) as opened:
            request = engine.CountRequest(exact=True, filter=as_filter(where, opened.spec))
            return opened.shard.count(request)

    def facet(
        self, name: str, field: str, *, where: Filter = (), limit: int = 100
    ) -> list[tuple[str | int | bool, int]]:
        with self._turns.using(name) as opened:
            declared = facet_field(field, opened.spec)
            request = engine.FacetRequest(
                key_path(field), limit=limit, exact=True, filter=as_filter(where, opened.spec)
            )
            hits = [(hit.value, hit.count) for hit in opened.shard.facet(request).hits]
        return ranking.by_count(hits, declared)

    # Upkeep

    def version(self, name: str) -> str:
        collection = self.resolve(name)
        return f"{collection} {self._files.version(collection)}"

    def flush(self, name: str) -> None:
        with self._disk_faults(name):
            if not self._turns.is_open(self.resolve(name)):
                return  # what was written was flushed when the collection was closed
        with self._turns.using(name) as opened:
            opened.flush()

    def optimize(self, name: str) -> None:
        with self._turns.using(name) as opened:
            count = opened.shard.info().points_count
            self._check_writable(
                opened, edge_room.to_optimize(opened.folder, count, opened.spec.dimension)
            )
            assert opened.lock is not None  # noqa: S101 - only a copy has none
            with opened.lock.doing("preparing it for fast search"):
                if count > _GRAPH_FROM:
                    # Opened anew, the shard takes the setting, and `optimize` builds the graph.
                    self._turns.reload(opened, _config(opened.spec, edges=16))
                # Takes a millisecond when no segment is large or full of deleted points.
                if opened.shard.optimize():
                    # Without it the next start replays the whole log: 1.3 s for 100,000 points.
                    opened.shard.flush()

    def release(self, name: str, *, if_wanted: bool = False) -> bool:
        collections = {self.resolve(name)}
        if name not in collections:
            # Also what the alias stood for before somebody moved it.
            collections |= self._turns.opened_of(library=name)
        return self._turns.release(collections, if_wanted=if_wanted)

    def working_on(self, name: str, *, wait_s: float | None = None) -> AbstractContextManager[None]:
        return self._turns.working_on(name, wait_s)

    def leftovers(self, *, remove: bool = False) -> list[Leftover]:
        with self._disk_faults("the store"):
            found = [Leftover("alias", name) for name in self._files.dangling()]
            for path in self._files.unfinished():
                name = path.name.partition("-")[2]
                with suppress(LockHeld), nobody_writing(self._files.lock(name), 0):
                    found.append(Leftover("folder", str(path)))
                    if remove:
                        shutil.rmtree(path, ignore_errors=True)
            for note in self._files.holders():
                file = note.with_name(note.name.replace(".holder.json", ".lock"))
                with suppress(LockHeld), nobody_writing(file, 0):
                    found.append(Leftover("lock", str(note)))
                    if remove:
                        note.unlink(missing_ok=True)
        return found

    def health(self) -> str:
        version = importlib.metadata.version("qdrant-edge-py")
        with self._disk_faults("the store"):
            count = len(self.collections())
        noun = "collection" if count == 1 else "collections"
        return f"Qdrant Edge {version}, embedded, {count} {noun} in {self._files.root}"

    def close(self) -> None:
        self._turns.close()

    def _check_free(self, name: str) -> None:
        if self._files.exists(name) or name in self._files.aliases():
            raise name_taken(name)

    def _check_writable(self, opened: OpenCollection, needed: int | None = None) -> None:
        """Raise StoreUnavailable for a copy, and NoRoom unless so many bytes are free."""
        root = self._files.root
        if opened.copy is not None:
            raise StoreUnavailable(
                f"cannot write collection {opened.name}: {root}: {opened.unwritable}"
            )
        edge_room.check_room(root, opened.name, needed)

    def _write_spec(self, opened: OpenCollection, spec: CollectionSpec) -> None:
        self._files.write_spec(opened.folder, spec)
        opened.spec = spec

    def _disk_faults(self, name: str) -> AbstractContextManager[None]:
        return disk_faults(name, self._files.root)


def _request(
    ask: Ask,
    filter_: engine.Filter | None,
    rank_by: ranking.EngineRankBy,
    limit: int,
    with_vectors: bool,
) -> engine.QueryRequest:
    vector = ask.vector.tolist()
    params = _EXACT if ask.exact else _SEARCH
    nearest = engine.Query.Nearest(vector)
    prefetches: list[engine.Prefetch] | None = None
    query: engine.ScoringQueryType
    match rank_by:
        case Cosine():
            query = nearest
        case ranking.Fused(words=words, fusion=fusion):
            by_words = engine.Query.Nearest(_sparse(words), using=WORDS)
            prefetches = [
                engine.Prefetch(ranking.POOL, query=nearest, filter=filter_, params=params),
                engine.Prefetch(ranking.POOL, query=by_words, filter=filter_),
            ]
            filter_ = None
            # The stubs do not say that both are kinds of Fusion.
            rrf, dbsf = engine.Fusion.Rrf(ranking.RRF_K), engine.Fusion.Dbsf()
            query = cast(engine.Fusion, rrf if fusion == "rrf" else dbsf)
        case ranking.ByWords(words=words):
            query = engine.Query.Nearest(_sparse(words), using=WORDS)
        case Diverse(diversity=diversity):
            query = engine.Mmr(vector, 1 - diversity, ranking.POOL)
        case Examples(right=right, wrong=wrong, weight=weight):
            query = engine.Query.RecommendSumScores(
                engine.RecommendQuery(
                    [vector] * weight + [example.tolist() for example in right],
                    [example.tolist() for example in wrong],
                )
            )
    return engine.QueryRequest(
        limit=limit,
        query=query,
        prefetches=prefetches,
        filter=filter_,
        params=params,
        with_payload=payload_keys(ask.payload),
        with_vector=vector_names(with_vectors),
        score_threshold=None if with_vectors else ask.min_cosine,
    )


def _config(spec: CollectionSpec, edges: int = 0) -> engine.EdgeConfig:
    """The engine's settings, for a graph with so many edges at each point, or no graph."""
    return engine.EdgeConfig(
        # Not read into memory in advance: the int8 copies are, and few vectors are read after them.
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


def _sparse(words: SparseVector) -> engine.SparseVector:
    return engine.SparseVector(words.indices, words.values)


def _with_words(vector: list[float], words: SparseVector | None) -> "engine.Vector":
    return vector if words is None else {"": vector, WORDS: _sparse(words)}
