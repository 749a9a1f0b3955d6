"""`scenesearch library build | promote | rollback | list | prune`: blue/green."""

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import (
    LibraryArgument,
    LibraryOption,
    chosen_library,
    library_encoder,
    open_store,
)
from scenesearch.commands.console import (
    NOTHING,
    JsonOption,
    fail,
    interrupted,
    print_json,
    printable,
    progress_bar,
    read_settings,
    say,
)
from scenesearch.commands.evaluate import (
    check_requirements,
    print_comparison,
    read_queries,
    run_evaluation,
    say_some,
)
from scenesearch.errors import did_you_mean

if TYPE_CHECKING:
    from ingest.build import BuildReport
    from scenesearch.evaluation.compare import Comparison
    from scenesearch.evaluation.output_folder import SavedRun
    from scenesearch.home.settings import Settings
    from scenesearch.store.base import IndexBusy, VectorStore
    from scenesearch.store.catalog import Held
    from scenesearch.store.filters import Filter

CollectionOption = Annotated[
    str | None,
    typer.Option(
        "--collection", "-c", help="Collection of the library; default: the one built last."
    ),
]

MOST_UNUSABLE = 20


def waiting(busy: "IndexBusy") -> None:
    """Said once when an embedded collection is in another process's hands."""
    say(f"{str(busy).removesuffix('; close it or wait')}; waiting")


