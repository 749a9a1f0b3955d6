"""Brings pictures into a collection: check, decode, encode, write.

    sources -> shard -> engine (local threads, or Ray) -> writer -> collection -> moves, prune
                                                             \\-> table of rejects, journal

Memory is bounded by the look-ahead, whatever the number of pictures. A run may be stopped at
any moment and started again: what the collection holds is not encoded again, and a picture
that was renamed or copied takes the vector of its twin.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ingest.batch_size import BatchSize
from ingest.collection import declare_fields, ensure_collection, existing_collection
from ingest.journal import Journal, Step, journal_file
from ingest.library_writer import LibraryWriter
from ingest.local_engine import LocalEngine
from ingest.moves import Moves, OldPlaces, forget_moved
from ingest.picture_reader import PictureReader, SeenContents
from ingest.prune import Gone, find_gone, forget_gone, place_of
from ingest.ray_engine import RayEngine
from ingest.report import IngestReport
from ingest.shards import WHOLE, Shard
from ingest.sources.base import Source
from ingest.sources.roots import Roots
from ingest.thumbnails import delete_unused_thumbnails
from scenesearch.encoder.base import Encoder
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.rejects import Rejects
from scenesearch.home.roots import SOURCES
from scenesearch.store.base import NoRoom, VectorStore

# Points are written so many at a time, or as many as two rounds of all workers.
_WRITE = 64


@dataclass(frozen=True)
class IngestOptions:
    """`workers` threads decode and encode (with Ray: actors, 0 for all cores), `batch_size`
    pictures at a time (None: found out by the run itself, see `BatchSize`). Every `flush_every`
    pictures are made safe against power loss. With `retry_rejects`, files that were rejected for
    good are opened again though they have not changed. Only the pictures of `shard` are looked
    at. With `prune`, points whose pictures below the sources' roots are gone are removed;
    `confirm_absent` is asked about folders that are gone or empty, with the number of their
    pictures. `dry_run` only finds them, and brings nothing in."""

    workers: int = 2
    batch_size: int | None = None
    flush_every: int = 1600
    max_megapixels: float = 200
    retry_rejects: bool = False
    shard: Shard = WHOLE
    engine: Literal["local", "ray"] = "local"
    prune: bool = False
    dry_run: bool = False
    confirm_absent: Callable[[Path, int], bool] = lambda folder, count: False


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

    The collection of a new library is made when the first picture is written; if nothing could be
    used, there is none and the report names none. A picture that has moved replaces its old point.
    In `library_dir` are the marks and saved requests that follow it, and the journal.

    A picture that cannot be used is a reject in the report, never an exception. Ctrl-C ends the
    run with everything acknowledged kept and `interrupted` set. Raises StoreError when the store
    fails or the collection is another encoder's; what was written before stays. With `rejects`,
    what is left out is kept there, and not opened again until its file changes.
    """
    options = options or IngestOptions()
    roots = [source.root for source in sources if source.root]
    known = _known_roots(library_dir, sources)
    left_out = partial(_is_left_out, sources, known)

    def find(collection: str) -> Gone:
        confirm = options.confirm_absent
        return find_gone(
            store, collection, roots, options.shard, left_out=left_out, confirm=confirm
        )

    if options.dry_run:
        report = IngestReport(library, store.resolve(library), dry_run=True)
        gone = find(report.collection)
        report.count_removed(gone.points, gone.kept)
        return report
    file = journal_file(library_dir, options.shard) if library_dir else None
    with closing(Journal(file)) as journal, ExitStack() as work:
        texts = None
        if library_dir is not None:
            texts = work.enter_context(LibraryFiles(library_dir).texts_if_any())

        def declare(collection: str) -> str:
            work.enter_context(store.working_on(collection))
            declare_fields(store, collection, sources)
            return collection

        places = OldPlaces(known, asked=roots)
        collection = existing_collection(store, library, encoder)
        report = IngestReport(library, collection)
        if collection:
            declare(collection)
            if journal.step != Step.COLLECTING:  # a run that was killed had got so far
                moves = Moves(store, collection, journal, library_dir, rejects)
                report.moved = moves.apply(places)
        report.total = sum(source.count for source in sources) // options.shard.of
        started, retried = time.perf_counter(), store.retried

        def on_step() -> None:
            report.seconds = time.perf_counter() - started
            if on_progress is not None:
                on_progress(report)

        writer = LibraryWriter(
            store,
            collection,
            rejects,
            report,
            journal,
            make=lambda: declare(ensure_collection(store, library, encoder)),
            flush_every=options.flush_every,
            write_batch=max(_WRITE, 2 * (options.workers + 1) * (options.batch_size or 8)),
            texts=texts,
        )
        for source in sources:
            writer.source(source)
        _bring_in(sources, encoder, writer, report, thumbnails_dir, options, on_step)
        report.retries += store.retried - retried
        if report.collection:
            store.flush(report.collection)
        if report.collection and not report.interrupted:
            moves = Moves(store, report.collection, journal, library_dir, rejects, on_step)
            try:
                report.moved += moves.apply(places)
            except KeyboardInterrupt:
                report.interrupted = True  # the next run goes on with it
        if report.collection and not report.interrupted:
            if options.prune:
                gone = find(report.collection)
                moves.remove(gone.points)
                if rejects is not None:
                    forget_gone(rejects, roots, left_out)
                report.count_removed(gone.points, gone.kept)
            if rejects is not None:
                forget_moved(rejects, places)
            delete_unused_thumbnails(store, library, journal, thumbnails_dir, texts)
            try:
                store.optimize(report.collection)
            except NoRoom as error:  # all is written, and found by a slower search
                report.kept.append(
                    f"{library} is complete, but not prepared for fast search: {error}; make room "
                    "and run the same command again"
                )
        report.seconds = time.perf_counter() - started
        return report


