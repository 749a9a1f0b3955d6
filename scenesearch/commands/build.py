"""`scenesearch library build`: a collection with another encoder, beside the live one."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import JsonOption, progress_bar, say
from scenesearch.commands.ingesting import end_run

if TYPE_CHECKING:
    from ingest.build import BuildReport
    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore

# So many pictures that could not be used are named; --json names all.
_MOST_NAMED = 20


def build(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="Encoder of the new collection, by name or folder. Default: the library's own, "
            "or the one that has its name now, and every picture is encoded again.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Threads that decode and encode; default: one per core."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures encoded together.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a collection with another encoder, while the live one keeps answering.

    Pictures are encoded again from their originals; where only the text side of the encoder
    changed, vectors are copied. Run it again to continue after a stop, or to bring it up to date.
    """
    from ingest.build import BuildOptions
    from ingest.build import build as build_collection
    from scenesearch.encoder.onnx import usable_cores

    installation, name = choose_library(library, named)
    settings = installation.settings
    with installation.store() as store, progress_bar() as progress:
        spec = store.describe(name)  # says which libraries there are
        replaced = installation.has_replaced(spec)
        if encoder is None and replaced:
            encoder = spec.encoder
        loaded = installation.library_encoder(store, name, encoder, verify=True, for_ingest=True)
        installation.remember_encoder(loaded)
        task = progress.add_task("building", total=None)
        report = build_collection(
            name,
            encoder=loaded,
            store=store,
            originals=installation.originals,
            live_image_fingerprint=_live_image_fingerprint(installation, store, name),
            options=BuildOptions(
                workers=workers or settings.threads or usable_cores(),
                batch_size=batch_size or settings.batch_size or BuildOptions.batch_size,
                max_megapixels=settings.max_megapixels,
            ),
            on_progress=lambda now: progress.update(task, total=now.total, completed=now.seen),
            on_wait=say,
        )
    end_run(report, partial(_print_report, replaced=replaced), as_json=as_json)


def _live_image_fingerprint(
    installation: "Installation", store: "VectorStore", library: str
) -> str:
    """The picture side of the live collection's encoder, '' where it is not known."""
    from scenesearch.encoder.base import EncoderError
    from scenesearch.encoder.folder import read_encoder_info

    spec = store.describe(library)
    if spec.image_fingerprint:
        return spec.image_fingerprint
    try:
        folder = installation.encoder_of(spec)
    except EncoderError:
        return ""
    return read_encoder_info(folder).image_fingerprint


def _print_report(report: "BuildReport", *, replaced: bool) -> None:
    """With `replaced`, nothing can be ingested into the live collection."""
    for one in list(report.unusable.values())[:_MOST_NAMED]:
        say(f"not in the new collection: {one.image_id}: {one.path}: {one.reason}")
    if len(report.unusable) > _MOST_NAMED:
        say(f"and {len(report.unusable) - _MOST_NAMED} more; --json lists all")
    if report.unusable and replaced:
        say(
            f"`scenesearch library promote {report.library} --allow-missing` goes live without "
            "them; `scenesearch ingest` of their folders then adds changed and moved ones"
        )
    elif report.unusable:
        say(
            "`scenesearch ingest` of their folders brings changed and moved ones up to date in the "
            f"live collection, then `scenesearch library build {report.library}` takes them over"
        )
    typer.echo(
        f"{report.collection}: {report.encoded} encoded, {report.copied} copied, "
        f"{report.kept} there before, {report.removed} removed, {len(report.unusable)} unusable; "
        f"{report.live} is live"
    )