def build(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="Encoder of the new collection, by name or folder; default: the library's own, "
            "all encoded afresh.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Threads that decode and encode; default: one per core."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures encoded together.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make another encoder's collection beside the live one, which keeps answering.

    Pictures are encoded again from their originals; where only the text side of the encoder
    changed, vectors are copied. Run it again to go on after a stop, or to bring it up to date.
    """
    from ingest.build import BuildOptions
    from ingest.build import build as start
    from scenesearch.encoder.onnx import usable_cores
    from scenesearch.encoder.registry import remember_encoder
    from scenesearch.home.ingested import ingested

    settings = read_settings()
    name = chosen_library(library, named, settings.library)
    with open_store(settings) as store, progress_bar() as progress:
        store.describe(name)  # says which libraries there are
        loaded = library_encoder(settings, encoder, store, name, verify=True)
        remember_encoder(settings.known_encoders, loaded.info)
        task = progress.add_task("building", total=None)
        report = start(
            name,
            encoder=loaded,
            store=store,
            originals=ingested(settings),
            live_image_fingerprint=live_image_fingerprint(settings, store, name),
            options=BuildOptions(
                workers=workers or settings.threads or usable_cores(),
                batch_size=batch_size or settings.batch_size or BuildOptions.batch_size,
                max_megapixels=settings.max_megapixels,
            ),
            on_progress=lambda now: progress.update(task, total=now.total, completed=now.seen),
            on_wait=waiting,
        )
    if as_json:
        print_json(report.to_json())
    else:
        print_build_report(report)
    if report.interrupted:
        interrupted("interrupted; run the same command again to continue")


def live_image_fingerprint(settings: "Settings", store: "VectorStore", library: str) -> str:
    """The picture side of the live collection's encoder, '' where nobody knows it."""
    from scenesearch.encoder.base import EncoderError
    from scenesearch.encoder.folder import read_encoder_info
    from scenesearch.encoder.registry import find_by_fingerprint

    spec = store.describe(library)
    if spec.image_fingerprint:
        return spec.image_fingerprint
    try:
        folder = find_by_fingerprint(
            spec.fingerprint,
            spec.encoder,
            default=settings.encoder,
            shelf=settings.models_dir,
            file=settings.known_encoders,
        )
    except EncoderError:
        return ""
    return read_encoder_info(folder).image_fingerprint


def print_build_report(report: "BuildReport") -> None:
    for one in list(report.unusable.values())[:MOST_UNUSABLE]:
        say(f"not in the new collection: {one.image_id}: {one.path}: {one.reason}")
    if len(report.unusable) > MOST_UNUSABLE:
        say(f"and {len(report.unusable) - MOST_UNUSABLE} more; --json lists all")
    if report.unusable:
        say(
            "`scenesearch ingest` of their folders brings changed and moved ones up to date in the "
            f"live collection, then `scenesearch library build {report.library}` takes them over"
        )
    typer.echo(
        f"{report.collection}: {report.encoded} encoded, {report.copied} copied, "
        f"{report.kept} there before, {report.removed} removed, {len(report.unusable)} unusable; "
        f"{report.live} is live"
    )


def promote(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    collection: CollectionOption = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate both by these queries now; default: the evaluations kept from before."
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC>=NUMBER", help='Also demand it, e.g. "recall@10>=0.9"; may be repeated.'
        ),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Also where the new collection lacks pictures of the live one."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Without an evaluation, whatever pictures are missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the new collection the live one, if it answers no worse; exits with 1 if it does not.

    Readers see the old one or the new one, never none; `library rollback` goes back.
    """
    from scenesearch.store import catalog

    settings = read_settings()
    name = chosen_library(library, named, settings.library)
    if force and (queries or require):
        fail("--force promotes without an evaluation: leave out --queries and --require")
    with open_store(settings) as store:
        held = catalog.collections_of(store, name)
        new = candidate(held, name, collection)
        live = next((one for one in held if one.role == "live"), None)
        reasons: list[str] = []
        comparison: Comparison | None = None
        if live is not None and not force:
            reasons, comparison = objections(
                settings, store, live, new, queries, require or [], allow_missing=allow_missing
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


def candidate(held: "list[Held]", library: str, collection: str | None) -> "Held":
    """The collection to promote: the one named, else the one built last."""
    if collection is not None:
        names = [one.name for one in held]
        named = [one for one in held if one.name == collection]
        if not named:
            fail(
                f"library {library} has no collection {collection!r}; "
                f"there are: {', '.join(names)}{did_you_mean(collection, names)}"
            )
        if named[0].role == "live":
            fail(f"{collection} is live already")
        return named[0]
    ready = [one for one in held if one.role == "ready"]
    building = [one for one in held if one.role == "building"]
    if not ready and building:
        fail(
            f"{building[-1].name} is not complete: `scenesearch library build {library} --encoder "
            f"{building[-1].spec.encoder}` goes on with it"
        )
    if not ready:
        behind = next((one.name for one in held if one.role == "previous"), None)
        other = f", `scenesearch library rollback {library}` goes to {behind}" if behind else ""
        fail(
            f"library {library} has no new collection to promote: "
            f"`scenesearch library build {library} --encoder NAME` makes one{other}"
        )
    return ready[-1]


def objections(
    settings: "Settings",
    store: "VectorStore",
    live: "Held",
    new: "Held",
    queries: Path | None,
    require: list[str],
    *,
    allow_missing: bool,
) -> "tuple[list[str], Comparison | None]":
    """What speaks against the new collection, and how both answered."""
    from scenesearch.evaluation.promotion import Gap, check_promotion

    def hint(found: Gap) -> str:
        bring = f"`scenesearch library build {live.spec.library} --encoder {new.spec.encoder}`"
        without = ", --allow-missing goes without them" if found.lacking else ""
        return f"{bring} brings it up to date{without}"

    held = {one.name: one for one in (live, new)}
    found = check_promotion(
        store,
        live.name,
        new.name,
        lambda name, where: _evaluated(settings, store, held[name], queries, where),
        hint=hint,
        allow_missing=allow_missing,
        on_wait=waiting,
    )
    reasons = list(found.reasons)
    if found.comparison is not None:
        metrics = {one.metric: one.b for one in found.comparison.differences}
        reasons += check_requirements(require, metrics)
    if found.doubt and not reasons:
        say(found.doubt)
    return reasons, found.comparison


def _evaluated(
    settings: "Settings",
    store: "VectorStore",
    held: "Held",
    queries: Path | None,
    where: "Filter",
) -> "SavedRun":
    """The collection's evaluation: run now with these queries, else the one kept from before."""
    from scenesearch.evaluation.output_folder import ComparisonError, read_saved, save
    from scenesearch.evaluation.promotion import evaluations_folder, read_current_evaluation
    from scenesearch.runtime.files import make_private, private_folder

    own = settings.library_dir(held.spec.library)
    folder = evaluations_folder(own) / held.name
    if queries is not None:
        encoder = library_encoder(settings, None, store, held.name)
        notes: list[str] = []
        evaluation = run_evaluation(
            read_queries(queries, notes),
            encoder,
            store,
            held.name,
            where=where,
        )
        say_some(notes)
        # The page shows them to the public too: where the file lies is nobody's business there.
        notes = [note.replace(str(queries), queries.name) for note in notes]
        save(
            private_folder(folder),
            title=f"{encoder.info.name} on {held.name}",
            evaluation=evaluation,
            notes=notes,
        )
        make_private(folder)
        return read_saved(folder)
    try:
        return read_current_evaluation(store, own, held.name, on_wait=waiting)
    except ComparisonError as error:
        fail(f"{error}: give --queries FILE to evaluate both now, or --force to do without")


def rollback(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the collection live again that the live one replaced; doing it twice comes back."""
    from scenesearch.store import catalog

    settings = read_settings()
    name = chosen_library(library, named, settings.library)
    with open_store(settings) as store:
        live, target = store.resolve(name), catalog.rollback_target(store, name)
        before, after = _pictures(store, live), _pictures(store, target)
        catalog.promote(store, name, target)
    if None not in (before, after) and before != after:
        say(
            f"{target} holds {after} pictures, {live} {before}: what was ingested or removed "
            "since is not in it until it is ingested again"
        )
    if as_json:
        print_json({"library": name, "collection": target, "previous": live})
    else:
        typer.echo(f"{target} is live again; {live} is kept")


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
    """Every library's collections: which is live, where a rollback leads, how each scores."""
    from scenesearch.store.catalog import collections_of, read_catalog

    settings = read_settings()
    with open_store(settings, reading=True, lock_wait_s=5) as store:
        catalog = read_catalog(store)
        libraries, foreign, unfinished = catalog.libraries, catalog.foreign, catalog.unfinished
        if library is not None or named is not None:
            name = chosen_library(library, named, settings.library)
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
                "pictures": _pictures(store, one.name),
                "created": one.spec.created or None,
                "evaluation": _summary(settings, one),
            }
            for held in libraries.values()
            for one in held
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
            f"unfinished: {name}, which is being made, or whose maker was stopped; "
            f"`scenesearch library prune {of or 'LIBRARY'} --unfinished` deletes it"
        )
    if foreign:
        say(f"not made by scenesearch: {', '.join(foreign)}")


