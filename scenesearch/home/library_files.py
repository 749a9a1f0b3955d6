"""The files of a library: what it keeps beside its collection, in a folder of its own.

<data dir>/libraries/<library>/
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scenesearch.home.feedback import FILE_NAME as FEEDBACK
from scenesearch.home.feedback import Feedback, Mark
from scenesearch.home.picture_texts import FILE_NAME as TEXTS
from scenesearch.home.picture_texts import PictureTexts
from scenesearch.home.rejects import FILE_NAME as REJECTS
from scenesearch.home.rejects import Reject, Rejects
from scenesearch.home.roots import SOURCES
from scenesearch.home.tag_changes import FILE_NAME as TAG_CHANGES
from scenesearch.home.tag_changes import TagChanges

SAVED_REQUESTS = "saved-requests.json"


@dataclass(frozen=True)
class LibraryFiles:
    """Where each of them is. The folder need not exist."""

    folder: Path

    @property
    def thumbnails(self) -> Path:
        """The folder of thumbnails."""
        return self.folder / "thumbnails"

    @property
    def received(self) -> Path:
        """The folder of the pictures that clients of the server have sent, a folder each time."""
        return self.folder / "received"

    @property
    def sources(self) -> Path:
        """The list of the folders and addresses that the library was filled from."""
        return self.folder / SOURCES

    @property
    def saved_requests(self) -> Path:
        """The requests that visitors of the page saved."""
        return self.folder / SAVED_REQUESTS

    @property
    def rejects(self) -> Path:
        """The table of what could not be ingested."""
        return self.folder / REJECTS

    @property
    def feedback(self) -> Path:
        """The table of hits that were marked right or wrong."""
        return self.folder / FEEDBACK

    @property
    def tag_changes(self) -> Path:
        """The tables of the changes of tags that can be undone."""
        return self.folder / TAG_CHANGES

    @property
    def texts(self) -> Path:
        """The table of what is written in the pictures."""
        return self.folder / TEXTS

    def open_texts(self) -> PictureTexts:
        """The table, made when missing."""
        return PictureTexts(self.texts)

    def texts_if_any(self) -> AbstractContextManager[PictureTexts | None]:
        """The table, None where no picture has been read."""
        return self.open_texts() if self.texts.is_file() else nullcontext()

    def open_tag_changes(self) -> TagChanges:
        """The tables, made when missing."""
        return TagChanges(self.tag_changes)

    def open_rejects(self) -> Rejects:
        """The table, made when missing."""
        return Rejects(self.rejects)

    def read_rejects(self) -> list[Reject]:
        """All rejects by path; none where no ingest has left a table."""
        return Rejects.read(self.rejects)

    def open_feedback(self) -> Feedback:
        """The table, made when missing."""
        return Feedback(self.feedback)

    def read_marks(self) -> list[Mark]:
        """All marks by text and image id; none where no hit has been marked."""
        return Feedback.read(self.feedback)
