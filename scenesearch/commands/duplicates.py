"""`scenesearch library duplicates`."""

from typing import Annotated

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import JsonOption, print_json, printable, say


def library_duplicates(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    distance: Annotated[
        int,
        typer.Option(
            min=0, max=7, help="How many of the 64 bits of their perceptual hash may differ."
        ),
    ] = 6,
    limit: Annotated[
        int, typer.Option("--limit", "-k", min=1, help="How many groups to list.")
    ] = 1000,
    as_json: JsonOption = False,
) -> None:
    """List pictures that a library has more than once: same content, or nearly the same look.

    The largest groups come first. Nothing is removed.
    """
    from scenesearch.pictures.duplicates import find_groups, hashed_picture

    installation, name = choose_library(library, named)
    with installation.store() as store:
        points = store.scroll(name, payload=("sha256", "phash"))
        looks = [
            look for point in points if (look := hashed_picture(point.image_id, point.payload))
        ]
    groups = find_groups(looks, most_distant=distance)
    if as_json:
        print_json(
            {
                "library": name,
                "pictures": len(looks),
                "groups": [
                    {
                        "first": group.first,
                        "copies": list(group.copies),
                        "near": [{"image_id": i, "distance": d} for i, d in group.near],
                    }
                    for group in groups[:limit]
                ],
            }
        )
        return
    for group in groups[:limit]:
        typer.echo(printable(group.first))
        for image_id in group.copies:
            typer.echo(f"  same content  {printable(image_id)}")
        for image_id, bits in group.near:
            typer.echo(f"  {bits:>2} bits apart  {printable(image_id)}")
    spare = sum(len(group) - 1 for group in groups)
    more = f"; the {limit} largest are listed" if len(groups) > limit else ""
    say(f"{name}: {spare} of {len(looks)} pictures are copies, in {len(groups)} groups{more}")
