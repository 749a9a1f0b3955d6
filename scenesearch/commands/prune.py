"""`scenesearch library prune`: delete collections that are no longer needed."""

import shutil
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.common import (
    LibraryArgument,
    LibraryOption,
    choose_library,
    count_pictures,
)
from scenesearch.commands.console import JsonOption, fail, print_json, say

if TYPE_CHECKING:
    from scenesearch.store.base import VectorStore


def prune(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    rollback_target: Annotated[
        bool,
        typer.Option("--previous", help="Also delete the target of a rollback."),
    ] = False,
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Also delete incomplete collections."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the collections that are neither live nor the target of a rollback."""
    from ingest.journal import Journal, journal_file
    from ingest.thumbnails import delete_unused_thumbnails, loosen_all
    from scenesearch.evaluation.promotion import evaluations_folder
    from scenesearch.store.catalog import collections_of, read_catalog

    installation, name = choose_library(library, named)
    roles = {"ready"} | ({"previous"} if rollback_target else set())
    roles |= {"building"} if unfinished else set()
    with installation.store() as store:
        half_made = _half_made(store, name) if unfinished else []
        entries = read_catalog(store).libraries.get(name, [])
        if not entries and not half_made:
            entries = collections_of(store, name)  # raises, naming the libraries there are
        doomed = [one for one in entries if one.role in roles]
        if (doomed or half_made) and not yes:
            for leftover in half_made:
                say(f"{leftover}: unfinished, without pictures")
            for one in doomed:
                count = count_pictures(store, one.name)
                say(f"{one.name}: encoder {one.spec.encoder}, {count} pictures")
            if not sys.stdin.isatty():
                fail("no terminal to ask whether to delete them: give --yes")
            typer.confirm("Delete them?", abort=True, err=True)
        for leftover in half_made:
            store.delete_collection(leftover)
        files = installation.files(name)
        if doomed:
            with closing(Journal(journal_file(files.folder))) as journal:
                for one in doomed:
                    loosen_all(store, one.name, journal, on_wait=say)
                    store.delete_collection(one.name)
                    shutil.rmtree(evaluations_folder(files.folder) / one.name, ignore_errors=True)
                with files.texts_if_any() as texts:
                    delete_unused_thumbnails(store, name, journal, files.thumbnails, texts)
        # What a killed prune had begun to delete is no collection any more. A server leaves nothing
        # of that kind; there it would delete incomplete collections.
        if installation.settings.qdrant_url is None:
            store.leftovers(remove=True)
    kept = [one for one in entries if one not in doomed]
    if as_json:
        print_json(
            {
                "library": name,
                "deleted": [*half_made, *(one.name for one in doomed)],
                "kept": [{"collection": one.name, "state": one.role} for one in kept],
            }
        )
        return
    names = ", ".join([*half_made, *(one.name for one in doomed)]) or "nothing to delete"
    rest = ", ".join(f"{k.name} ({k.role})" for k in kept) or "nothing"
    typer.echo(f"deleted: {names}; kept: {rest}")


def _half_made(store: "VectorStore", library: str) -> list[str]:
    """Collections that a stopped process began to make; a process still at it is waited for."""
    from scenesearch.store.catalog import read_catalog

    begun = {name for name, of in read_catalog(store).unfinished if of == library}
    if not begun:
        return []
    left = {one.name for one in store.leftovers() if one.kind == "collection"}
    return sorted(begun & left)
