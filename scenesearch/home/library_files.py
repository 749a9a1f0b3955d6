"""The files of a library: what it keeps beside its collection, in a folder of its own.

<data dir>/libraries/<library>/
"""

from dataclasses import dataclass
from pathlib import Path

from scenesearch.home.feedback import FILE_NAME as FEEDBACK
from scenesearch.home.feedback import Feedback, Mark
from scenesearch.home.rejects import FILE_NAME as REJECTS
from scenesearch.home.rejects import Reject, Rejects
from scenesearch.home.roots import SOURCES

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
