"""What changes in folders, once it has come to rest.

Whoever copies a picture into a folder writes it in pieces: a path is ready when nothing has been
heard of it for `quiet_s` and its size and time are what they were when it was last looked at.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedNoWriteEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from scenesearch.errors import SceneSearchError

# Reading is no change; we read ourselves.
_READING = (FileOpenedEvent, FileClosedNoWriteEvent)

_State = tuple[int, int] | None


class WatchError(SceneSearchError):
    """A folder cannot be watched; the message is one sentence for the user."""


@dataclass(frozen=True)
class Changes:
    """Paths at rest: files and new folders that are there, files and folders that are gone."""

    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    gone: tuple[Path, ...] = ()
    gone_folders: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.folders or self.gone or self.gone_folders)


@dataclass
class _Unsettled:
    heard: float
    was_folder: bool = False
    looked_at: bool = False
    state: _State = field(default=None)


class FolderWatcher(FileSystemEventHandler):
    """Watches folders until closed; `settled` gives what has changed since it was last asked."""

    def __init__(self, folders: Sequence[Path], *, quiet_s: float) -> None:
        self._folders = list(folders)
        self._settle_s = quiet_s
        self._guard = threading.Lock()
        self._unsettled: dict[str, _Unsettled] = {}
        self._identities: dict[Path, _State] = {}
        self._observer: BaseObserver | None = None
        self._watch()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog's thread."""
        if isinstance(event, _READING) or (event.event_type == "modified" and event.is_directory):
            return
        gone_folder = isinstance(event, DirDeletedEvent | DirMovedEvent)
        self._hear(os.fsdecode(event.src_path), was_folder=gone_folder)
        if event.dest_path:
            self._hear(os.fsdecode(event.dest_path))

    def put_back(self, settled: Changes) -> None:
        """Give these out again: they could not be dealt with."""
        for path in (*settled.files, *settled.folders, *settled.gone):
            self._hear(str(path))
        for path in settled.gone_folders:
            self._hear(str(path), was_folder=True)

    def settled(self) -> Changes:
        """The paths that have come to rest, each given out once."""
        now = time.monotonic()
        with self._guard:
            due = {
                path: unsettled
                for path, unsettled in self._unsettled.items()
                if now - unsettled.heard >= self._settle_s
            }
        files: list[Path] = []
        folders: list[Path] = []
        gone: list[Path] = []
        gone_folders: list[Path] = []
        for path, unsettled in sorted(due.items()):
            state = _state(path)
            with self._guard:
                if self._unsettled.get(path) is not unsettled:
                    continue
                if not unsettled.looked_at or state != unsettled.state:
                    # Its next look is due a settling time from now.
                    unsettled.looked_at, unsettled.state, unsettled.heard = True, state, now
                    continue
                del self._unsettled[path]
            if state is None:
                (gone_folders if unsettled.was_folder else gone).append(Path(path))
            else:
                (folders if Path(path).is_dir() else files).append(Path(path))
        return Changes(tuple(files), tuple(folders), tuple(gone), tuple(gone_folders))

    def lost(self) -> list[Path]:
        """Folders that are not what they were, such as a disk taken out, and are watched anew.

        What happened in them meanwhile has not been heard.
        """
        changed = [f for f in self._folders if _identity(f) != self._identities[f]]
        if changed:
            self.close()
            self._watch()
        return changed

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _hear(self, path: str, *, was_folder: bool = False) -> None:
        with self._guard:
            earlier = self._unsettled.get(path)
            was_folder = was_folder or (earlier is not None and earlier.was_folder)
            self._unsettled[path] = _Unsettled(time.monotonic(), was_folder)

    def _watch(self) -> None:
        self._identities = {folder: _identity(folder) for folder in self._folders}
        observer = Observer()
        try:
            for folder in filter(Path.is_dir, self._folders):
                observer.schedule(self, str(folder), recursive=True)
            observer.start()
        except OSError as error:
            # The kernel's limit of watches is said as 'no space left on device'.
            hint = (
                "; too many folders: raise fs.inotify.max_user_watches"
                if error.errno in (24, 28)
                else ""
            )
            raise WatchError(
                f"{self._folders[0]} cannot be watched: {error.strerror or error}{hint}"
            ) from error
        self._observer = observer


def _state(path: str) -> _State:
    """Size and time; None for what is not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _identity(folder: Path) -> _State:
    """Which folder it is; None for one that is not there."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
