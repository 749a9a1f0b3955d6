"""`scenesearch library rejects`: what could not be ingested, why, and a retry."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scenesearch.commands.common import (
    EncoderOption,
    LibraryArgument,
    LibraryOption,
    check_library_exists,
    choose_library,
)
from scenesearch.commands.console import JsonOption, fail, print_json, printable, say
from scenesearch.commands.ingesting import end_run, ingest_options, print_ingest_report, run_ingest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scenesearch.home.installation import Installation
    from scenesearch.home.rejects import Reject

Kind = Literal["permanent", "transient"]


def library_rejects(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="Only those that are tried again once their file changes (permanent), or only "
            "those that every ingest tries again (transient)."
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write them to a .csv or .json file.")
    ] = None,
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Try them again now, even if their files are the same."),
    ] = False,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what could not be ingested: path, reason, first and last try, number of tries.

    A row disappears when its picture is written.
    """
    installation, name = choose_library(library, named)
    check_library_exists(installation, name)
    rejects = installation.files(name).read_rejects()
    rejects = [row for row in rejects if kind is None or row.kind == kind]
    if export is not None:
        _export(rejects, export)
        say(f"{len(rejects)} rejects of library {name} written to {export}")
    if retry:
        _retry(installation, rejects, name, encoder, as_json=as_json)
    elif as_json:
        print_json([reject.to_json() for reject in rejects])
    elif export is None:
        for reject in rejects:
            tries = f"{reject.tries} {'try' if reject.tries == 1 else 'tries'}"
            typer.echo(
                printable(
                    f"{reject.path}: {reject.reason} "
                    f"({reject.kind}, {tries}, {reject.first_try} to {reject.last_try})"
                )
            )
        say(f"library {name} has {len(rejects) or 'no'} reject{'s' if len(rejects) != 1 else ''}")


def _retry(
    installation: "Installation",
    rejects: "Sequence[Reject]",
    library: str,
    encoder: str | None,
    *,
    as_json: bool,
) -> None:
    from ingest.sources.find import rejected_source

    pictures = [reject for reject in rejects if reject.image_id is not None]
    if len(pictures) < len(rejects):
        say(
            f"{len(rejects) - len(pictures)} rejects are rows or folders, no pictures: "
            "mend them and ingest their source again"
        )
    if not pictures:
        fail(f"library {library} has no rejected pictures to try again")
    with installation.store(patient=True) as store:
        report = run_ingest(
            [rejected_source(pictures)],
            library,
            installation.library_encoder(store, library, encoder, verify=True, for_ingest=True),
            store,
            installation,
            options=ingest_options(installation.settings, retry_rejects=True),
        )
    end_run(report, print_ingest_report, as_json=as_json)


def _export(rejects: "Sequence[Reject]", file: Path) -> None:
    from scenesearch.home.rejects import COLUMNS
    from scenesearch.runtime.files import atomic_writer

    rows = [reject.to_json() for reject in rejects]
    match file.suffix.lower():
        case ".json":
            text = json.dumps(rows, indent=1) + "\n"
        case ".csv":
            table = io.StringIO(newline="")
            writer = csv.DictWriter(table, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
            text = table.getvalue()
        case _:
            fail(f"--export {file}: the name must end in .csv or .json")
    with atomic_writer(file) as out:
        out.write(text.encode())
