"""`scenesearch library rejects`: what could not be ingested, why, and another try."""

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
    check_known,
    chosen_library,
    library_encoder,
    open_store,
)
from scenesearch.commands.console import (
    JsonOption,
    fail,
    interrupted,
    print_json,
    printable,
    read_settings,
    say,
)
from scenesearch.commands.ingest import ingest_options, print_ingest_report, run_ingest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scenesearch.home.rejects import Reject

Kind = Literal["permanent", "transient"]


def library_rejects(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="Only those that are not tried again until the file changes, "
            "or only those that every ingest tries again."
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write them to a .csv or .json file.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try them again now, whether or not they changed.")
    ] = False,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """What ingest had to leave out: path, reason, first and last try, number of tries.

    A row goes when its picture is written.
    """
    from scenesearch.home.rejects import FILE_NAME, read_rejects

    settings = read_settings()
    name = chosen_library(library, named, settings.library)
    check_known(settings, name)
    file = settings.library_dir(name) / FILE_NAME
    rejects = [row for row in read_rejects(file) if kind is None or row.kind == kind]
    if export is not None:
        _export(rejects, export)
        say(f"{len(rejects)} rejects of library {name} written to {export}")
    if retry:
        _retry(rejects, name, encoder, as_json=as_json)
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
    rejects: "Sequence[Reject]", library: str, encoder: str | None, *, as_json: bool
) -> None:
    from ingest.sources import rejected_source

    settings = read_settings()
    pictures = [reject for reject in rejects if reject.image_id is not None]
    if len(pictures) < len(rejects):
        say(
            f"{len(rejects) - len(pictures)} rejects are rows or folders, no pictures: "
            "mend them and ingest their source again"
        )
    if not pictures:
        fail(f"library {library} has no rejected pictures to try again")
    with open_store(settings, patient=True) as store:
        report = run_ingest(
            [rejected_source(pictures)],
            library,
            library_encoder(settings, encoder, store, library, verify=True),
            store,
            settings,
            options=ingest_options(settings, retry_rejects=True),
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_ingest_report(report)
    if report.interrupted:
        interrupted("interrupted; run the same command again to continue")


def _export(rejects: "Sequence[Reject]", file: Path) -> None:
    from scenesearch.runtime.files import atomic_writer

    rows = [reject.to_json() for reject in rejects]
    match file.suffix.lower():
        case ".json":
            text = json.dumps(rows, indent=1) + "\n"
        case ".csv":
            table = io.StringIO(newline="")
            columns = "path image_id reason kind first_try last_try tries size_bytes modified"
            writer = csv.DictWriter(table, columns.split())
            writer.writeheader()
            writer.writerows(rows)
            text = table.getvalue()
        case _:
            fail(f"--export {file}: the name must end in .csv or .json")
    with atomic_writer(file) as out:
        out.write(text.encode())
