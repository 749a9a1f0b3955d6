"""`scenesearch ingest --watch`: a library follows its folders until Ctrl-C."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from scenesearch.commands.console import fail, progress_bar, say
from scenesearch.commands.ingesting import (
    Meter,
    log_run,
    only_ingest,
    print_text_report,
    show_progress,
)
from scenesearch.commands.read_text import run_read_text
from scenesearch.home import logs
from scenesearch.runtime import signals
from scenesearch.runtime.cancel import cancelled_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline import IngestOptions
    from ingest.report import IngestReport
    from ingest.sources.excludes import Excludes
    from ingest.sources.roots import Roots
    from scenesearch.encoder.base import Encoder
    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore


def run_watch(
    paths: "Sequence[str]",
    roots: "Roots",
    library: str,
    encoder: "Encoder",
    store: "VectorStore",
    installation: "Installation",
    options: "IngestOptions",
    meter: Meter,
    excludes: "Excludes",
    *,
    reads_text: bool = False,
) -> "IngestReport":
    """Bring in what changes in the folders until Ctrl-C; returns the counts of all of it."""
    from ingest.watch import Watched, watch

    folders = [Path(path).resolve() for path in paths]
    for folder in folders:
        if not folder.is_dir():
            fail(f"--watch: {folder} is no folder")
    folders = [f for f in dict.fromkeys(folders) if not any(o in f.parents for o in folders)]
    installation.remember_encoder(encoder)
    logs.configure(installation.settings, service=True)
    files, stop = installation.files(library), threading.Event()
    signals.install_handlers(stop.set)  # a second signal ends the process at once

    def read_text(report: "IngestReport") -> None:
        if reads_text and report.written and not stop.is_set():
            with cancelled_by(lambda: _stop_at(stop)):
                print_text_report(run_read_text(library, store, installation, shard=options.shard))

    with only_ingest(installation, library, options.shard), files.open_rejects() as rejects:
        watched = Watched(
            folders=folders,
            roots=roots,
            library=library,
            encoder=encoder,
            store=store,
            say=say,
            library_dir=files.folder,
            thumbnails_dir=files.thumbnails,
            rejects=rejects,
            excludes=excludes,
            options=options,
        )
        with progress_bar() as progress:
            reports = watch(watched, stop, on_progress=show_progress(progress, meter))
            total = next(reports)
            log_run(total, rejects, meter)
        read_text(total)
        if not stop.is_set():
            say(f"{total.written} written; watching {', '.join(map(str, folders))} until Ctrl-C")
        for report in reports:
            log_run(report, rejects, meter)
            read_text(report)
            total.add(report)
            for reject in report.rejects:
                say(f"rejected: {reject.path}: {reject.reason}")
            say(
                f"{report.written} written, {report.removed} removed, {report.moved} moved, "
                f"{report.rejected} rejected"
            )
    signals.first_notice()  # a signal is the normal end, so nothing is said about it
    total.interrupted = False
    return total


def _stop_at(stop: threading.Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt
