"""`scenesearch ingest`."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scenesearch.commands.common import EncoderOption, LibraryOption, open_installation
from scenesearch.commands.console import NOTHING, JsonOption, fail, printable
from scenesearch.commands.ingesting import (
    end_run,
    ingest_options,
    metering,
    only_ingest,
    print_ingest_report,
    run_ingest,
)
from scenesearch.commands.read_text import run_read_text
from scenesearch.commands.watch import run_watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from scenesearch.home.installation import Installation


def _show_excludes(wanted: bool) -> None:
    if wanted:
        from ingest.sources.excludes import DEFAULTS

        for what, patterns in DEFAULTS.items():
            typer.echo("\n".join([f"# {what}", *patterns]))
        raise typer.Exit


def _absence_check(*, remove_absent: bool, asks: bool) -> "Callable[[Path, int], bool]":
    """Whether the pictures of a folder that is gone or empty are deleted: by the option, or by
    whoever sits at the terminal."""

    def confirm(folder: Path, count: int) -> bool:
        if remove_absent or not asks or not sys.stdin.isatty():
            return remove_absent
        state = "is empty" if folder.is_dir() else "is not there"
        return typer.confirm(
            f"{printable(str(folder))} {state}. Remove its {count} pictures from the library?",
            err=True,
        )

    return confirm


def _offer_relocation(paths: "list[str]", library: str, installation: "Installation") -> None:
    """End the command where the pictures are those of a folder that is not there: with it they
    would be in the library twice."""
    from ingest.relocate import find_relocated, relocation_offer
    from scenesearch.pictures.originals import is_url

    folders = [Path(path) for path in paths if not is_url(path)]
    found = find_relocated(
        folders,
        library=library,
        library_dir=installation.files(library).folder,
        open_store=installation.store,
    )
    for old, new in found:
        fail(f"{relocation_offer(old, new, library)}; --as-copy has them twice")


def ingest(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Folders, pictures, tar shards, s3://, gs:// or http(s):// addresses, manifests "
            "(CSV, TSV, JSONL, Parquet). With - paths are read from standard input, one per line.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Manifest with an 'image' column; PATH is where its pictures are."),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="Paths on standard input are separated by NUL.")
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
            min=1, max=1024, help="Pictures encoded together; default: measured during the run."
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Threads on this machine, or Ray on a cluster (RAY_ADDRESS)."),
    ] = "local",
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Ingest only the K-th of N shares, so that N workers divide the pictures; with "
            "auto/N the first share that no other worker on this data folder has taken.",
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
    remove_absent: Annotated[
        bool,
        typer.Option(
            "--remove-absent",
            help="With --prune or --watch: also remove the pictures of folders that are gone or "
            "empty, as those of a disk that is away are.",
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Then keep watching PATH and bring in changes, until Ctrl-C."),
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="PATTERN",
            help="Leave out what matches, written as in a .gitignore file and relative to PATH; "
            "may be repeated. Patterns in a file .scenesearchignore count for its folder.",
        ),
    ] = None,
    show_excludes: Annotated[
        bool,
        typer.Option(
            "--show-excludes",
            is_eager=True,
            callback=_show_excludes,
            help="Print what is left out by default, as patterns, and exit.",
        ),
    ] = False,
    ocr: Annotated[
        bool | None,
        typer.Option(
            "--ocr/--no-ocr",
            help="Then read the text in pictures (signs, screens, receipts, pages), so that it is "
            "searched; needs the extra 'ocr'. Default: SCENESEARCH_OCR.",
        ),
    ] = None,
    as_copy: Annotated[
        bool,
        typer.Option(
            "--as-copy",
            help="Add PATH although it holds the pictures of a folder that is away, which then are "
            "in the library twice.",
        ),
    ] = False,
    progress: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the counts of the run in this file, as JSON, for a program that waits.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add pictures and their metadata to a library. Run it again to continue or to refresh.

    Unchanged pictures are skipped, changed ones are replaced, broken ones are listed with the
    reason.
    """
    from ingest.collection import declared_types
    from ingest.first_run import FirstRun, nothing_usable
    from ingest.shards import WHOLE, held_shard
    from ingest.sources.excludes import Excludes
    from ingest.sources.find import find_sources
    from ingest.sources.roots import Roots
    from ingest.text_reader import check_text_reader
    from scenesearch.home.restore import is_unfinished, take_back_unfinished

    installation = open_installation()
    name = installation.library_name(library)
    if not paths and manifest is None:
        fail("nothing to ingest: give a folder, a picture or a manifest")
    if dry_run and not prune:
        fail("--dry-run goes with --prune: it lists what would be removed")
    if remove_absent and not (prune or watch):
        fail("--remove-absent goes with --prune or --watch")
    if watch and (manifest is not None or dry_run):
        fail("--watch goes with folders alone, not with --manifest or --dry-run")
    if watch and progress is not None:
        fail("--progress tells of one run, and --watch goes on")
    if watch and engine != "local":
        fail("--watch goes with the local engine: starting Ray takes longer than a burst")
    reads_text = (installation.settings.ocr if ocr is None else ocr) and not dry_run
    if reads_text:
        check_text_reader()
    excludes = Excludes(tuple(exclude or ()))
    files = installation.files(name)
    folder = FirstRun(files.folder)
    share = held_shard(shard, files.folder / "shards") if shard else nullcontext(WHOLE)
    options = ingest_options(
        installation.settings,
        workers=workers,
        batch_size=batch_size,
        engine=engine,
        shard=context.with_resource(share),  # held until the command ends
        prune=prune,
        dry_run=dry_run,
        confirm_absent=_absence_check(remove_absent=remove_absent, asks=not (watch or dry_run)),
    )
    if is_unfinished(files.folder):
        with installation.store(patient=True) as store:
            take_back_unfinished(store, name, files.folder)
    if not as_copy:
        _offer_relocation(paths or [], name, installation)
    roots = Roots(files.sources)
    meter = context.with_resource(metering(installation.settings))
    sources = []
    if not watch:
        with installation.store(patient=True) as store:
            declared = declared_types(store, name)
        sources = find_sources(
            paths or [],
            roots=roots,
            declared=declared,
            manifest=manifest,
            listed=sys.stdin.buffer,
            separator=b"\0" if null else b"\n",
            excludes=excludes,
            gone=prune and remove_absent,
        )
        if prune and not all(source.root for source in sources):
            fail("--prune needs folders, archives or manifests: single files say nothing of others")
    with installation.store(patient=True) as store:
        loaded = installation.library_encoder(store, name, encoder, verify=True, for_ingest=True)
        timed = meter.timed(loaded) if engine == "local" else loaded
        if watch:
            report = run_watch(
                paths or [],
                roots,
                name,
                timed,
                store,
                installation,
                options,
                meter,
                excludes,
                reads_text=reads_text,
            )
        else:
            report = run_ingest(
                sources,
                name,
                timed,
                store,
                installation,
                options=options,
                meter=meter,
                counts_file=progress,
            )
            if reads_text and report.collection and not report.interrupted:
                with only_ingest(installation, name, options.shard):
                    report.text = run_read_text(
                        name, store, installation, workers=workers, shard=options.shard
                    )
                report.interrupted = report.text.interrupted
    if not report.collection and options.shard.of == 1:  # else other workers may still succeed
        folder.discard()  # a first run that could use no picture leaves nothing behind
    end_run(report, print_ingest_report, as_json=as_json)
    if not report.collection and report.rejected:
        fail(nothing_usable(report), NOTHING)
