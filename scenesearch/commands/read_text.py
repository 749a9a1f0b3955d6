"""`scenesearch library read-text`, and the same at the end of `scenesearch ingest --ocr`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import JsonOption, interrupted, print_json, progress_bar, say
from scenesearch.commands.ingesting import only_ingest, print_text_report

if TYPE_CHECKING:
    from ingest.shards import Shard
    from ingest.text_report import TextReport
    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore


def read_text(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Pictures read at a time; default: one per core."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the text in pictures (signs, screens, receipts, pages), so that it is searched.

    Needs the extra 'ocr'. A picture is read once. Run it again to continue after a stop, or for
    pictures that were added since; `ingest --ocr` reads those it adds.
    """
    from ingest.shards import WHOLE
    from ingest.text_reader import check_text_reader

    installation, name = choose_library(library, named)
    check_text_reader()
    with installation.store(patient=True) as store:
        store.describe(name)  # says which libraries there are
        with only_ingest(installation, name, WHOLE):
            report = run_read_text(name, store, installation, workers=workers)
    if as_json:
        print_json(report.to_json())
    else:
        print_text_report(report)
    if report.interrupted:
        interrupted("interrupted; run the same command again to continue")


def run_read_text(
    library: str,
    store: "VectorStore",
    installation: "Installation",
    *,
    workers: int | None = None,
    shard: "Shard | None" = None,
) -> "TextReport":
    """Read the library's text with a progress bar on stderr."""
    from ingest.read_text import ReadTextOptions
    from ingest.read_text import read_text as read_library
    from ingest.shards import WHOLE
    from scenesearch.encoder.onnx import usable_cores

    settings = installation.settings
    with installation.files(library).open_texts() as texts, progress_bar() as progress:
        task: Any = progress.add_task("reading text", total=None)
        return read_library(
            library,
            store=store,
            originals=installation.originals,
            texts=texts,
            options=ReadTextOptions(
                workers=workers or settings.threads or usable_cores(),
                seconds=settings.ocr_seconds,
                max_megapixels=settings.max_megapixels,
                shard=shard or WHOLE,
            ),
            on_progress=lambda now: progress.update(task, total=now.total, completed=now.seen),
            on_wait=say,
        )
