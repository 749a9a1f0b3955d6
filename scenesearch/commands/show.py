"""`scenesearch library show`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import (
    LibraryArgument,
    LibraryOption,
    choose_library,
)
from scenesearch.commands.console import JsonOption, print_json, printable, say

if TYPE_CHECKING:
    from ingest.explanation import Explanation


def library_show(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="An image id, the end of one, or the path of a picture in the library or not.",
        ),
    ],
    library: LibraryArgument = None,
    named: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything known of a picture: where each value came from, what was ignored and why.

    A picture whose file is away is shown from what the library holds.
    """
    from pathlib import Path

    from ingest.explanation import explain
    from scenesearch.pictures.originals import LocalFile
    from scenesearch.search.names import point_named
    from scenesearch.search.request import QueryError
    from scenesearch.store.base import CollectionMissing

    installation, name = choose_library(library, named)
    file = Path(image).expanduser()
    is_file = file.is_file()
    point = None
    try:
        with installation.store(reading=True) as store:
            point = point_named(store, name, image, str(file.resolve()) if is_file else "")
    except (CollectionMissing, QueryError):
        if not is_file:
            raise
    if point is None:
        say(f"{image} is not in library {name}: this is what an ingest would read")
        original: Any = LocalFile(file.resolve())
        held = None
    else:
        original, held = installation.originals.original(point.payload), point.payload
    known = explain(
        file.name if point is None else point.image_id,
        original,
        held,
        max_megapixels=installation.settings.max_megapixels,
    )
    if as_json:
        print_json(known.to_json())
    else:
        _print(known)


def _print(known: "Explanation") -> None:
    typer.echo(printable(known.image_id))
    typer.echo(f"  {printable(known.path)}")
    if known.away:
        typer.echo(f"  its file is away ({printable(known.away)}); this is what the library holds")
    for fact in known.facts:
        typer.echo(_line(fact.field, fact.value, fact.source))
    if known.ignored:
        typer.echo("ignored")
    for one in known.ignored:
        value = "" if one.value is None else one.value
        typer.echo(_line(one.field, value, f"{one.source}: {one.why}"))
    for note in known.notes:
        typer.echo(f"note: {printable(note)}")


def _line(field: str, value: Any, source: str) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(f"  {field:<16} {shown}  [{source}]" if shown else f"  {field:<16} [{source}]")
