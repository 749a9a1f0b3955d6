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
    """Where each of them lies. The folder need not exist."""

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

    def open_rejects(self) -> Rejects:
        """The table of what could not be ingested, made when missing."""
        return Rejects(self.folder / REJECTS)

    def read_rejects(self) -> list[Reject]:
        """All rejects by path. Where no ingest has left a table there are none."""
        return Rejects.read(self.folder / REJECTS)

    def open_feedback(self) -> Feedback:
        """The table of hits that were marked right or wrong, made when missing."""
        return Feedback(self.folder / FEEDBACK)

    def read_marks(self) -> list[Mark]:
        """All marks by text and image id. Where nobody has marked a hit there are none."""
        return Feedback.read(self.folder / FEEDBACK)
