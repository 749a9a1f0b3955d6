"""`scenesearch collections`: saved requests, each a live collection of the pictures it finds."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import (
    EncoderOption,
    LibraryOption,
    WhereOption,
    check_library_exists,
    find_image_id,
    open_installation,
)
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    fail,
    print_json,
    printable,
    say,
)
from scenesearch.commands.search import RequestCommand

if TYPE_CHECKING:
    from scenesearch.home.collection_members import Members
    from scenesearch.home.installation import Installation
    from scenesearch.home.saved_collections import SavedCollection
    from scenesearch.notebook import Library
    from scenesearch.search.answer import Hit

collections_app = typer.Typer(
    help="Live collections: saved requests with a name, and pictures added or excluded by hand. "
    "`scenesearch watch-collection` tells a command or an address when one gets new pictures.",
    no_args_is_help=True,
)

NameArgument = Annotated[str, typer.Argument(help="Name of the collection.")]
ImagesArgument = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="Pictures: paths as `search` lists them, or ids."),
]


@collections_app.command("list")
def list_collections(
    count: Annotated[
        bool, typer.Option(help="Count their pictures, which asks each request.")
    ] = True,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the collections, those saved last first, with their requests and counts."""
    from scenesearch.home.saved_collections import read_collections
    from scenesearch.notebook import open_library

    installation, name, file = _files(library)
    collections = read_collections(file)
    counts: dict[str, int | None] = {}
    if count and collections:
        with open_library(name, encoder=encoder, installation=installation) as opened:
            counts = {one.name: _count(opened, one.name) for one in collections}
    if as_json:
        print_json([_described(one, counts.get(one.name)) for one in collections])
        return
    if not collections:
        say(f"library {name} has no collections; `scenesearch collections save` makes one")
    for one in collections:
        number = counts.get(one.name)
        shown = "" if number is None else f"{number:>7,}  "
        request = "" if one.name == one.request else f"  {one.request}"
        typer.echo(printable(f"{shown}{one.name}{request}{_by_hand(one)}"))


@collections_app.command("show")
def show_collection(
    name: NameArgument,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-k", min=1, help="Only the first ones. Default: all."),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the pictures of a collection as they are now. Exits 1 when it is empty."""
    with _opened(library, encoder, name) as (_, members):
        hits = list(islice(members, limit))
        count = members.count() if limit is not None else len(hits)
    one = members.collection
    if as_json:
        print_json(_described(one, count) | {"hits": [hit.to_json() for hit in hits]})
    else:
        for hit in hits:
            likeness = f"{hit.relevance:>4.0%}" if hit.relevance is not None else "    "
            captions = hit.payload.get("captions") or [""]
            away = "  (offline)" if hit.offline else ""
            line = f"{hit.rank:>5}  {likeness}  {hit.path}  {captions[0]}{away}"
            typer.echo(printable(line).rstrip())
        noun = "picture" if count == 1 else "pictures"
        say(f"{one.name}: {count:,} {noun}{_by_hand(one)}, {_asks(one)}")
    sys.exit(FOUND if count else NOTHING)


@collections_app.command("save", cls=RequestCommand)
def save(
    name: NameArgument,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="The request, as for `search`; without one, the collection holds what is added "
            "by hand.",
        ),
    ] = None,
    where: WhereOption = None,
    min_relevance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out less relevant pictures. Default: as `search`."),
    ] = None,
    replace_request: Annotated[
        bool,
        typer.Option("--replace", help="Give a collection of that name another request."),
    ] = False,
    library: LibraryOption = None,
) -> None:
    """Save a request under a name."""
    from scenesearch.home.saved_collections import (
        NameTaken,
        SavedCollection,
        checked_name,
        save_collection,
    )
    from scenesearch.search.grammar import parse, parse_where
    from scenesearch.search.request import MAX_CHARACTERS

    installation, library_name, file = _files(library)
    text = " ".join(words or ())
    if text or where:
        with installation.store(reading=True) as store:
            fields = store.describe(library_name).fields
        request, filters = parse(text, fields), parse_where(where or (), fields)
        if filters:
            text = str(replace(request, filters=(*request.filters, *filters)))
    if len(text) > MAX_CHARACTERS:
        fail(f"the request has {len(text):,} characters, at most {MAX_CHARACTERS:,} can be saved")
    one = SavedCollection(checked_name(name), text, min_relevance)
    try:
        save_collection(file, one, replaces=replace_request)
    except NameTaken as error:
        fail(f"{error}; --replace gives it another request")
    say(f"collection {one.name} is saved in library {library_name}: {_asks(one)}")


