"""`scenesearch library`: see what libraries hold, and look after them."""

from typing import Any

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import JsonOption, print_json, printable

library_app = typer.Typer(
    help="See what libraries hold, and look after them. Every command except plan takes a name.",
    no_args_is_help=True,
)


@library_app.command("status")
def library_status(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a library holds: pictures, encoder, fields, rejects."""
    installation, name = choose_library(library, named)
    rejects = installation.files(name).read_rejects()
    with installation.store(reading=True) as store:
        spec = store.describe(name)
        status: dict[str, Any] = {
            "library": name,
            "collection": store.resolve(name),
            "pictures": store.count(name),
            "encoder": spec.encoder,
            "fingerprint": spec.fingerprint,
            "dimension": spec.dimension,
            "fields": [field.name for field in spec.fields],
            "rejects": [reject.to_json() for reject in rejects],
            "engine": store.health(),
        }
    if as_json:
        print_json(status)
        return
    for key, value in status.items():
        if key == "rejects":
            typer.echo(f"{key:<12} {len(value)}")
            for reject in value:
                line = printable(f"{reject['path']}: {reject['reason']}")
                typer.echo(f"{'':<12} {line}")
        else:
            typer.echo(f"{key:<12} {', '.join(value) if isinstance(value, list) else value}")
