"""`scenesearch tag`: write tags to all pictures that a request finds."""

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.common import (
    EncoderOption,
    LibraryOption,
    WhereOption,
    check_library_exists,
    open_installation,
)
from scenesearch.commands.console import (
    FOUND,
    NOTHING,
    JsonOption,
    fail,
    interrupted,
    print_json,
    printable,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.tagging import Tagging, TagReport
    from scenesearch.home.installation import Installation
    from scenesearch.home.tag_changes import KeptChange, TagChange
    from scenesearch.search.answer import Hit


def tag(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT", help="What the pictures show, as for `search`. Quotes are optional."
        ),
    ] = None,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="TAG", help="Add it; may be repeated.")
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            metavar="TAG",
            help="Remove it, also where the picture's file says it; may be repeated.",
        ),
    ] = None,
    where: WhereOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-k", min=1, help="Only the best ones. Default: all that match."),
    ] = None,
    min_relevance: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Leave out less relevant pictures. Default: as `search`."),
    ] = None,
    write_xmp: Annotated[
        bool,
        typer.Option(
            "--write-xmp",
            help="Write the tags into the XMP files beside the pictures too, never into pictures.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the pictures that would be changed.")
    ] = False,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Undo the last change; again, the one before it."),
    ] = False,
    list_changes: Annotated[
        bool, typer.Option("--list", help="List the changes that can be undone, the last first.")
    ] = False,
    library: LibraryOption = None,
    encoder: EncoderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add tags to all pictures that match, or remove them. Exits 1 when nothing matches.

    Tags of this command stay when pictures are ingested again, renamed or restored from a backup.
    The same command continues one that was interrupted.
    """
    from ingest.tagging import checked_tags
    from scenesearch.home.tag_changes import TagChange

    text = " ".join(words or ())
    if undo or list_changes:
        _look_back(library, text=text, given=bool(add or remove), undo=undo, as_json=as_json)
        return
    added, removed = checked_tags(add or ()), checked_tags(remove or ())
    if not added and not removed:
        fail("nothing to change: give --add TAG or --remove TAG")
    both = {one.casefold() for one in added} & {one.casefold() for one in removed}
    if both:
        fail(f"{', '.join(sorted(both))}: both added and removed")
    from scenesearch.notebook import open_library

    installation = open_installation()
    with open_library(library, encoder=encoder, installation=installation) as opened:
        name = opened.name
        request = str(opened.request(text, where=where or ()))
        bounds = [f"the best {limit}"] if limit else []
        bounds += [] if min_relevance is None else [f"at least {min_relevance:.0%} relevant"]
        what = f"the pictures of: {request}" + (f" ({', '.join(bounds)})" if bounds else "")
        change = TagChange(what, added, removed, in_files=write_xmp)
        hits = opened.matches(text, where=where or (), min_relevance=min_relevance, limit=limit)
        if dry_run:
            _show_plan(name, change, hits, as_json=as_json)
        ids = [hit.image_id for hit in hits]
    # Where a command was stopped, its own tags may be why it finds nothing now.
    report = change_tags(installation, name, change, ids)
    if report is None:
        say(f"nothing in library {name} matches {request!r}")
        sys.exit(NOTHING)
    print_tag_report(report, as_json=as_json)


def change_tags(
    installation: "Installation", library: str, change: "TagChange", ids: "list[str]"
) -> "TagReport | None":
    """Tag these pictures, with a bar; None where there are none. A signal ends the command."""

    with open_tagging(installation, library, "tagging") as tagging:
        last = tagging.changes.last()
        is_going_on = last is not None and last.state == "begun" and last.change == change
        if not ids and not is_going_on:
            return None
        if last is not None and last.state != "done" and not is_going_on:
            say(f"the change before was stopped, and stays until `tag --undo`: {last.change}")
        return tagging.apply(tagging.begin(change, ids))


def print_tag_report(report: "TagReport", *, as_json: bool = False, done: str = "changed") -> None:
    for path, reason in report.refused.items():
        say(printable(f"no side file is written for {path}: {reason}"))
    if more := report.refused_files - len(report.refused):
        say(f"and {more:,} more side files are not written")
    if as_json:
        print_json(report.to_json())
        return
    files = f", {report.side_files:,} side files written" if report.side_files else ""
    gone = f", {report.gone:,} are gone" if report.gone else ""
    typer.echo(
        printable(
            f"{report.library}: {report.change}: {report.changed:,} of {report.pictures:,} "
            f"pictures {done}{files}{gone}"
        )
    )


def _show_plan(library: str, change: "TagChange", hits: "Iterable[Hit]", *, as_json: bool) -> None:
    """List what the change would do, and exit."""
    from ingest.tagging import would_change

    found = list(hits)
    changed = [hit for hit in found if would_change(change, hit.payload)]
    if as_json:
        ids = [hit.image_id for hit in changed]
        print_json(
            {
                "library": library,
                "change": str(change),
                "matching": len(found),
                "would_change": ids,
            }
        )
    else:
        for hit in changed:
            typer.echo(printable(hit.path))
        say(
            f"{len(changed):,} of {len(found):,} matching pictures would be changed; nothing was "
            "changed"
        )
    sys.exit(FOUND if found else NOTHING)


def _look_back(library: str | None, *, text: str, given: bool, undo: bool, as_json: bool) -> None:
    """`--list` and `--undo`."""
    if text or given:
        fail("--undo and --list take no request and no tags")
    installation = open_installation()
    name = installation.library_name(library)
    check_library_exists(installation, name)
    files = installation.files(name)
    changes: list[KeptChange] = []
    if files.tag_changes.is_file():
        with files.open_tag_changes() as table:
            changes = table.all()
    if not undo:
        _print_changes(changes, as_json=as_json)
        return
    if not changes:
        fail(f"library {name} has no change of tags to undo")
    with open_tagging(installation, name, "undoing") as tagging:
        report = tagging.undo(changes[0])
    print_tag_report(report, as_json=as_json, done="changed back")


def _print_changes(changes: "list[KeptChange]", *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "number": one.number,
                    "made": one.made,
                    "change": str(one.change),
                    "state": one.state,
                    "pictures": one.pictures,
                }
                for one in changes
            ]
        )
        return
    for one in changes:
        stopped = "" if one.state == "done" else f"  (stopped: {one.state})"
        typer.echo(printable(f"{one.made}  {one.pictures:>7,}  {one.change}{stopped}"))
    if not changes:
        say("there is no change of tags to undo")


@contextmanager
def open_tagging(installation: "Installation", library: str, doing: str) -> "Iterator[Tagging]":
    """Tags the library's pictures, with a bar; a signal ends the command."""
    from ingest.shards import WHOLE
    from ingest.tagging import Tagging
    from scenesearch.commands.ingesting import only_ingest

    with (
        installation.store(patient=True) as store,
        only_ingest(installation, library, WHOLE),
        installation.files(library).open_tag_changes() as changes,
        progress_bar() as progress,
    ):
        task = progress.add_task(doing, total=None)
        try:
            yield Tagging(
                store,
                library,
                changes,
                installation.originals,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
                on_wait=say,
            )
        except KeyboardInterrupt:
            interrupted("interrupted; the same command continues, `scenesearch tag --undo` undoes")
