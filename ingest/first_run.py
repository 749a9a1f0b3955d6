"""A first run that could use nothing: it leaves no folder of a library behind."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from ingest.report import IngestReport

# What an ingest makes there. Uploads, marks and saved requests are others'.
_OURS = re.compile(
    r"sources\.json|(rejects|tidying[\d-]*(of-\d+)?)\.sqlite(-wal|-shm|-journal)?"
    r"|thumbnails|archives|shards|ingest(-\d+-of-\d+)?\.(lock|holder\.json|wanted)"
)


class FirstRun:
    """Remembers what is in the library's folder; to be made before the run begins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = _names(folder)

    def discard(self) -> None:
        """Delete what the run has made in the folder, and the folder if nothing else is in it."""
        for name in _names(self._folder) - self._before:
            if _OURS.fullmatch(name):
                path = self._folder / name
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        if self._folder.is_dir() and not _names(self._folder):
            self._folder.rmdir()


def nothing_usable(report: IngestReport, reasons: Sequence[str] = ()) -> str:
    """The sentence on a first run that could use nothing of what it was given."""
    why = f": {'; '.join(reasons)}" if reasons else ""
    more = report.rejected - len(reasons)
    why += f"; and {more} more" if reasons and more else ""
    return f"nothing of it could be used, so there is no library {report.library} yet{why}"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
