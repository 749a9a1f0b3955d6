"""What changes in folders, reported once it is complete.

A picture that is copied into a folder arrives in pieces. So a path is reported when there was no
event about it for `quiet_s` and its size and time are what they were at the last look.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
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

# Reading is no change; ingest reads itself.
_READING = (FileOpenedEvent, FileClosedNoWriteEvent)

# Two numbers of a file or folder; None where there is none.
_State = tuple[int, int] | None


class WatchError(SceneSearchError):
    """A folder cannot be watched; the message is one sentence for the user."""


@dataclass(frozen=True)
class Changes:
    """Complete changes: files and folders that are new or different, files and folders gone."""

    files: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    gone: tuple[Path, ...] = ()
    gone_folders: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.folders or self.gone or self.gone_folders)


@dataclass
class _Pending:
    last_event: float
    was_folder: bool = False
    looked_at: bool = False
    state: _State = None


class FolderWatcher(FileSystemEventHandler):
    """Watches folders until closed; `take_changes` gives each change once."""

    def __init__(self, folders: Sequence[Path], *, quiet_s: float) -> None:
        self._folders = list(folders)
        self._quiet_s = quiet_s
        self._guard = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._identities: dict[Path, _State] = {}
        self._observer: BaseObserver | None = None
        self._watch()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog's thread."""
        if isinstance(event, _READING) or (event.event_type == "modified" and event.is_directory):
            return
        gone_folder = isinstance(event, DirDeletedEvent | DirMovedEvent)
        self._note(os.fsdecode(event.src_path), was_folder=gone_folder)
        if event.dest_path:
            self._note(os.fsdecode(event.dest_path))

    def put_back(self, changes: Changes) -> None:
        """Give these out again, because they could not be dealt with."""
        for path in (*changes.files, *changes.folders, *changes.gone):
            self._note(str(path))
        for path in changes.gone_folders:
            self._note(str(path), was_folder=True)

    def take_changes(self) -> Changes:
        """The paths whose change is complete."""
        now = time.monotonic()
        with self._guard:
            due = {
                path: pending
                for path, pending in self._pending.items()
                if now - pending.last_event >= self._quiet_s
            }
        files: list[Path] = []
        folders: list[Path] = []
        gone: list[Path] = []
        gone_folders: list[Path] = []
        for path, pending in sorted(due.items()):
            state = _size_and_time(path)
            with self._guard:
                if self._pending.get(path) is not pending:
                    continue
                if not pending.looked_at or state != pending.state:
                    # Its next look is due after another `quiet_s`.
                    pending.looked_at, pending.state, pending.last_event = True, state, now
                    continue
                del self._pending[path]
            if state is None:
                (gone_folders if pending.was_folder else gone).append(Path(path))
            else:
                (folders if Path(path).is_dir() else files).append(Path(path))
        return Changes(tuple(files), tuple(folders), tuple(gone), tuple(gone_folders))

    def watch_again(self) -> bool:
        """Whether a folder is not what it was, such as a disk taken out; all are watched anew.

        There were no events about what happened in it meanwhile.
        """
        changed = any(_identity(f) != self._identities[f] for f in self._folders)
        if changed:
            self.close()
            self._watch()
        return changed

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _note(self, path: str, *, was_folder: bool = False) -> None:
        with self._guard:
            earlier = self._pending.get(path)
            was_folder = was_folder or (earlier is not None and earlier.was_folder)
            self._pending[path] = _Pending(time.monotonic(), was_folder)

    def _watch(self) -> None:
        self._identities = {folder: _identity(folder) for folder in self._folders}
        observer = Observer()
        try:
            for folder in filter(Path.is_dir, self._folders):
                observer.schedule(self, str(folder), recursive=True)
            observer.start()
        except OSError as error:
            # The kernel reports its limit of watches as 'no space left on device'.
            hint = (
                "; too many folders: raise fs.inotify.max_user_watches"
                if error.errno in (24, 28)
                else ""
            )
            raise WatchError(
                f"{self._folders[0]} cannot be watched: {error.strerror or error}{hint}"
            ) from error
        self._observer = observer


def _size_and_time(path: str) -> _State:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _identity(folder: Path) -> _State:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
