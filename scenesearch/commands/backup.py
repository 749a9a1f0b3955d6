"""`scenesearch library backup | restore`: a library in one file."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import (
    LibraryArgument,
    LibraryOption,
    choose_library,
    named_library,
    open_installation,
)
from scenesearch.commands.console import JsonOption, print_json, printable, progress_bar, say

if TYPE_CHECKING:
    from scenesearch.home.backup import Beside, Contents
    from scenesearch.home.installation import Installation
    from scenesearch.home.library_files import LibraryFiles
    from scenesearch.home.restore import SideFiles


def backup(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; default: LIBRARY-DATE.zip, here."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a library to one file: vectors, metadata, feedback, the encoder's name; no pictures.

    `library restore` reads it, here or on another machine, into an embedded store or a server.
    """
    from scenesearch.home.backup import write_backup

    installation, name = choose_library(library, named)
    file = out or Path(f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip")
    with installation.store(reading=True) as store, progress_bar() as progress:
        task = progress.add_task("backing up", total=None)
        contents = write_backup(
            store,
            name,
            file,
            beside=_read_beside(installation.files(name)),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            on_wait=say,
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
    file: Annotated[Path, typer.Argument(help="A file written by `library backup`.")],
    library: Annotated[
        str | None,
        typer.Argument(
            help="New name of the library, here or after --library; default: its old name.",
            metavar="LIBRARY",
        ),
    ] = None,
    named: Annotated[
        str | None,
        typer.Option("--library", "-l", help="New name of the library; default: its old name."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace a library of that name, if there is one, by the backup.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file and say what is in it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Restore a library from a backup. The whole file is checked before anything is written.

    When stopped it leaves nothing or everything; run it again. Originals can be opened once their
    folders have been ingested here.
    """
    from scenesearch.home.backup import open_backup
    from scenesearch.home.restore import restore as bring_back

    installation = open_installation()
    collection: str | None = None
    with open_backup(file) as found, progress_bar() as progress:
        contents = found.contents
        name = named_library(library, named, contents.spec.library)
        task = progress.add_task("checking", total=contents.points)
        found.verify(lambda done, total: progress.update(task, completed=done, total=total))
        beside = found.beside()
        if not check:
            task = progress.add_task("restoring", total=contents.points)
            with installation.store() as store:
                collection = bring_back(
                    store,
                    found,
                    name,
                    beside=_side_files(beside, installation.files(name)),
                    replace_live=replace,
                    on_progress=lambda done, total: progress.update(
                        task, completed=done, total=total
                    ),
                )
    if not check:
        replaced = _say_missing_encoder(installation, contents, name)
        _say_originals_to_allow(installation, name, beside, replaced=replaced)
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


def _read_beside(files: "LibraryFiles") -> "Beside":
    from scenesearch.home.backup import Beside
    from scenesearch.home.roots import read_roots
    from scenesearch.home.saved_collections import read_collections

    requests = read_collections(files.saved_requests)
    return Beside(read_roots(files.sources), tuple(files.read_marks()), tuple(requests))


def _side_files(beside: "Beside", of: "LibraryFiles") -> "SideFiles":
    """What the backup brings for the library's folder. Its roots do not open originals yet."""
    from scenesearch.home.restore import SideFiles
    from scenesearch.home.roots import Root, roots_json
    from scenesearch.home.saved_collections import collections_json

    files: dict[Any, bytes] = {}
    if beside.sources:
        files[of.sources.name] = roots_json(
            {place: Root(root.prefix, restored=True) for place, root in beside.sources.items()}
        )
    if beside.requests:
        files[of.saved_requests.name] = collections_json(beside.requests)
    return SideFiles(of.folder, files, beside.marks)


def _say_originals_to_allow(
    installation: "Installation", name: str, beside: "Beside", *, replaced: bool
) -> None:
    """Name the folders that only the backup knows. Where its encoder was `replaced`, nothing can
    be ingested before a build, which has to open them."""
    allowed = installation.originals
    places = [place for place in beside.sources if not allowed.allows_below(place)]
    if places and replaced:
        listed = shlex.quote(",".join(places))
        say(printable(f"the build can open the originals with SCENESEARCH_ORIGINALS={listed}"))
    elif places:
        listed = " ".join(shlex.quote(place) for place in places[:3])
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        say(
            printable(
                "originals can be opened once their folders are ingested here: "
                f"`scenesearch ingest {listed} --library {name}`{more}"
            )
        )


def _say_missing_encoder(installation: "Installation", contents: "Contents", name: str) -> bool:
    """Say if the encoder is missing: a backup does not contain it. Whether it was replaced."""
    from scenesearch.encoder.base import EncoderError, EncoderReplaced

    spec = replace(contents.spec, library=name)
    try:
        installation.encoder_of(spec)
    except EncoderReplaced as error:
        say(str(error))
        return True
    except EncoderError:
        say(
            f"searching it needs the encoder {spec.encoder} ({spec.fingerprint[:8]}), which is not "
            f"on this machine: put its folder into {installation.settings.models_dir}"
        )
    return False


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