@collections_app.command()
def rename(
    name: NameArgument,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.")],
    library: LibraryOption = None,
) -> None:
    """Give a collection another name; a saved request without one gets it."""
    from scenesearch.home.collection_changes import rename_collection

    installation, library_name, _ = _files(library)
    changed = rename_collection(installation.files(library_name), name, new)
    say(f"collection {name} is called {changed.name} now")


@collections_app.command()
def delete(name: NameArgument, library: LibraryOption = None) -> None:
    """Delete a collection; its pictures stay in the library."""
    from scenesearch.home.collection_changes import remove_collection

    installation, library_name, _ = _files(library)
    remove_collection(installation.files(library_name), name)
    say(f"collection {name} is deleted; its pictures stay in library {library_name}")


@collections_app.command()
def add(name: NameArgument, images: ImagesArgument, library: LibraryOption = None) -> None:
    """Add pictures to a collection by hand."""
    _change_by_hand(library, name, images, lambda one, ids: one.adding(ids), "added")


@collections_app.command()
def exclude(name: NameArgument, images: ImagesArgument, library: LibraryOption = None) -> None:
    """Keep pictures out of a collection, whatever its request finds."""
    _change_by_hand(library, name, images, lambda one, ids: one.excluding(ids), "excluded")


@collections_app.command()
def forget(name: NameArgument, images: ImagesArgument, library: LibraryOption = None) -> None:
    """Take back what was added or excluded by hand: the request alone decides."""
    _change_by_hand(library, name, images, lambda one, ids: one.forgetting(ids), "left to it")


@collections_app.command()
def picture(
    name: NameArgument,
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="Default: its first one.", show_default=False),
    ] = None,
    library: LibraryOption = None,
) -> None:
    """Choose the picture that stands for a collection."""
    from scenesearch.home.saved_collections import change_collection

    installation, library_name, file = _files(library)
    chosen = ""
    if image is not None:
        with installation.store(reading=True) as store:
            chosen = find_image_id(store, library_name, image)
    change_collection(file, name, lambda one: replace(one, picture=chosen))
    say(f"collection {name} is shown by {chosen or 'its first picture'}")


