"""What several commands share: their options, the installation, the library they are about."""

from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.console import fail, printable, read_settings, say

if TYPE_CHECKING:
    from scenesearch.home.installation import Installation
    from scenesearch.store.base import VectorStore

LibraryOption = Annotated[
    str | None,
    typer.Option("--library", "-l", help="Name of the library; default: SCENESEARCH_LIBRARY."),
]
# The commands of `library` take the name in either place.
LibraryArgument = Annotated[
    str | None,
    typer.Argument(
        help="Name of the library, here or after --library; default: SCENESEARCH_LIBRARY.",
        metavar="LIBRARY",
    ),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Encoder, by name or folder. Default: the library's own; for a new library "
        "SCENESEARCH_ENCODER.",
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        metavar="EXPR",
        help="Filters, which may also stand in the text; may be repeated: 'orientation:landscape "
        "taken:2019..2021 width:>2000 camera:canon tag:sea,boat folder:2020/* caption:boat "
        "has:caption -camera:nikon near:55.75,37.62,50km'; camera=Canon is that value exactly. "
        "'and' (or a blank), 'or', 'not' and parentheses join them, 'and' binds tighter than 'or': "
        "'(camera:canon or camera:nikon) -tag:draft'.",
    ),
]


def open_installation() -> "Installation":
    """The installation that the settings describe; a wait for its store is said on stderr."""
    from scenesearch.home.installation import Installation

    return Installation(read_settings(), on_wait=say)


def choose_library(argument: str | None, option: str | None) -> "tuple[Installation, str]":
    """The installation, and the library named as an argument or by --library, else the default."""
    installation = open_installation()
    return installation, named_library(argument, option, installation.settings.library)


def named_library(argument: str | None, option: str | None, default: str) -> str:
    """The name given as an argument or by --library, else the default."""
    from scenesearch.pictures.records import check_library_name

    if argument is not None and option is not None and argument != option:
        fail(f"two libraries are named, {argument} and {option}: name one")
    named = argument if argument is not None else option
    return check_library_name(default if named is None else named)


def check_library_exists(installation: "Installation", name: str) -> None:
    """Raise CollectionMissing where neither the data folder nor the store has the library."""
    if not installation.files(name).folder.is_dir():
        with installation.store(reading=True) as store:
            store.describe(name)


def count_pictures(store: "VectorStore", collection: str) -> int | None:
    """How many the collection holds; None while another process uses it."""
    from scenesearch.store.base import IndexBusy

    try:
        count = store.count(collection)
    except IndexBusy:
        return None
    store.release(collection)
    return count


def find_image_id(store: "VectorStore", library: str, given: str) -> str:
    """The id of a picture, given as such or as the path that `search` lists, which ends with it."""
    parts = given.split("/")
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    found = store.retrieve(library, [end for end in ends if end])
    listed = [image_id for image_id, point in found.items() if point.payload.get("path") == given]
    if given not in found and not listed:
        fail(printable(f"library {library} has no picture {given}"))
    return given if given in found else listed[0]
