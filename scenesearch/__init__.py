"""Describe a scene in words, get the photographs that show it."""

TYPE_CHECKING = False  # importing typing takes a moment in which Ctrl-C is not heard yet

if TYPE_CHECKING:
    from scenesearch.notebook import Library


def open(library: str | None = None, *, encoder: str | None = None) -> "Library":
    """A library to search from Python: see `scenesearch.notebook.open_library`."""
    # Imported only here: the command line imports this package and has to start fast.
    from scenesearch.notebook import open_library

    return open_library(library, encoder=encoder)
