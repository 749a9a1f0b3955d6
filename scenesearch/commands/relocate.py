"""`scenesearch library relocate`: the pictures have moved, and the library follows."""

from pathlib import Path
from typing import Annotated

import typer

from scenesearch.commands.common import LibraryArgument, LibraryOption, choose_library
from scenesearch.commands.console import JsonOption, print_json, printable, progress_bar, say
from scenesearch.commands.ingesting import only_ingest


def relocate(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The folder as the library knows it.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where its pictures are now.")],
    library: LibraryArgument = None,
    named: LibraryOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only compare contents and count the pictures.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Re-point a library whose folder has moved. Nothing is encoded; captions and marks stay.

    The contents of up to 50 pictures are compared first. A command that was stopped is finished by
    the same command.
    """
    from ingest.relocate import relocate as run
    from ingest.shards import WHOLE

    installation, name = choose_library(library, named)
    files = installation.files(name)
    with installation.store(patient=True) as store:
        store.describe(name)
        with (
            only_ingest(installation, name, WHOLE),
            files.open_rejects() as rejects,
            progress_bar() as progress,
        ):
            task = progress.add_task("re-pointing", total=None)
            report = run(
                name,
                old,
                str(new),
                store=store,
                library_dir=files.folder,
                rejects=rejects,
                dry_run=dry_run,
                on_progress=lambda done, of: progress.update(task, completed=done, total=of),
                on_wait=say,
            )
    if as_json:
        print_json(report.to_json())
        return
    typer.echo(f"compared {report.compared} pictures: {report.same} have the same content")
    for path in report.unlike:
        say(f"not there with this content: {path}")
    for root, place in report.folders.items():
        typer.echo(printable(f"{root} -> {place}"))
    if dry_run:
        typer.echo(f"{name}: {report.pictures} would be re-pointed; nothing was changed")
    else:
        joined = f", {report.joined} joined with a second entry" if report.joined else ""
        typer.echo(f"{name}: {report.pictures} re-pointed{joined}")
