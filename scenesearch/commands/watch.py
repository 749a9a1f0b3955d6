"""`scenesearch ingest --watch`: folders and a library kept alike until Ctrl-C."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from scenesearch.commands.common import Meter
from scenesearch.commands.console import fail, progress_bar, say
from scenesearch.commands.ingest import its_turn, rejects_of, remember, shown_by, tell
from scenesearch.home import logs
from scenesearch.runtime import signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.pipeline import IngestOptions
    from ingest.report import IngestReport
    from ingest.source import Roots
    from scenesearch.encoder.base import Encoder
    from scenesearch.home.settings import Settings
    from scenesearch.store.base import VectorStore


def run_watch(
    paths: "Sequence[str]",
    roots: "Roots",
    library: str,
    encoder: "Encoder",
    store: "VectorStore",
    settings: "Settings",
    options: "IngestOptions",
    meter: Meter,
) -> "IngestReport":
    """Keep folders and library alike until Ctrl-C; returns the counts of all of it."""
    from ingest.watch import Watched, watch

    folders = [Path(path).resolve() for path in paths]
    for folder in folders:
        if not folder.is_dir():
            fail(f"--watch: {folder} is no folder")
    folders = [f for f in dict.fromkeys(folders) if not any(o in f.parents for o in folders)]
    remember(settings, encoder)
    logs.configure(settings, service=True)
    own, stop = settings.library_dir(library), threading.Event()
    signals.install_handlers(stop.set)  # asked twice: at once
    with its_turn(settings, library, options.shard), rejects_of(own) as rejects:
        watched = Watched(
            folders=folders,
            roots=roots,
            library=library,
            encoder=encoder,
            store=store,
            say=say,
            library_dir=own,
            thumbnails_dir=own / "thumbnails",
            rejects=rejects,
            options=options,
        )
        with progress_bar() as progress:
            reports = watch(watched, stop, on_progress=shown_by(progress, meter))
            total = next(reports)
            tell(total, rejects, meter)
        if not stop.is_set():
            say(f"{total.written} written; watching {', '.join(map(str, folders))} until Ctrl-C")
        for report in reports:
            tell(report, rejects, meter)
            total.add(report)
            for reject in report.rejects:
                say(f"rejected: {reject.path}: {reject.reason}")
            say(
                f"{report.written} written, {report.removed} removed, {report.moved} moved, "
                f"{report.rejected} rejected"
            )
    signals.first_notice()  # to be stopped is how it ends
    total.interrupted = False
    return total