@collections_app.command()
def export(
    name: NameArgument,
    zip_file: Annotated[
        Path | None, typer.Option("--zip", metavar="FILE", help="Write the originals to a ZIP.")
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a table: ids, paths, titles, dates."),
    ] = None,
    xmp: Annotated[
        bool,
        typer.Option(
            "--xmp",
            help="Write a keyword into the XMP files beside the pictures, and tag them in the "
            "library; `scenesearch tag --undo` takes it back.",
        ),
    ] = False,
    keyword: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="With --xmp. Default: the collection's name."),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export a collection's pictures: a ZIP, a table, keywords for other programs.

    Exits 1 when the collection is empty.
    """
    from scenesearch.home.export import write_table, write_zip

    if zip_file is None and csv_file is None and not xmp:
        fail("say what to export: --zip FILE, --csv FILE or --xmp")
    if keyword is not None and not xmp:
        fail("--keyword needs --xmp")
    for file in (zip_file, csv_file):
        if file is not None and file.exists():
            fail(f"{file} already exists: give another name")
    with _opened(library, encoder, name) as (opened, members):
        library_name = opened.name
        hits = list(members)
    if not hits:
        say(f"collection {name} is empty: nothing is exported")
        sys.exit(NOTHING)
    installation = open_installation()
    done: dict[str, Any] = {"collection": name, "pictures": len(hits)}
    if csv_file is not None:
        with _written(csv_file) as out:
            write_table(out, ((hit.image_id, hit.payload) for hit in hits))
        done["csv"] = str(csv_file)
    if zip_file is not None:
        with _written(zip_file) as out:
            count, left_out = write_zip(out, _zip_entries(installation, hits))
        done |= {"zip": str(zip_file), "in_zip": count, "left_out": left_out}
        for line in left_out:
            say(printable(f"left out: {line}"))
    if xmp:
        done["tagged"] = _write_keyword(installation, library_name, name, keyword or name, hits)
    if as_json:
        print_json(done)
        return
    if zip_file is not None:
        typer.echo(printable(f"{zip_file}: {done['in_zip']:,} of {len(hits):,} pictures"))
    if csv_file is not None:
        typer.echo(printable(f"{csv_file}: {len(hits):,} rows"))


def _write_keyword(
    installation: "Installation",
    library: str,
    name: str,
    keyword: str,
    hits: "Iterable[Hit]",
) -> dict[str, Any] | None:
    from ingest.tagging import checked_tags
    from scenesearch.commands.tag import change_tags, print_tag_report
    from scenesearch.home.tag_changes import TagChange

    change = TagChange(f"the collection {name}", checked_tags([keyword]), in_files=True)
    report = change_tags(installation, library, change, [hit.image_id for hit in hits])
    if report is None:
        return None
    print_tag_report(report)
    return report.to_json()


def _zip_entries(installation: "Installation", hits: "Iterable[Hit]") -> Iterator[Any]:
    from scenesearch.home.export import ZipEntry

    for hit in hits:
        original = installation.originals.original(hit.payload)
        yield ZipEntry(original.name, hit.path, original.read)


@contextmanager
def _written(file: Path) -> Iterator[IO[bytes]]:
    """A file that appears when it is complete."""
    from scenesearch.runtime.files import atomic_writer

    if not file.absolute().parent.is_dir():
        fail(f"{file.parent} is no folder")
    with atomic_writer(file) as out:
        yield out


def _change_by_hand(
    library: str | None,
    name: str,
    images: list[str],
    change: "Callable[[SavedCollection, list[str]], SavedCollection]",
    done: str,
) -> None:
    from scenesearch.home.saved_collections import change_collection, find_collection

    installation, library_name, file = _files(library)
    find_collection(file, name)
    with installation.store(reading=True) as store:
        ids = [find_image_id(store, library_name, given) for given in images]
    changed = change_collection(file, name, lambda one: change(one, ids))
    say(f"{len(ids)} {done}: collection {name}{_by_hand(changed)}")


def _files(library: str | None) -> "tuple[Installation, str, Path]":
    """The installation, the library's name, and its file of collections."""
    installation = open_installation()
    name = installation.library_name(library)
    check_library_exists(installation, name)
    return installation, name, installation.files(name).saved_requests


@contextmanager
def _opened(
    library: str | None, encoder: str | None, name: str
) -> "Iterator[tuple[Library, Members]]":
    from scenesearch.home.saved_collections import find_collection
    from scenesearch.notebook import open_library

    installation, library_name, file = _files(library)
    find_collection(file, name)  # before the encoder is loaded
    with open_library(library_name, encoder=encoder, installation=installation) as opened:
        yield opened, opened.collection(name)


def _count(opened: "Library", name: str) -> int | None:
    """How many pictures it has; None where its request cannot be asked any more."""
    from scenesearch.search.request import QueryError

    try:
        return opened.collection(name).count()
    except QueryError as error:
        say(printable(f"collection {name}: {error}"))
        return None


def _described(one: "SavedCollection", count: int | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "request": one.request,
        "min_relevance": one.min_relevance,
        "picture": one.picture or None,
        "added": list(one.added),
        "excluded": list(one.excluded),
        "pictures": count,
    }


def _asks(one: "SavedCollection") -> str:
    return f"its request is: {one.asked}" if one.request else "without a request"


def _by_hand(one: "SavedCollection") -> str:
    said = [
        f"{len(ids):,} {what}"
        for ids, what in ((one.added, "added"), (one.excluded, "excluded"))
        if ids
    ]
    return f" ({', '.join(said)} by hand)" if said else ""
