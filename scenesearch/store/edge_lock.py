"""One process at a time per embedded collection, in the order in which they came.

The operating system's lock decides who has it. Who wants it takes a ticket, a file that is locked
as long as its owner lives and waits; the owner of the first one is next. So nobody is overtaken,
a killed holder or waiter blocks nobody, and no clock is compared. A note beside the lock says who
has it, for messages and to see that the queue moves; one left by a dead holder is overwritten.

Tickets and notes are for order and words only: on a full disk, where none can be written, the lock
works without them.
"""

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from scenesearch.runtime.cancel import check_cancelled
from scenesearch.runtime.files import FILE_MODE, open_private, private_folder

# So often the first in the queue looks whether it is its turn, those behind it more rarely.
_LOOK_S = 0.02
# So often it looks at the rest: who has the lock, and whether anybody has.
_LOOK_ROUND_S = 0.25
# A wait as long as this is told.
_TELL_S = 2.0
# So long the lock may lie free while the first in the queue, a stopped process, does not take it.
_PASS_OVER_S = 2.0

_VERB = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True)
class Holder:
    """The process that has a collection open; `doing` is what it cannot be interrupted in."""

    pid: int
    command: str
    since: str
    doing: str = ""

    def __str__(self) -> str:
        doing = f", which is {self.doing}" if self.doing else ""
        return f"`{self.command}` (process {self.pid}){doing}"


class Held(Exception):  # noqa: N818 - reads as what it is
    """Another holder has the lock; None when it has not left its name."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder


class HolderLock:
    """An exclusive lock with a queue before it and its holder's name written beside it."""

    def __init__(self, path: Path, command: str) -> None:
        self._note = path.with_suffix(".holder.json")
        self._queue = path.with_suffix(".queue")
        self._command = command
        self._path = path
        # Acquired in one thread, released in whichever closes the store.
        self._lock = FileLock(path, thread_local=False, mode=FILE_MODE)

    def acquire(self, wait_s: float, on_wait: Callable[[Held], None] | None = None) -> None:
        """Take the lock when those who came before have had it.

        Raises Held when one holder keeps it for `wait_s`; while it goes from one to the next the
        wait goes on. `on_wait` is told once, of a wait that takes long. Raises OSError where the
        lock itself cannot be used.
        """
        private_folder(self._path.parent)
        with _ticket(self._queue) as ticket:
            now = began = round_at = moved_at = time.monotonic()
            holder, free_since, told = self._holder(), None, False
            while (ahead := ticket.ahead() if ticket else 0) or not self._try():
                now = time.monotonic()
                if now - round_at >= _LOOK_ROUND_S:
                    round_at = now
                    before, holder = holder, self._holder()
                    moved_at = moved_at if holder == before else now
                    free_since = (free_since or now) if self.is_free() else None
                    if free_since is not None and now - free_since >= _PASS_OVER_S and self._try():
                        break
                    if on_wait is not None and not told and now - began >= _TELL_S:
                        told = True
                        on_wait(Held(holder))
                if now - moved_at >= wait_s:
                    raise Held(holder)
                check_cancelled()
                time.sleep(_LOOK_S * (1 + ahead))
            self._write_note("")  # before the next in the queue looks who has it

    def release(self) -> None:
        # The note goes first: after the lock is free it may already be the next holder's.
        with suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Who waits meanwhile is told what cannot be interrupted: 'deleting it'."""
        self._write_note(what)
        try:
            yield
        finally:
            if self._lock.is_locked:
                self._write_note("")

    def is_wanted(self) -> bool:
        """Whether somebody waits for the lock; for its holder to ask."""
        return any(_is_alive(path) for path in _tickets(self._queue))

    def is_free(self) -> bool:
        """Whether nobody has the lock, neither this process nor another; leaves the note."""
        return not self._lock.is_locked and not _is_locked(self._path)

    def _try(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _write_note(self, doing: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = json.dumps(asdict(Holder(os.getpid(), self._command, now, doing)))
        # Half a note is none, and no temporary file outlives a kill.
        with (
            suppress(OSError),
            open(self._note, "w", encoding="utf-8", opener=open_private) as file,
        ):
            file.write(note)

    def _holder(self) -> Holder | None:
        try:
            return Holder(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None


class _Ticket:
    """A place in a queue, kept while this process lives and waits."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        last = max((path.name for path in _tickets(folder)), default="0")
        number = int(last.partition("-")[0]) + 1
        # Two that came at once may have the same number; no name is ever used twice.
        self._path = folder / f"{number:09}-{secrets.token_hex(8)}.ticket"
        self._lock = FileLock(self._path, thread_local=False, mode=FILE_MODE)
        self._lock.acquire()

    def ahead(self) -> int:
        """How many came before, 0 when none of them lives."""
        before = [path for path in _tickets(self._path.parent) if path.name < self._path.name]
        while before and not _is_alive(before[0]):
            del before[0]
        return len(before)

    def leave(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)  # Windows does it when it is released
        self._lock.release()


@contextmanager
def _ticket(folder: Path) -> Iterator[_Ticket | None]:
    """A place in the queue, given up at the end; None where there can be no queue."""
    try:
        ticket = _Ticket(folder)
    except OSError:
        yield None
        return
    try:
        yield ticket
    finally:
        ticket.leave()


def _tickets(folder: Path) -> list[Path]:
    """First come, first in the list; the dead ones among them."""
    try:
        found = [path for path in folder.iterdir() if _TICKET.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found)


_TICKET = re.compile(r"[0-9]{9}-[0-9a-f]{16}\.ticket")


def _is_alive(path: Path) -> bool:
    """Whether the ticket's owner still waits; the ticket of one that was killed is removed."""
    try:
        with FileLock(path, thread_local=False, mode=FILE_MODE).acquire(timeout=0):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return False
    except Timeout:
        return True
    except OSError:  # just gone, with its folder perhaps
        return False


def _is_locked(path: Path) -> bool:
    try:
        with FileLock(path, thread_local=False, mode=FILE_MODE).acquire(timeout=0):
            return False
    except Timeout:
        return True


def command_words() -> str:
    """How this process was called, without arguments: 'scenesearch ingest'."""
    program, *arguments = sys.argv or [""]
    path = Path(program)
    # `python -m pytest` runs a package's __main__.py, `python -m scenesearch.cli` a module.
    name = path.parent.name if path.stem == "__main__" else path.stem
    name = {"": "python", "-c": "python", "-m": "python", "cli": "scenesearch"}.get(name, name)
    verb = arguments[0] if arguments and _VERB.fullmatch(arguments[0]) else ""
    return f"{name} {verb}".strip()
