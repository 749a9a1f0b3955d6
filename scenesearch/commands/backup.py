"""`scenesearch library backup | restore`: a library in one file."""

import shlex
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.collections import waiting
from scenesearch.commands.common import LibraryArgument, LibraryOption, chosen_library, open_store
from scenesearch.commands.console import (
    JsonOption,
    print_json,
    printable,
    progress_bar,
    read_settings,
    say,
)

if TYPE_CHECKING:
    from scenesearch.home.backup import Beside, Contents
    from scenesearch.home.feedback import Mark
    from scenesearch.home.restore import SideFiles
    from scenesearch.home.settings import Settings


def backup(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; default: LIBRARY-DATE.zip, here."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a library into one file: vectors, metadata, feedback, which encoder; no pictures.

    `library restore` brings it back, here or on another machine, embedded or into a server.
    """
    from scenesearch.home.backup import write_backup

    settings = read_settings()
    name = chosen_library(library, named, settings.library)
    file = out or Path(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip")
    with open_store(settings, reading=True) as store, progress_bar() as progress:
        task = progress.add_task("backing up", total=None)
        contents = write_backup(
            store,
            name,
            file,
            beside=_read_beside(settings.library_dir(name)),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            on_wait=waiting,
        )
    size = file.stat().st_size
    if as_json:
        print_json(_shown(contents) | {"bytes": size})
    else:
        typer.echo(
            f"{file}: {contents.points} pictures of {contents.collection}, encoder "
            f"{contents.spec.encoder}, {size / 1e6:.1f} MB"
        )


def restore(
    file: Annotated[Path, typer.Argument(help="What `library backup` wrote.")],
    library: Annotated[
        str | None,
        typer.Argument(
            help="What the library will be called, here or after --library; default: as it was.",
            metavar="LIBRARY",
        ),
    ] = None,
    named: Annotated[
        str | None,
        typer.Option("--library", "-l", help="What the library will be called."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Also where a library of that name is there: the backup becomes what it holds.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file, and say what is in it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a library back from a backup; the whole file is checked before anything is written.

    Stopped at any moment it leaves nothing or everything; run it again. Originals are opened again
    once their folders are ingested here.
    """
    from scenesearch.home.backup import open_backup
    from scenesearch.home.restore import restore as bring_back

    settings = read_settings()
    collection: str | None = None
    with open_backup(file) as found, progress_bar() as progress:
        contents = found.contents
        name = chosen_library(library, named, contents.spec.library)
        task = progress.add_task("checking", total=contents.points)
        found.verify(lambda done, total: progress.update(task, completed=done, total=total))
        beside = found.beside()
        if not check:
            task = progress.add_task("restoring", total=contents.points)
            with open_store(settings) as store:
                collection = bring_back(
                    store,
                    found,
                    name,
                    beside=_side_files(beside, settings.library_dir(name)),
                    replace_live=replace,
                    on_progress=lambda done, total: progress.update(
                        task, completed=done, total=total
                    ),
                )
    if not check:
        _say_what_is_missing(settings, contents)
        _say_what_to_ingest(settings, name, beside)
    if as_json:
        print_json(
            _shown(contents)
            | {"restored": collection is not None, "library": name, "restored_as": collection}
        )
    elif collection is None:
        typer.echo(
            f"{file} is whole: {contents.points} pictures of {contents.collection}, encoder "
            f"{contents.spec.encoder}, written {contents.created}"
        )
    else:
        typer.echo(f"{collection}: {contents.points} pictures, live as library {name}")


def _read_beside(own: Path) -> "Beside":
    from scenesearch.home.backup import Beside
    from scenesearch.home.feedback import FILE_NAME, Feedback
    from scenesearch.home.ingested import SOURCES, read_roots
    from ui.kept import FILE_NAME as SAVED
    from ui.kept import read_saved

    marks: list[Mark] = []
    if (own / FILE_NAME).is_file():
        with closing(Feedback(own / FILE_NAME)) as table:
            marks = table.all()
    return Beside(read_roots(own / SOURCES), tuple(marks), tuple(read_saved(own / SAVED)))


def _side_files(beside: "Beside", own: Path) -> "SideFiles":
    """What of the backup goes into the library's folder; its folders open nothing yet."""
    from scenesearch.home.ingested import Root, roots_json
    from scenesearch.home.restore import SideFiles
    from ui.kept import saved_json

    files: dict[Any, bytes] = {}
    if beside.sources:
        files["sources.json"] = roots_json(
            {place: Root(root.prefix, restored=True) for place, root in beside.sources.items()}
        )
    if beside.requests:
        files["saved-requests.json"] = saved_json(beside.requests)
    return SideFiles(own, files, beside.marks)


def _say_what_to_ingest(settings: "Settings", name: str, beside: "Beside") -> None:
    """Folders that only the backup names."""
    from scenesearch.home.ingested import ingested

    known = ingested(settings)
    places = [place for place in beside.sources if not known.covers(place)]
    if places:
        listed = " ".join(shlex.quote(place) for place in places[:3])
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        say(
            printable(
                "originals are opened once their folders are ingested here: "
                f"`scenesearch ingest {listed} --library {name}`{more}"
            )
        )


def _say_what_is_missing(settings: "Settings", contents: "Contents") -> None:
    """The encoder is not in a backup."""
    from scenesearch.encoder.base import EncoderError
    from scenesearch.encoder.registry import find_by_fingerprint

    with suppress(EncoderError):
        find_by_fingerprint(
            contents.spec.fingerprint,
            contents.spec.encoder,
            default=settings.encoder,
            shelf=settings.models_dir,
            file=settings.known_encoders,
        )
        return
    say(
        f"searching it needs the encoder {contents.spec.encoder} "
        f"({contents.spec.fingerprint[:8]}), which is not on this machine: put its folder into "
        f"{settings.models_dir}"
    )


def _shown(contents: "Contents") -> dict[str, object]:
    spec = contents.spec
    return {
        "file": str(contents.file),
        "created": contents.created,
        "library": spec.library,
        "collection": contents.collection,
        "encoder": spec.encoder,
        "fingerprint": spec.fingerprint,
        "dimension": spec.dimension,
        "fields": [field.name for field in spec.fields],
        "pictures": contents.points,
    }
