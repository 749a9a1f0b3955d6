"""One process at a time per embedded collection, in order of arrival.

The operating system's lock decides who has it. A process that wants it takes a ticket, a file that
is locked as long as the process lives and waits; the owner of the first ticket is next. So nobody
is overtaken, a killed holder or waiter blocks nobody, and no clocks are compared. A note beside the
lock says who has it, for messages and to see that the queue moves. A note left by a dead holder is
overwritten.

Tickets and notes only serve order and messages: on a full disk, where none can be written, the lock
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

# How often the first in the queue tries the lock; those behind it try less often.
_TRY_S = 0.02
# How often it checks who has the lock, and whether anybody has.
_CHECK_S = 0.25
# How long a wait must be to be reported.
_REPORT_S = 2.0
# How long the lock may stay free before it is taken out of order: the first in the queue does not
# take it, so it must be a suspended process.
_PASS_OVER_S = 2.0

_VERB = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True)
class Holder:
    """The process that has a collection open; `doing` is work that cannot be interrupted."""

    pid: int
    command: str
    since: str
    doing: str = ""

    def __str__(self) -> str:
        doing = f", which is {self.doing}" if self.doing else ""
        return f"`{self.command}` (process {self.pid}){doing}"


class LockHeld(Exception):  # noqa: N818 - reads as what it is
    """Another holder has the lock; None if it left no name."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "another process"))
        self.holder = holder


class HolderLock:
    """An exclusive lock with a queue, and its holder's name written beside it."""

    def __init__(self, path: Path, command: str) -> None:
        self._note = path.with_suffix(".holder.json")
        self._queue = path.with_suffix(".queue")
        self._command = command
        self._path = path
        # Acquired in one thread, released in whichever closes the store.
        self._lock = FileLock(path, thread_local=False, mode=FILE_MODE)

    def acquire(self, wait_s: float, on_wait: Callable[[LockHeld], None] | None = None) -> None:
        """Take the lock after those who came before.

        Raises LockHeld when one holder keeps it for `wait_s`. While it passes from one holder to
        the next the wait goes on. `on_wait` is called once, if the wait is long. Raises OSError
        where the lock itself cannot be used.
        """
        private_folder(self._path.parent)
        with _ticket(self._queue) as ticket:
            now = began = checked_at = moved_at = time.monotonic()
            holder, free_since, is_reported = self._holder(), None, False
            while (ahead := ticket.ahead() if ticket else 0) or not self._try():
                now = time.monotonic()
                if now - checked_at >= _CHECK_S:
                    checked_at = now
                    before, holder = holder, self._holder()
                    moved_at = moved_at if holder == before else now
                    free_since = (free_since or now) if self.is_free() else None
                    if free_since is not None and now - free_since >= _PASS_OVER_S and self._try():
                        break
                    if on_wait is not None and not is_reported and now - began >= _REPORT_S:
                        is_reported = True
                        on_wait(LockHeld(holder))
                if now - moved_at >= wait_s:
                    raise LockHeld(holder)
                check_cancelled()
                time.sleep(_TRY_S * (1 + ahead))
            self._write_note("")  # before the next in the queue checks who has it

    def release(self) -> None:
        # The note goes first: after the lock is free it may already be the next holder's.
        with suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Tell waiting processes what cannot be interrupted: 'deleting it'."""
        self._write_note(what)
        try:
            yield
        finally:
            if self._lock.is_locked:
                self._write_note("")

    def is_wanted(self) -> bool:
        """Whether another process waits for the lock; for its holder to call."""
        return any(_is_alive(path) for path in _tickets(self._queue))

    def is_free(self) -> bool:
        """Whether neither this process nor another has the lock; leaves the note alone."""
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
        # Half a note counts as none. A temporary file instead could be left behind by a kill.
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
    """A place in a queue, valid while this process lives and waits."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        last = max((path.name for path in _tickets(folder)), default="0")
        number = int(last.partition("-")[0]) + 1
        # Two processes at the same time may get the same number, but never the same name.
        self._path = folder / f"{number:09}-{secrets.token_hex(8)}.ticket"
        self._lock = FileLock(self._path, thread_local=False, mode=FILE_MODE)
        self._lock.acquire()

    def ahead(self) -> int:
        """How many came before; 0 once none of them is alive."""
        before = [path for path in _tickets(self._path.parent) if path.name < self._path.name]
        while before and not _is_alive(before[0]):
            del before[0]
        return len(before)

    def leave(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)  # Windows deletes it when it is released
        self._lock.release()


@contextmanager
def _ticket(folder: Path) -> Iterator[_Ticket | None]:
    """A place in the queue for the time of the wait; None where there can be no queue."""
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
    """The queue in order of arrival, with dead tickets."""
    try:
        found = [path for path in folder.iterdir() if _TICKET.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(found)


_TICKET = re.compile(r"[0-9]{9}-[0-9a-f]{16}\.ticket")


def _is_alive(path: Path) -> bool:
    """Whether the ticket's owner still waits; removes the ticket of a process that was killed."""
    try:
        with FileLock(path, thread_local=False, mode=FILE_MODE).acquire(timeout=0):
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return False
    except Timeout:
        return True
    except OSError:  # just deleted, perhaps with its folder
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