def _bring_in(
    sources: Sequence[Source],
    encoder: Encoder,
    writer: LibraryWriter,
    report: IngestReport,
    thumbnails_dir: Path | None,
    options: IngestOptions,
    on_step: Callable[[], None],
) -> None:
    """Check, decode, encode and write every picture of the sources that is in the shard."""
    reader = PictureReader(
        encoder,
        thumbnails_dir=thumbnails_dir,
        max_megapixels=options.max_megapixels,
        retry_rejects=options.retry_rejects,
        seen=SeenContents() if options.engine == "local" else None,
    )
    records = (
        record
        for source in sources
        for record in source.records()
        if options.shard.holds(record.image_id)
    )
    batch_size = BatchSize(options.batch_size)
    if options.engine == "ray":
        workers, size = options.workers, batch_size.current
        progress = RayEngine(encoder, reader, writer, workers=workers, batch_size=size).run(records)
    else:
        engine = LocalEngine(encoder, writer, workers=options.workers, batch_size=batch_size)
        progress = engine.run(engine.check(records, reader, writer), reader.open)
    try:
        with closing(progress):
            for _ in progress:
                on_step()
    except KeyboardInterrupt:
        report.interrupted = True
    report.batch_size = batch_size.current


def _is_left_out(sources: Sequence[Source], known: Sequence[str], path: str) -> bool:
    """Whether the pattern of a source leaves out the path, which may be in the library from before.

    A folder that was given as a path of its own is wanted.
    """
    for source in sources:
        if source.root and path.startswith(source.root) and source.leaves_out(path):
            return not any(
                path.startswith(f"{root}{os.sep}") and source.leaves_out(f"{root}{os.sep}x")
                for root in known
                if root.startswith(source.root)
            )
    return False


def _known_roots(library_dir: Path | None, sources: Sequence[Source]) -> list[str]:
    """Folders and addresses that the library was filled from, without a slash at their end."""
    remembered = Roots(library_dir / SOURCES).known if library_dir else ()
    given = (place_of(source.root) for source in sources if source.root)
    return list(dict.fromkeys([*remembered, *given]))
