"""`scenesearch ingest`."""

import sys
import time
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scenesearch.commands.common import (
    EncoderOption,
    LibraryOption,
    Meter,
    library_encoder,
    library_name,
    metering,
    open_store,
)
from scenesearch.commands.console import (
    NOTHING,
    JsonOption,
    fail,
    interrupted,
    print_json,
    progress_bar,
    read_settings,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.folder import NewFolder
    from ingest.pipeline import IngestOptions
    from ingest.report import IngestReport
    from ingest.shards import Shard
    from ingest.source import Source
    from scenesearch.encoder.base import Encoder
    from scenesearch.home.rejects import Rejects
    from scenesearch.home.settings import Settings
    from scenesearch.store.base import VectorStore


def ingest(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, pictures, tar shards, s3://, gs:// or http(s):// addresses, manifests "
            "(CSV, TSV, JSONL, Parquet); - reads paths from standard input, one a line.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Manifest with an 'image' column; PATH is where its pictures lie."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input end with NUL.")
    ] = False,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Threads that decode and encode; default: one per core."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Pictures encoded together; default: found out by the run."
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Threads of this machine, or Ray for a cluster (RAY_ADDRESS)."),
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Only the K-th of N shares of the pictures, for N workers; auto/N takes one that "
            "no other worker on this data folder has.",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove pictures below PATH whose files are gone."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --prune: only list what would be removed."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Then go on: bring in what changes below PATH until Ctrl-C."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring pictures with their metadata into a library; run it again to continue or refresh.

    Unchanged pictures are skipped, changed ones replaced, broken ones listed with their reason.
    """
    from ingest.folder import NewFolder
    from ingest.shards import WHOLE, held_shard
    from ingest.source import Roots
    from ingest.sources import find_sources
    from scenesearch.home.ingested import SOURCES
    from scenesearch.home.restore import is_unfinished, take_back_unfinished

    settings = read_settings()
    name = library_name(library or settings.library)
    if not paths and manifest is None:
        fail("nothing to ingest: give a folder, a picture or a manifest")
    if dry_run and not prune:
        fail("--dry-run goes with --prune: it lists what would be removed")
    folder = NewFolder(settings.library_dir(name))
    held = held_shard(shard, settings.library_dir(name) / "shards") if shard else nullcontext(WHOLE)
    options = ingest_options(
        settings,
        workers=workers,
        batch_size=batch_size,
        engine=engine,
        shard=context.with_resource(held),  # until the command ends
        prune=prune,
        dry_run=dry_run,
    )
    own = settings.library_dir(name)
    if is_unfinished(own):
        with open_store(settings, patient=True) as store:
            take_back_unfinished(store, name, own)
    roots = Roots(own / SOURCES)
    if watch and (manifest is not None or dry_run):
        fail("--watch goes with folders alone, not with --manifest or --dry-run")
    if watch and engine != "local":
        fail("--watch goes with the local engine: starting Ray takes longer than a burst")
    meter = context.with_resource(metering(settings))
    if watch:
        from scenesearch.commands.watch import run_watch

        with open_store(settings, patient=True) as store:
            loaded = library_encoder(settings, encoder, store, name, verify=True)
            timed = meter.timed(loaded)
            report = run_watch(paths or [], roots, name, timed, store, settings, options, meter)
        print_json(report.to_json()) if as_json else print_ingest_report(report)
        end_unmade(report, folder, options.shard)
        return
    sources = find_sources(
        paths or [],
        roots=roots,
        manifest=manifest,
        listed=sys.stdin.buffer,
        separator=b"\0" if null else b"\n",
    )
    if prune and not all(source.root for source in sources):
        fail("--prune needs folders, archives or manifests: single files say nothing of others")
    with open_store(settings, patient=True) as store:
        loaded = library_encoder(settings, encoder, store, name, verify=True)
        report = run_ingest(
            sources,
            name,
            meter.timed(loaded) if engine == "local" else loaded,
            store,
            settings,
            options=options,
            meter=meter,
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_ingest_report(report)
    end_unmade(report, folder, options.shard)
    if report.interrupted:
        interrupted("interrupted; run the same command again to continue")


def end_unmade(report: "IngestReport", folder: "NewFolder", shard: "Shard") -> None:
    """Where a first run could use nothing leave nothing behind; exits with 1 and says so."""
    from ingest.folder import unmade

    if report.collection:
        return
    if shard.of == 1:  # else other workers are at it
        folder.discard()
    if report.rejected and not report.interrupted:
        fail(unmade(report), NOTHING)


def run_ingest(
    sources: "Sequence[Source]",
    library: str,
    encoder: "Encoder",
    store: "VectorStore",
    settings: "Settings",
    *,
    options: "IngestOptions | None" = None,
    keep_thumbnails: bool = True,
    meter: Meter | None = None,
) -> "IngestReport":
    """Ingest with a progress bar on stderr; without thumbnails, rejects are not kept either."""
    from ingest.pipeline import ingest as start

    own = settings.library_dir(library) if keep_thumbnails else None
    if own:  # of a library that stays
        remember(settings, encoder)
    options = options or ingest_options(settings)
    turn = its_turn(settings, library, options.shard) if own else nullcontext()
    bar = nullcontext() if options.dry_run else progress_bar()
    with turn, rejects_of(own) as rejects, bar as progress:
        report = start(
            sources,
            library=library,
            encoder=encoder,
            store=store,
            library_dir=own,
            thumbnails_dir=own / "thumbnails" if own else None,
            rejects=rejects,
            options=options,
            on_progress=shown_by(progress, meter) if progress else None,
        )
        if not options.dry_run:
            tell(report, rejects, meter)
        return report


def tell(report: "IngestReport", rejects: "Rejects | None", meter: Meter | None = None) -> None:
    """Log a run that has ended, and count it."""
    from scenesearch.runtime.events import log_ingest

    log_ingest(
        {
            name: getattr(report, name)
            for name in (
                "library",
                "collection",
                "seen",
                "written",
                "skipped",
                "rejected",
                "removed",
                "moved",
                "retries",
                "interrupted",
            )
        }
        | {"seconds": round(report.seconds, 2)}
    )
    if meter is not None:
        meter.count(report)
        meter.count_rejects(report.library, 0 if rejects is None else rejects.count())


@contextmanager
def its_turn(settings: "Settings", library: str, shard: "Shard") -> "Iterator[None]":
    """One ingest of a shard at a time on this machine into a server's library.

    Two would write the same points and encode everything twice. The embedded home has a lock of
    its own; two machines are kept apart by shards.
    """
    if settings.qdrant_url is None:
        yield
        return
    from scenesearch.runtime.files import private_folder
    from scenesearch.store.edge_lock import Held, HolderLock, command_words

    part = "" if shard.of == 1 else f"-{shard.number}-of-{shard.of}"
    folder = settings.library_dir(library)
    private_folder(folder)
    lock = HolderLock(folder / f"ingest{part}.lock", command_words())
    try:
        lock.acquire(1.0)
    except Held as held:
        who = f"`{held.holder.command}` (process {held.holder.pid})" if held.holder else "another"
        fail(f"library {library} is being filled by {who}; wait for it, or share out with --shard")
    try:
        yield
    finally:
        lock.release()


def remember(settings: "Settings", encoder: "Encoder") -> None:
    from scenesearch.encoder.registry import remember_encoder

    remember_encoder(settings.known_encoders, encoder.info)


@contextmanager
def rejects_of(library_dir: Path | None) -> "Iterator[Rejects | None]":
    from scenesearch.home.rejects import FILE_NAME, Rejects

    if library_dir is None:
        yield None
        return
    with closing(Rejects(library_dir / FILE_NAME)) as rejects:
        yield rejects


def shown_by(progress: Any, meter: Meter | None = None) -> "Callable[[IngestReport], None]":
    """Keeps a bar up to date, ten times a second: a re-scan reports a thousand times as often."""
    task = progress.add_task("ingesting", total=None)
    shown_at = 0.0

    def show(report: "IngestReport") -> None:
        nonlocal shown_at
        if (now := time.monotonic()) - shown_at > 0.1 or report.seen == report.total:
            shown_at = now
            progress.update(task, total=report.total or None, completed=report.seen)
            if meter is not None:
                meter.count(report)

    return show


def ingest_options(
    settings: "Settings",
    *,
    workers: int | None = None,
    batch_size: int | None = None,
    engine: Literal["local", "ray"] = "local",
    **chosen: Any,
) -> "IngestOptions":
    """What the settings say, unless the command was told otherwise."""
    from ingest.pipeline import IngestOptions
    from scenesearch.encoder.onnx import usable_cores

    return IngestOptions(
        workers=workers or settings.threads or (usable_cores() if engine == "local" else 0),
        engine=engine,
        batch_size=batch_size or settings.batch_size,
        max_megapixels=settings.max_megapixels,
        **chosen,
    )


def print_ingest_report(report: "IngestReport") -> None:
    for image_id in report.removals:
        say(f"{'would remove' if report.dry_run else 'removed'}: {image_id}")
    for sentence in report.kept:
        say(sentence)
    if report.dry_run:
        typer.echo(f"{report.library}: {report.removed} would be removed; nothing was changed")
        return
    for path, note in report.notes:
        say(f"note: {path}: {note}")
    known = sum(reject.tries > 0 for reject in report.rejects)
    for reject in report.rejects:
        if not reject.tries:
            say(f"rejected: {reject.path}: {reject.reason}")
    unnamed = report.rejected - len(report.rejects)
    if known or unnamed:
        what = f"{known} rejected before and unchanged since" if known else f"{unnamed} more"
        lists = f"; `scenesearch library rejects --library {report.library}` lists all"
        say(f"{what}{lists if report.collection else ''}")
    typer.echo(
        f"{report.library}: {report.seen} seen, {report.written} written, "
        f"{report.skipped} skipped, {report.rejected} rejected, {report.removed} removed, "
        f"{report.moved} moved, "
        f"{report.images_per_s:.0f} pictures/s"
    )
