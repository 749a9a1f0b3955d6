"""`scenesearch feedback`: mark hits as right or wrong, and export the marks for training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.common import (
    LibraryOption,
    check_library_exists,
    find_image_id,
    open_installation,
)
from scenesearch.commands.console import JsonOption, fail, print_json, printable, say

if TYPE_CHECKING:
    from scenesearch.home.installation import Installation

feedback_app = typer.Typer(
    help="Mark hits as right or wrong: search can rank by it, training learns from it.",
    no_args_is_help=True,
)

TextArgument = Annotated[str, typer.Argument(help="The text that was searched for.")]
ImagesArgument = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE", help="Pictures: paths as `search` lists them, or ids."),
]


@feedback_app.command()
def right(text: TextArgument, images: ImagesArgument, library: LibraryOption = None) -> None:
    """Mark pictures as right for the text."""
    _mark(text, images, library, right=True)


@feedback_app.command()
def wrong(text: TextArgument, images: ImagesArgument, library: LibraryOption = None) -> None:
    """Mark pictures as wrong for the text."""
    _mark(text, images, library, right=False)


@feedback_app.command()
def forget(
    text: TextArgument,
    image_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE_ID", help="Pictures; default: all that are marked."),
    ] = None,
    library: LibraryOption = None,
) -> None:
    """Remove marks for the text."""
    installation, name = _opened(library)
    with installation.files(name).open_feedback() as feedback:
        say(f"{feedback.forget(text, image_ids or None)} marks of library {name} taken back")


@feedback_app.command("list")
def list_marks(library: LibraryOption = None, as_json: JsonOption = False) -> None:
    """List all marks: text, picture, right or wrong."""
    installation, name = _opened(library)
    marks = installation.files(name).read_marks()
    if as_json:
        print_json([mark.to_json() for mark in marks])
    else:
        for mark in marks:
            word = "right" if mark.right else "wrong"
            typer.echo(printable(f"{word}  {mark.image_id}  {mark.text}"))


@feedback_app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder for pictures and judgments.")],
    library: LibraryOption = None,
) -> None:
    """Write all marks in the task's format, for `scenesearch train --data FOLDER`."""
    from scenesearch.home.feedback import export as write_judgments
    from scenesearch.search.grammar import scene_of

    installation, name = _opened(library)
    marks = installation.files(name).read_marks()
    if not marks:
        fail(f"library {name} has no marks yet: see `scenesearch feedback right`")
    with installation.store() as store:
        points = store.retrieve(name, sorted({mark.image_id for mark in marks}))
        fields = store.describe(name).fields
    allowed = installation.originals
    originals = {image_id: allowed.original(point.payload) for image_id, point in points.items()}
    written = write_judgments(marks, originals, folder, lambda text: scene_of(text, fields))
    for image_id, reason in written.pictures_left_out.items():
        say(printable(f"left out {image_id}: {reason}"))
    for text, reason in written.texts_left_out.items():
        say(printable(f"left out '{text}': {reason}"))
    say(
        f"{written.pairs} judged pairs of {written.texts} texts and {written.pictures} pictures "
        f"written to {folder}"
    )


def _mark(text: str, images: list[str], library: str | None, *, right: bool) -> None:
    installation, name = _opened(library)
    with installation.store() as store:
        found = [find_image_id(store, name, given) for given in images]
    with installation.files(name).open_feedback() as feedback:
        count = feedback.mark(text, found, right=right)
    say(f"{count} marked {'right' if right else 'wrong'} in library {name}")


def _opened(library: str | None) -> "tuple[Installation, str]":
    """The installation, and the name of the library, which exists."""
    installation = open_installation()
    name = installation.library_name(library)
    check_library_exists(installation, name)
    return installation, name
