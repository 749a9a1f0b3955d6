"""Pictures into a collection: check, decode, encode, write.

    sources -> shard -> engine (local threads, or Ray) -> writer -> collection -> moves, prune
                                                             \\-> table of rejects, journal

Memory is bounded by the look-ahead, whatever the number of pictures. A run may be stopped at
any moment and started again: what the collection holds is not encoded again, and a picture
that was renamed or copied takes the vector of its twin.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.batches import BatchSize
from ingest.collections import new_spec
from ingest.journal import Journal, Step, journal_file
from ingest.local import LocalEngine
from ingest.moves import Follow, Places, forget_moved, hand_over, settle
from ingest.prepare import Preparation
from ingest.prune import find_gone, forget_gone, place_of, remove
from ingest.ray_engine import RayEngine
from ingest.report import IngestReport
from ingest.shards import WHOLE, Shard
from ingest.source import Roots, Source
from ingest.thumbnails import sweep
from ingest.writer import Writer
from scenesearch.encoder.base import Encoder
from scenesearch.home.picture_renames import apply_renames
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.records import check_library_name
from scenesearch.store.base import (
    CollectionMissing,
    NoRoom,
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
    library_dir: Path | None = None,
    thumbnails_dir: Path | None = None,
    rejects: Rejects | None = None,
    options: IngestOptions | None = None,
    on_progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Bring the sources' pictures into the library's collection.

    A new library's is made when the first picture is written: where nothing could be used there is
    none, and the report names none. Pictures that have moved take the place of their old ones; in
    `library_dir` lies what is to follow them, and what a run that was killed has left to do.

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
    kept_in = journal_file(library_dir, options.shard) if library_dir else None
    with closing(Journal(kept_in)) as journal, ExitStack() as work:
        return _ingest(
            sources,
            library,
            encoder,
            store,
            work,
            journal,
            library_dir,
            thumbnails_dir,
            rejects,
            options,
            on_progress,
        )


def _ingest(
    sources: Sequence[Source],
    library: str,
    encoder: Encoder,
    store: VectorStore,
    work: ExitStack,
    journal: Journal,
    library_dir: Path | None,
    thumbnails_dir: Path | None,
    rejects: Rejects | None,
    options: IngestOptions,
    on_progress: Callable[[IngestReport], None] | None,
) -> IngestReport:
    def declare(collection: str) -> str:
        work.enter_context(store.working_on(collection))
        declare_fields(store, collection, BUILTIN_FIELDS)
        for source in sources:
            store.add_fields(collection, custom_fields(source.fields))
        return collection

    roots = [source.root for source in sources if source.root]
    places = Places(_known_roots(library_dir, sources), asked=roots)
    rename = following(store, library, library_dir)
    collection = existing_collection(store, library, encoder)
    moved = 0
    if collection:
        declare(collection)
        if journal.step != Step.COLLECTING:  # a run that was killed had got so far
            moved = settle(store, collection, journal, places, rejects=rejects, follow=rename)
    total = sum(source.count for source in sources) // options.shard.of
    report = IngestReport(library, collection, total=total, moved=moved)
    started, retried = time.perf_counter(), store.retried
    batch_size = BatchSize(options.batch_size)
    writer = Writer(
        store,
        collection,
        rejects,
        report,
        journal,
        make=lambda: declare(ensure_collection(store, library, encoder)),
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

    def tick() -> None:
        report.seconds = time.perf_counter() - started
        if on_progress is not None:
            on_progress(report)

    try:
        for _ in progress:
            tick()
    except KeyboardInterrupt:
        progress.close()
        report.interrupted = True
    report.batch_size = batch_size.current
    report.retries += store.retried - retried
    collection = report.collection
    if collection:
        store.flush(collection)
    if collection and not report.interrupted:
        try:
            report.moved += settle(
                store, collection, journal, places, rejects=rejects, follow=rename, tick=tick
            )
        except KeyboardInterrupt:
            report.interrupted = True  # the next run goes on with it
    if collection and not report.interrupted:
        if options.prune:
            gone = find_gone(store, collection, roots, options.shard)
            hand_over(store, collection, journal, gone.points, follow=rename)
            remove(store, collection, gone.points, journal, rejects=rejects)
            if rejects is not None:
                forget_gone(rejects, roots)
            report.removals = sorted(point.image_id for point in gone.points)
            report.removed, report.kept = len(gone.points), list(gone.kept)
        if rejects is not None:
            forget_moved(rejects, places)
        sweep(store, library, journal, thumbnails_dir)
        try:
            store.optimize(collection)
        except NoRoom as error:  # all is written, and found by a slower search
            report.kept.append(
                f"{library} is complete, but not prepared for fast search: {error}; make room and "
                "run the same command again"
            )
    report.seconds = time.perf_counter() - started
    return report


def _known_roots(library_dir: Path | None, sources: Sequence[Source]) -> list[str]:
    """Folders and addresses that the library was filled from, without a slash at their end."""
    remembered = Roots(library_dir / "sources.json").known if library_dir else ()
    given = (place_of(source.root) for source in sources if source.root)
    return list(dict.fromkeys([*remembered, *given]))


def following(store: VectorStore, library: str, library_dir: Path | None) -> Follow | None:
    """What gives marks and saved requests in the library's folder new names; None without one."""
    if library_dir is None:
        return None

    def give(names: Mapping[str, str], once: int) -> None:
        apply_renames(library_dir, names, store.describe(library).fields, once=once)

    return give


def declare_fields(store: VectorStore, collection: str, fields: Sequence[PayloadField]) -> None:
    """Index what a collection of an earlier version lacks; a column of its own keeps its type."""
    known = by_name(store.describe(collection).fields)
    store.add_fields(collection, [field for field in fields if field.name not in known])


def existing_collection(store: VectorStore, library: str, encoder: Encoder) -> str:
    """The collection behind the library's alias, '' for none; raises EncoderMismatch."""
    check_library_name(library)
    info = encoder.info
    try:
        spec = store.describe(library)
    except CollectionMissing:
        return ""
    check_encoder(spec, name=info.name, fingerprint=info.fingerprint, dimension=info.dimension)
    return store.resolve(library)


def ensure_collection(store: VectorStore, library: str, encoder: Encoder) -> str:
    """The collection behind the library's alias, made and aliased when the library is new.

    Several workers may start at the same moment: one makes it, the others find it made.
    """
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
