"""`scenesearch search`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.common import (
    EncoderOption,
    LibraryOption,
    WhereOption,
    library_encoder,
    library_name,
    open_store,
)
from scenesearch.console import (
    FOUND,
    NOTHING,
    JsonOption,
    print_json,
    printable,
    read_settings,
    say,
)

if TYPE_CHECKING:
    from scenesearch.searcher import SearchResult


def search(
    text: Annotated[str, typer.Argument(help="What the picture shows, in words.")],
    where: WhereOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=10_000, help="How many pictures.")] = 10,
    min_relevance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out less relevant ones; 0 always answers."),
    ] = None,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Save the pictures as a contact sheet (.jpg, .png).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures that show the scene. Exits 0 when found, 1 when nothing matches."""
    from scenesearch.query import parse_where
    from scenesearch.searcher import Searcher, conditions_in

    settings = read_settings()
    name = library_name(library or settings.library)
    with open_store(settings) as store:
        searcher = Searcher(library_encoder(settings, encoder, store, name), store, name)
        filters = parse_where(where or [], searcher.fields)
        conditions, _ = conditions_in(store, name, filters)
        result = searcher.search(
            text,
            k=k,
            where=conditions,
            min_relevance=settings.min_relevance if min_relevance is None else min_relevance,
        )
    if sheet is not None and result.hits:
        write_sheet(sheet, result)
    if as_json:
        print_json(result.to_json())
    else:
        print_hits(result)
    sys.exit(FOUND if result.hits else NOTHING)


def print_hits(result: "SearchResult") -> None:
    if not result.hits:
        nearest = result.nearest
        hint = (
            f"; nearest is {nearest.image_id} at {nearest.relevance:.0%}, "
            "see it with --min-relevance 0"
            if nearest
            else ""
        )
        say(f"nothing in library {result.library} matches {result.query!r}{hint}")
        return
    for hit in result.hits:
        captions = hit.payload.get("captions") or [""]
        typer.echo(
            f"{hit.rank:>3}  {hit.relevance:>4.0%}  {hit.score:.3f}  "
            f"{printable(hit.path)}  {printable(captions[0])}".rstrip()
        )


def write_sheet(file: Path, result: "SearchResult") -> None:
    from scenesearch.originals import original_of
    from scenesearch.sheet import SheetEntry, write_contact_sheet

    entries = [
        SheetEntry(
            original_of(hit.path),
            f"{hit.rank}.  {hit.relevance:.0%}  {hit.image_id}",
            next(iter(hit.payload.get("captions") or [""])),
        )
        for hit in result.hits
    ]
    write_contact_sheet(file, result.query, entries)
