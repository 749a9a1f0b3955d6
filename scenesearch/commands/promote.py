"""`scenesearch library promote | rollback`: which collection of a library is live."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.common import (
    LibraryArgument,
    LibraryOption,
    choose_library,
    count_pictures,
)
from scenesearch.commands.console import NOTHING, JsonOption, fail, print_json, say
from scenesearch.commands.evaluate import (
    check_requirements,
    print_comparison,
    read_queries,
    run_evaluation,
    say_some,
)
from scenesearch.errors import did_you_mean

if TYPE_CHECKING:
    from scenesearch.evaluation.compare import Comparison
    from scenesearch.evaluation.output_folder import SavedRun
    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore
    from scenesearch.store.catalog import CatalogEntry
    from scenesearch.store.filters import Filter

CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection", "-c", help="Collection of the library; default: the one built last."
    ),
]


def promote(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    collection: CollectionOption = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate both with these queries now. Default: compare their saved evaluations."
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC>=NUMBER",
            help='Also require it, e.g. "recall@10>=0.9"; may be repeated.',
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Accept a collection that lacks pictures of the live one."
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Promote without evaluation, whatever is missing."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the new collection live if it answers no worse than the old one; else exit with 1.

    At every moment readers see one of the two. `library rollback` goes back.
    """
    from scenesearch.store import catalog

    installation, name = choose_library(library, named)
    if force and (queries or require):
        fail("--force promotes without an evaluation: leave out --queries and --require")
    with installation.store() as store:
        entries = catalog.collections_of(store, name)
        new = _candidate(entries, name, collection)
        live = next((one for one in entries if one.role == "live"), None)
        reasons: list[str] = []
        comparison: Comparison | None = None
        if live is not None and not force:
            reasons, comparison = _objections(
                installation, store, live, new, queries, require or [], allow_missing=allow_missing
            )
        if not reasons:
            catalog.promote(store, name, new.name)
    was = live.name if live else None
    if as_json:
        print_json(
            {
                "library": name,
                "collection": new.name,
                "previous": was,
                "promoted": not reasons,
                "forced": force,
                "reasons": reasons,
                "comparison": comparison.to_json() if comparison else None,
            }
        )
    elif comparison is not None:
        print_comparison(comparison, f"{was}, which was live", f"{new.name}, the new one")
    for reason in reasons:
        say(reason)
    if reasons:
        say(f"{new.name} is not promoted, {was} stays live; --force promotes it all the same")
        sys.exit(NOTHING)
    if not as_json:
        back = f"; `scenesearch library rollback {name}` goes back to {was}" if was else ""
        typer.echo(f"{new.name} is live{back}")


def _candidate(
    entries: "list[CatalogEntry]", library: str, collection: str | None
) -> "CatalogEntry":
    """The collection to promote: the one named, else the one built last."""
    if collection is not None:
        names = [one.name for one in entries]
        named = [one for one in entries if one.name == collection]
        if not named:
            fail(
                f"library {library} has no collection {collection!r}; "
                f"there are: {', '.join(names)}{did_you_mean(collection, names)}"
            )
        if named[0].role == "live":
            fail(f"{collection} is live already")
        return named[0]
    ready = [one for one in entries if one.role == "ready"]
    building = [one for one in entries if one.role == "building"]
    if not ready and building:
        fail(
            f"{building[-1].name} is not complete: `scenesearch library build {library} --encoder "
            f"{building[-1].spec.encoder}` goes on with it"
        )
    if not ready:
        previous = next((one.name for one in entries if one.role == "previous"), None)
        other = f", `scenesearch library rollback {library}` goes to {previous}" if previous else ""
        fail(
            f"library {library} has no new collection to promote: "
            f"`scenesearch library build {library} --encoder NAME` makes one{other}"
        )
    return ready[-1]


def _objections(
    installation: "Installation",
    store: "VectorStore",
    live: "CatalogEntry",
    new: "CatalogEntry",
    queries: Path | None,
    require: list[str],
    *,
    allow_missing: bool,
) -> "tuple[list[str], Comparison | None]":
    """The reasons against the new collection, and the comparison of both."""
    from scenesearch.evaluation.promotion import Gap, check_promotion

    def hint(found: Gap) -> str:
        bring = f"`scenesearch library build {live.spec.library} --encoder {new.spec.encoder}`"
        without = ", --allow-missing goes without them" if found.lacking else ""
        return f"{bring} brings it up to date{without}"

    entries = {one.name: one for one in (live, new)}

    def evaluated(name: str, where: "Filter") -> "SavedRun":
        return _evaluated(installation, store, entries[name], queries, where)

    alone = installation.has_replaced(live.spec)
    found = check_promotion(
        store,
        live.name,
        new.name,
        None if alone else evaluated,
        hint=hint,
        allow_missing=allow_missing,
        on_wait=say,
    )
    reasons = list(found.reasons)
    if found.comparison is not None:
        metrics = {one.metric: one.b for one in found.comparison.differences}
        reasons += check_requirements(require, metrics)
    elif alone and not reasons:
        say(f"{live.name} cannot be searched any more: there is nothing to compare with")
        if queries or require:
            metrics = evaluated(new.name, ()).query_metrics.means()
            reasons += check_requirements(require, metrics)
    if found.doubt and not reasons:
        say(found.doubt)
    return reasons, found.comparison


def _evaluated(
    installation: "Installation",
    store: "VectorStore",
    entry: "CatalogEntry",
    queries: Path | None,
    where: "Filter",
) -> "SavedRun":
    """The collection's evaluation: run now with these queries, else the saved one."""
    from scenesearch.evaluation.output_folder import ComparisonError, read_saved, save
    from scenesearch.evaluation.promotion import evaluations_folder, read_current_evaluation
    from scenesearch.runtime.files import make_private, private_folder

    own = installation.files(entry.spec.library).folder
    folder = evaluations_folder(own) / entry.name
    if queries is not None:
        encoder = installation.library_encoder(store, entry.name)
        notes: list[str] = []
        evaluation = run_evaluation(
            read_queries(queries, notes),
            encoder,
            store,
            entry.name,
            where=where,
        )
        say_some(notes)
        # The page shows the notes to the public, who should not learn where the file is.
        notes = [note.replace(str(queries), queries.name) for note in notes]
        save(
            private_folder(folder),
            title=f"{encoder.info.name} on {entry.name}",
            evaluation=evaluation,
            notes=notes,
        )
        make_private(folder)
        return read_saved(folder)
    try:
        return read_current_evaluation(store, own, entry.name, on_wait=say)
    except ComparisonError as error:
        fail(f"{error}: give --queries FILE to evaluate both now, or --force to do without")


def rollback(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the previous collection live again. A second rollback undoes the first."""
    from scenesearch.store import catalog

    installation, name = choose_library(library, named)
    with installation.store() as store:
        live, target = store.resolve(name), catalog.rollback_target(store, name)
        before, after = count_pictures(store, live), count_pictures(store, target)
        spec = store.describe(target)
        catalog.promote(store, name, target)
    if None not in (before, after) and before != after:
        say(
            f"{target} holds {after} pictures, {live} {before}: what was ingested or removed "
            "since is not in it until it is ingested again"
        )
    if installation.has_replaced(spec):
        say(
            f"{target} cannot be searched here: its {spec.encoder} ({spec.fingerprint[:8]}) is "
            f"gone; `scenesearch library rollback {name}` goes back to {live}"
        )
    if as_json:
        print_json({"library": name, "collection": target, "previous": live})
    else:
        typer.echo(f"{target} is live again; {live} is kept")
