"""What visitors called right and wrong for a text, kept by the library or its server."""

from typing import Literal

from ui.resources import api_library, library_files
from ui.settings import page_settings

Mark = Literal["right", "wrong", "none"]


def takes_marks() -> bool:
    """Whether a visitor may mark pictures: not on a read-only page, nor where the page's key does
    not allow it."""
    if page_settings().page_read_only:
        return False
    library = api_library()
    return library is None or library.describe().may_write


def marks_of(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pictures that visitors marked as right for the text, and those marked as wrong."""
    if not text:
        return (), ()
    if (library := api_library()) is not None:
        return library.marks_of(text)
    files = library_files()
    if not files.feedback.exists():
        return (), ()
    with files.open_feedback() as feedback:
        return feedback.of(text)


def set_mark(text: str, image_id: str, mark: Mark) -> None:
    """Mark the picture for the text; the last mark counts."""
    if (library := api_library()) is not None:
        library.mark(text, image_id, mark)
        return
    with library_files().open_feedback() as feedback:
        if mark == "none":
            feedback.forget(text, [image_id])
        else:
            feedback.mark(text, [image_id], right=mark == "right")