def prune(
    library: LibraryArgument = None,
    named: LibraryOption = None,
    rollback_target: Annotated[
        bool, typer.Option("--previous", help="Also delete the one that a rollback leads to.")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Also delete those that were never completed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a library's collections that are neither live nor what a rollback leads to."""
    import shutil

    from ingest.journal import Journal, journal_file
    from ingest.thumbnails import loosen_all, sweep
    from scenesearch.evaluation.promotion import evaluations_folder
    from scenesearch.store.catalog import collections_of, read_catalog

    settings = read_settings()
    name = chosen_library(library, named, settings.library)
    roles = {"ready"} | ({"previous"} if rollback_target else set())
    roles |= {"building"} if unfinished else set()
    with open_store(settings) as store:
        half_made = _half_made(store, name) if unfinished else []
        held = read_catalog(store).libraries.get(name, [])
        if not held and not half_made:
            held = collections_of(store, name)  # says which libraries there are
        doomed = [one for one in held if one.role in roles]
        if (doomed or half_made) and not yes:
            for leftover in half_made:
                say(f"{leftover}: unfinished, without pictures")
            for one in doomed:
                say(
                    f"{one.name}: encoder {one.spec.encoder}, {_pictures(store, one.name)} pictures"
                )
            if not sys.stdin.isatty():
                fail("nobody to ask whether to delete them: give --yes")
            typer.confirm("Delete them?", abort=True, err=True)
        for leftover in half_made:
            store.delete_collection(leftover)
        own = settings.library_dir(name)
        if doomed:
            with closing(Journal(journal_file(own))) as journal:
                for one in doomed:
                    loosen_all(store, one.name, journal, on_wait=waiting)
                    store.delete_collection(one.name)
                    shutil.rmtree(evaluations_folder(own) / one.name, ignore_errors=True)
                sweep(store, name, journal, own / "thumbnails")
    kept = [one for one in held if one not in doomed]
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
    """Collections that a stopped process began to make; one that is at it is waited for."""
    from scenesearch.store.catalog import read_catalog

    begun = {name for name, of in read_catalog(store).unfinished if of == library}
    if not begun:
        return []
    left = {one.name for one in store.leftovers() if one.kind == "collection"}
    return sorted(begun & left)


def _pictures(store: "VectorStore", collection: str) -> int | None:
    """How many the collection holds; None while another process has it."""
    from scenesearch.store.base import IndexBusy

    try:
        count = store.count(collection)
    except IndexBusy:
        return None
    store.release(collection)
    return count


def _summary(settings: "Settings", held: "Held") -> dict[str, Any] | None:
    """The figures of the collection's kept evaluation."""
    from scenesearch.evaluation.promotion import evaluations_folder

    file = evaluations_folder(settings.library_dir(held.spec.library)) / held.name / "summary.json"
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
