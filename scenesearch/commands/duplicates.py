"""`scenesearch library duplicates`."""

import shlex
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import (
    JsonOption,
    fail,
    interrupted,
    print_json,
    printable,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.set_aside import PlannedGroup, SetAside, SetAsideReport
    from scenesearch.home.installation import Installation
    from scenesearch.pictures.duplicates import Group


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
    keep: Annotated[
        Literal["best"] | None,
        typer.Option(
            help="With --move-to: keep the picture of each group with the most pixels, then the "
            "largest file, then the most metadata."
        ),
    ] = None,
    move_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Show how the other pictures would be moved to this folder, with their side "
            "files. With --yes they are.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Move them.")] = False,
    undo: Annotated[
        Path | None,
        typer.Option(metavar="LIST", help="Move the pictures of a list back that --yes wrote."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List pictures that a library has more than once: same content, or nearly the same look.

    The largest groups come first. Nothing is removed; with --keep best --move-to FOLDER --yes all
    but the best of each group move to another folder. No file is ever deleted or overwritten.
    """
    if (keep is None) != (move_to is None):
        fail("--keep best and --move-to FOLDER belong together")
    if yes and move_to is None:
        fail("--yes needs --keep best --move-to FOLDER")
    if undo is not None and move_to is not None:
        fail("--undo moves back what --move-to has moved: give one of them")
    installation, name = choose_library(library, named)
    if undo is not None:
        _undo(installation, name, undo, as_json=as_json)
        return
    groups, pictures = _find(installation, name, distance)
    if move_to is not None:
        _move(installation, name, groups, move_to, yes=yes, limit=limit, as_json=as_json)
    else:
        _list(name, groups, pictures, limit=limit, as_json=as_json)


def _find(installation: "Installation", name: str, distance: int) -> "tuple[list[Group], int]":
    """The groups, and the number of pictures that were compared."""
    from scenesearch.pictures.duplicates import find_groups, hashed_picture

    with installation.store() as store:
        points = store.scroll(name, payload=("sha256", "phash"))
        looks = [
            look for point in points if (look := hashed_picture(point.image_id, point.payload))
        ]
    return find_groups(looks, most_distant=distance), len(looks)


def _list(
    name: str, groups: "Sequence[Group]", pictures: int, *, limit: int, as_json: bool
) -> None:
    if as_json:
        print_json(
            {
                "library": name,
                "pictures": pictures,
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
    say(f"{name}: {spare} of {pictures} pictures are copies, in {len(groups)} groups{more}")


def _move(
    installation: "Installation",
    name: str,
    groups: "Sequence[Group]",
    move_to: Path,
    *,
    yes: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Show the plan, and with `yes` carry it out."""
    from ingest.set_aside import check_folder
    from scenesearch.home.roots import read_roots

    files = sorted((installation.settings.data_dir / "libraries").glob("*/sources.json"))
    folder = check_folder(move_to, (root for file in files for root in read_roots(file)))
    with _open_set_aside(installation, name, "moving" if yes else "") as set_aside:
        plan = set_aside.plan(groups)
        if not as_json:
            _print_plan(plan, folder, limit)
        count = sum(len(group.moves) for group in plan)
        report = set_aside.move(plan, folder) if yes else None
    if as_json:
        done = None if report is None else report.to_json()
        print_json({"library": name, "groups": [group.to_json() for group in plan], "moved": done})
    elif report is None:
        hint = "; --yes moves them" if count else ""
        say(f"{name}: {count:,} copies would be moved to {folder}; nothing was moved{hint}")
    else:
        _print_report(report, f"moved to {folder}")
        if report.list:
            command = shlex.join(
                ["scenesearch", "library", "duplicates", name, "--undo", report.list]
            )
            say(f"`{command}` moves them back")
    if report is not None and report.interrupted:
        interrupted("interrupted; what was moved is in the list")


def _undo(installation: "Installation", name: str, file: Path, *, as_json: bool) -> None:
    with _open_set_aside(installation, name, "moving back") as set_aside:
        report = set_aside.undo(file)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report, "moved back")
    if report.to_ingest:
        say(f"{report.to_ingest:,} of them come into the library again with the next ingest")
    if report.interrupted:
        interrupted("interrupted; the same command continues")


def _print_plan(plan: "Sequence[PlannedGroup]", folder: Path, limit: int) -> None:
    from scenesearch.pictures.best_copy import ORDER

    say(f"kept of each group: {ORDER}")
    for group in plan[:limit]:
        typer.echo(printable(f"keep  {group.kept}  ({group.why})"))
        for one in group.moves:
            typer.echo(printable(f"  move  {one.source} -> {folder / one.target}"))
        for image_id, reason in group.left.items():
            typer.echo(printable(f"  stay  {image_id}: {reason}"))
    if len(plan) > limit:
        typer.echo(f"and {len(plan) - limit:,} more groups")


def _print_report(report: "SetAsideReport", done: str) -> None:
    for image_id, reason in report.left.items():
        say(printable(f"not moved: {image_id}: {reason}"))
    sides = f", with {report.side_files:,} side files" if report.side_files else ""
    typer.echo(printable(f"{report.library}: {report.moved:,} pictures {done}{sides}"))


@contextmanager
def _open_set_aside(installation: "Installation", name: str, doing: str) -> "Iterator[SetAside]":
    """The library's copies; a bar is shown where something is `doing`."""
    from ingest.set_aside import SetAside
    from ingest.shards import WHOLE
    from scenesearch.commands.ingesting import only_ingest

    files = installation.files(name)
    with ExitStack() as stack:
        store = stack.enter_context(installation.store(patient=True))
        store.describe(name)
        if not doing:
            yield SetAside(store, name, files, installation.originals)
            return
        stack.enter_context(only_ingest(installation, name, WHOLE))
        rejects = stack.enter_context(files.open_rejects())
        progress = stack.enter_context(progress_bar())
        task = progress.add_task(doing, total=None)
        yield SetAside(
            store,
            name,
            files,
            installation.originals,
            rejects,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
