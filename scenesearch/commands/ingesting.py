"""What the commands that ingest share: a run with its bar, lock and figures, and its report."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import typer

from scenesearch.commands.console import fail, interrupted, print_json, progress_bar, say

if TYPE_CHECKING:
    from ingest.build import BuildReport
    from ingest.pipeline import IngestOptions
    from ingest.report import IngestReport
    from ingest.shards import Shard
    from ingest.sources.base import Source
    from ingest.text_report import TextReport
    from scenesearch.encoder.base import Encoder
    from scenesearch.home.installation import Installation
    from scenesearch.home.rejects import Rejects
    from scenesearch.home.settings import Settings
    from scenesearch.store.base import VectorStore

_Report = TypeVar("_Report", "IngestReport", "BuildReport")


@dataclass(frozen=True)
class Meter:
    """Counts runs of ingest for Prometheus; by default nothing is counted.

    `timed` gives an encoder whose time counts.
    """

    count: "Callable[[IngestReport], None]" = lambda report: None
    timed: "Callable[[Encoder], Encoder]" = lambda encoder: encoder
    count_rejects: "Callable[[str, int], None]" = lambda library, count: None


@contextmanager
def metering(settings: "Settings") -> Iterator[Meter]:
    """Serve metrics inside the block, where the settings give an address."""
    if settings.metrics_address is None:
        yield Meter()
        return
    from scenesearch.home.prometheus import REJECTS, IngestMeter, TimedEncoder, serve

    close = serve(settings.metrics_address)
    try:
        yield Meter(IngestMeter(), TimedEncoder, lambda name, n: REJECTS.labels(name).set(n))
    finally:
        close()


def run_ingest(
    sources: "Sequence[Source]",
    library: str,
    encoder: "Encoder",
    store: "VectorStore",
    installation: "Installation",
    *,
    options: "IngestOptions | None" = None,
    keeps_files: bool = True,
    meter: Meter | None = None,
    counts_file: Path | None = None,
) -> "IngestReport":
    """Ingest with a progress bar on stderr, and the counts in a file if one is given.

    Without `keeps_files`, for a library that is soon deleted, there are no thumbnails and no
    rejects, and the encoder is not remembered.
    """
    from ingest.pipeline import ingest

    options, meter = options or ingest_options(installation.settings), meter or Meter()
    with ExitStack() as stack:
        files = rejects = progress = None
        if keeps_files:
            files = installation.files(library)
            installation.remember_encoder(encoder)
            stack.enter_context(only_ingest(installation, library, options.shard))
            rejects = stack.enter_context(files.open_rejects())
        if not options.dry_run:
            progress = stack.enter_context(progress_bar())
        report = ingest(
            sources,
            library=library,
            encoder=encoder,
            store=store,
            library_dir=files.folder if files else None,
            thumbnails_dir=files.thumbnails if files else None,
            rejects=rejects,
            options=options,
            on_progress=show_progress(progress, meter, counts_file) if progress else None,
        )
        if not options.dry_run:
            log_run(report, rejects, meter)
        return report


@contextmanager
def only_ingest(installation: "Installation", library: str, shard: "Shard") -> Iterator[None]:
    """Keep other ingests on this machine out of a server's library, or of one shard of it.

    Two would write the same points and encode everything twice. The embedded store has a lock of
    its own; two machines are kept apart by shards.
    """
    if installation.settings.qdrant_url is None:
        yield
        return
    from scenesearch.runtime.files import private_folder
    from scenesearch.store.edge_lock import HolderLock, LockHeld, command_words

    part = "" if shard.of == 1 else f"-{shard.number}-of-{shard.of}"
    folder = private_folder(installation.files(library).folder)
    lock = HolderLock(folder / f"ingest{part}.lock", command_words())
    try:
        lock.acquire(1.0)
    except LockHeld as held:
        who = f"`{held.holder.command}` (process {held.holder.pid})" if held.holder else "another"
        fail(f"library {library} is being filled by {who}; wait for it, or share out with --shard")
    try:
        yield
    finally:
        lock.release()


def log_run(report: "IngestReport", rejects: "Rejects | None", meter: Meter) -> None:
    """Log and count a run that has ended."""
    from scenesearch.runtime.events import log_ingest

    logged = ("library", "collection", "seen", "written", "skipped", "rejected", "removed", "moved")
    figures = {name: getattr(report, name) for name in (*logged, "retries", "interrupted")}
    log_ingest(figures | {"seconds": round(report.seconds, 2)})
    meter.count(report)
    meter.count_rejects(report.library, 0 if rejects is None else rejects.count())


def show_progress(
    progress: Any, meter: Meter, counts_file: Path | None = None
) -> "Callable[[IngestReport], None]":
    """Updates a bar ten times a second, and the file once a second; a re-scan reports a thousand
    times as often."""
    task = progress.add_task("ingesting", total=None)
    shown_at = written_at = 0.0

    def show(report: "IngestReport") -> None:
        nonlocal shown_at, written_at
        now, is_last = time.monotonic(), report.seen == report.total
        if now - shown_at > 0.1 or is_last:
            shown_at = now
            progress.update(task, total=report.total or None, completed=report.seen)
            meter.count(report)
        if counts_file is not None and (now - written_at > 1 or is_last):
            written_at = now
            _write_counts(counts_file, report)

    return show


def _write_counts(file: Path, report: "IngestReport") -> None:
    from scenesearch.runtime.files import atomic_writer

    names = ("total", "seen", "written", "skipped", "rejected", "removed", "moved")
    counts = {name: getattr(report, name) for name in names}
    with atomic_writer(file, private=True) as out:
        out.write(json.dumps(counts).encode())


def ingest_options(
    settings: "Settings",
    *,
    workers: int | None = None,
    batch_size: int | None = None,
    engine: Literal["local", "ray"] = "local",
    **chosen: Any,
) -> "IngestOptions":
    """The options of the command; where it gives none, those of the settings."""
    from ingest.pipeline import IngestOptions
    from scenesearch.encoder.onnx import usable_cores

    return IngestOptions(
        workers=workers or settings.threads or (usable_cores() if engine == "local" else 0),
        engine=engine,
        batch_size=batch_size or settings.batch_size,
        max_megapixels=settings.max_megapixels,
        **chosen,
    )


def end_run(
    report: _Report, print_report: Callable[[_Report], None], *, as_json: bool = False
) -> None:
    """Print the report; a run that was interrupted ends the command."""
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report)
    if report.interrupted:
        interrupted("interrupted; run the same command again to continue")


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
    rejected_before = sum(reject.tries > 0 for reject in report.rejects)
    for reject in report.rejects:
        if not reject.tries:
            say(f"rejected: {reject.path}: {reject.reason}")
    unnamed = report.rejected - len(report.rejects)
    if rejected_before or unnamed:
        what = f"{unnamed} more"
        if rejected_before:
            what = f"{rejected_before} rejected before and unchanged since"
        lists = f"; `scenesearch library rejects --library {report.library}` lists all"
        say(f"{what}{lists if report.collection else ''}")
    typer.echo(
        f"{report.library}: {report.seen} seen, {report.written} written, "
        f"{report.skipped} skipped, {report.rejected} rejected, {report.removed} removed, "
        f"{report.moved} moved, "
        f"{report.images_per_s:.0f} pictures/s"
    )
    if report.text is not None:
        print_text_report(report.text)


def print_text_report(report: "TextReport") -> None:
    for path, reason in report.reasons.items():
        say(f"text not read: {path}: {reason}")
    if report.failed > len(report.reasons):
        say(f"text not read of {report.failed - len(report.reasons)} more")
    cut = f", {report.cut} of them only in part" if report.cut else ""
    typer.echo(
        f"{report.library}: text of {report.read} pictures read{cut}, {report.with_text} of them "
        f"show text, {report.reused} known, {report.skipped} read before, {report.failed} failed, "
        f"{report.images_per_s:.1f} pictures/s"
    )
