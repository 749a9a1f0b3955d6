"""Pictures into a collection: check, decode, encode, write.

    sources -> shard -> engine (local threads, or Ray) -> writer -> collection
                                                             \\-> table of rejects

Memory is bounded by the look-ahead, whatever the number of pictures. A run may be stopped at
any moment and started again: what the collection holds is not encoded again, and a picture
that was renamed or copied takes the vector of its twin.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.batches import BatchSize
from ingest.collections import new_spec
from ingest.local import LocalEngine
from ingest.prepare import Preparation
from ingest.prune import find_gone, forget_gone, remove
from ingest.ray_engine import RayEngine
from ingest.report import IngestReport
from ingest.shards import WHOLE, Shard
from ingest.source import Source
from ingest.writer import Writer
from scenesearch.encoder.base import Encoder
from scenesearch.library import check_library_name
from scenesearch.rejects import Rejects
from scenesearch.store.base import (
    CollectionMissing,
    StoreError,
    StoreUnavailable,
    VectorStore,
    check_encoder,
)
from scenesearch.store.catalog import next_name
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField, by_name, custom_fields

# Points are written so many at a time, or as many as two rounds of all workers.
_WRITE = 64


@dataclass(frozen=True)
class IngestOptions:
    """`workers` threads decode and encode (with Ray: actors, 0 for all cores), `batch_size`
    pictures at a time (None: found out by the run itself, see `BatchSize`). Every `flush_every`
    pictures are made safe against power loss. With `retry_rejects`, files that were rejected for
    good are opened again though they have not changed. Only the pictures of `shard` are looked
    at. With `prune`, points whose pictures below the sources' roots are gone are removed;
    `dry_run` only finds them, and brings nothing in."""

    workers: int = 2
    batch_size: int | None = None
    flush_every: int = 1600
    max_megapixels: float = 200
    retry_rejects: bool = False
    shard: Shard = WHOLE
    engine: Literal["local", "ray"] = "local"
    prune: bool = False
    dry_run: bool = False


def ingest(
    sources: Sequence[Source],
    *,
    library: str,
    encoder: Encoder,
    store: VectorStore,
    thumbnails_dir: Path | None = None,
    rejects: Rejects | None = None,
    options: IngestOptions | None = None,
    on_progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring the sources' pictures into the library's collection, making it when there is none.

    A picture that cannot be used is a reject in the report, never an exception. Ctrl-C ends the
    run with everything acknowledged kept and `interrupted` set. Raises StoreError when the store
    fails or the collection is another encoder's; what was written before stays. With `rejects`,
    what is left out is kept there, and not opened again until its file changes.
    """
    options = options or IngestOptions()
    roots = [source.root for source in sources if source.root]
    if options.dry_run:
        collection = store.resolve(library)
        gone = find_gone(store, collection, roots, options.shard)
        return IngestReport(
            library,
            collection,
            removed=len(gone.points),
            removals=sorted(point.image_id for point in gone.points),
            kept=list(gone.kept),
            dry_run=True,
        )
    collection = ensure_collection(store, library, encoder)
    with store.working_on(collection):
        return _fill(
            collection,
            sources,
            report=IngestReport(library, collection),
            encoder=encoder,
            store=store,
            thumbnails_dir=thumbnails_dir,
            rejects=rejects,
            options=options,
            roots=roots,
            on_progress=on_progress,
        )


def _fill(
    collection: str,
    sources: Sequence[Source],
    *,
    report: IngestReport,
    encoder: Encoder,
    store: VectorStore,
    thumbnails_dir: Path | None,
    rejects: Rejects | None,
    options: IngestOptions,
    roots: Sequence[str],
    on_progress: Callable[[IngestReport], None] | None,
) -> IngestReport:
    """Bring everything into the collection that this process alone works on."""
    declare_fields(store, collection, BUILTIN_FIELDS)
    for source in sources:
        store.add_fields(collection, custom_fields(source.fields))
    report.total = sum(source.count for source in sources) // options.shard.of
    started, retried = time.perf_counter(), store.retried
    batch_size = BatchSize(options.batch_size)
    writer = Writer(
        store,
        collection,
        rejects,
        report,
        flush_every=options.flush_every,
        write_batch=max(_WRITE, 2 * (options.workers + 1) * (options.batch_size or 8)),
    )
    for source in sources:
        writer.source(source)
    preparation = Preparation(
        encoder,
        thumbnails_dir=thumbnails_dir,
        max_megapixels=options.max_megapixels,
        retry_rejects=options.retry_rejects,
    )
    engine: LocalEngine | RayEngine
    if options.engine == "ray":
        engine = RayEngine(
            encoder,
            preparation,
            writer,
            workers=options.workers,
            batch_size=batch_size.current,
        )
    else:
        engine = LocalEngine(
            encoder, preparation, writer, workers=options.workers, batch_size=batch_size
        )
    records = (
        record
        for source in sources
        for record in source.records()
        if options.shard.holds(record.image_id)
    )
    progress = engine.run(records)
    try:
        for _ in progress:
            report.seconds = time.perf_counter() - started
            if on_progress is not None:
                on_progress(report)
    except KeyboardInterrupt:
        progress.close()
        report.interrupted = True
    report.batch_size = batch_size.current
    report.retries += store.retried - retried
    store.flush(collection)
    if options.prune and not report.interrupted:
        gone = find_gone(store, collection, roots, options.shard)
        remove(store, collection, gone.points, thumbnails_dir=thumbnails_dir, rejects=rejects)
        if rejects is not None:
            forget_gone(rejects, roots)
        report.removals = sorted(point.image_id for point in gone.points)
        report.removed, report.kept = len(gone.points), list(gone.kept)
    if not report.interrupted:
        store.optimize(collection)
    report.seconds = time.perf_counter() - started
    return report


def declare_fields(store: VectorStore, collection: str, fields: Sequence[PayloadField]) -> None:
    """Index what a collection of an earlier version lacks; a column of its own keeps its type."""
    known = by_name(store.describe(collection).fields)
    store.add_fields(collection, [field for field in fields if field.name not in known])


def ensure_collection(store: VectorStore, library: str, encoder: Encoder) -> str:
    """The collection behind the library's alias, made and aliased when the library is new.

    Several workers may start at the same moment: one makes it, the others find it made.
    """
    check_library_name(library)
    info = encoder.info
    try:
        spec = store.describe(library)
    except CollectionMissing:
        # Its name is the same for all who begin at this moment: one makes it, the others find it.
        name = f"{library}-{info.name.lower()}-1"
        try:
            store.create_collection(name, new_spec(library, info, BUILTIN_FIELDS))
        except StoreUnavailable:
            raise
        except StoreError:
            there = store.describe(name)
            # What is being restored is nobody else's.
            if there.fingerprint != info.fingerprint or there.state != "ready":
                name = next_name(store, library, info.name)
                store.create_collection(name, new_spec(library, info, BUILTIN_FIELDS))
        store.set_alias(library, name)
        spec = store.describe(library)
    check_encoder(spec, name=info.name, fingerprint=info.fingerprint, dimension=info.dimension)
    return store.resolve(library)
