"""`scenesearch library list`: the libraries and their collections."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import count_pictures, named_library, open_installation
from scenesearch.commands.console import JsonOption, print_json, printable, say

if TYPE_CHECKING:
    from scenesearch.home.installation import Installation
    from scenesearch.store.catalog import CatalogEntry


def list_libraries(
    library: Annotated[
        str | None,
        typer.Argument(
            help="Only this one, here or after --library; default: all.", metavar="LIBRARY"
        ),
    ] = None,
    named: Annotated[
        str | None, typer.Option("--library", "-l", help="Only this one; default: all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List all collections: which one is live, where a rollback leads, how each scores."""
    from scenesearch.store.catalog import collections_of, read_catalog

    installation = open_installation()
    with installation.store(reading=True, lock_wait_s=5) as store:
        catalog = read_catalog(store)
        libraries, foreign, unfinished = catalog.libraries, catalog.foreign, catalog.unfinished
        if library is not None or named is not None:
            name = named_library(library, named, installation.settings.library)
            unfinished = tuple(one for one in unfinished if one[1] == name)
            if name in libraries or not unfinished:
                libraries = {name: collections_of(store, name)}
            else:
                libraries = {}
            foreign = ()
        rows = [
            {
                "library": one.spec.library,
                "collection": one.name,
                "state": one.role,
                "encoder": one.spec.encoder,
                "fingerprint": one.spec.fingerprint,
                "dimension": one.spec.dimension,
                "pictures": count_pictures(store, one.name),
                "created": one.spec.created or None,
                "evaluation": _summary(installation, one),
            }
            for entries in libraries.values()
            for one in entries
        ]
    if as_json:
        names = [name for name, _ in unfinished]
        print_json({"collections": rows, "foreign": list(foreign), "unfinished": names})
        return
    if not rows and not unfinished:
        say("there is no library yet; `scenesearch ingest PATH` makes one")
    elif rows:
        _print_rows(rows)
    for name, of in unfinished:
        say(
            f"unfinished: {name}, which is still being made, or was when a process was stopped; "
            f"`scenesearch library prune {of or 'LIBRARY'} --unfinished` deletes it"
        )
    if foreign:
        say(f"not made by scenesearch: {', '.join(foreign)}")


def _summary(installation: "Installation", entry: "CatalogEntry") -> dict[str, Any] | None:
    """The figures of the collection's saved evaluation."""
    from scenesearch.evaluation.promotion import evaluations_folder

    file = (
        evaluations_folder(installation.files(entry.spec.library).folder)
        / entry.name
        / "summary.json"
    )
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        return {key: read[key] for key in ("metrics", "ci95", "queries", "gallery")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=True)
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "library": lambda row: row["library"],
        "collection": lambda row: row["collection"],
        "state": lambda row: row["state"],
        "encoder": lambda row: row["encoder"],
        "pictures": lambda row: "in use" if row["pictures"] is None else f"{row['pictures']:,}",
        "Recall@10": _recall,
    }
    for title in columns:
        table.add_column(title, no_wrap=True, justify="right" if title == "pictures" else "left")
    for row in rows:
        table.add_row(*(printable(cell(row)) for cell in columns.values()))
    Console(width=200 if not sys.stdout.isatty() else None, highlight=False, markup=False).print(
        table
    )


def _recall(row: dict[str, Any]) -> str:
    found = row["evaluation"]
    if not found:
        return "not evaluated"
    recall = 100 * found["metrics"]["recall@10"]
    return f"{recall:.1f} % ({found['queries']} queries, gallery of {found['gallery']})"
