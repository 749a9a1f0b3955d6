"""One process at a time per embedded collection, and who it is.

The operating system's lock decides, so a killed holder blocks nobody; the note beside it only
gives the message a name. A note left by a dead holder is overwritten by the next one.
"""

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from scenesearch.stopping import look_up
from scenesearch.store.edge_files import write_atomically

# So often a process that waits says again that it does.
_ASK_AGAIN_S = 0.3

_VERB = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True)
class Holder:
    """The process that has a collection open."""

    pid: int
    command: str
    since: str


class Held(Exception):  # noqa: N818 - reads as what it is
    """Another holder has the lock; None when it has not left its name."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder))
        self.holder = holder


class HolderLock:
    """An exclusive lock with its holder's name written beside it."""

    def __init__(self, path: Path, command: str) -> None:
        self._note = path.with_suffix(".holder.json")
        self._wanted = path.with_suffix(".wanted")
        self._command = command
        # Acquired in one thread, released in whichever closes the store.
        self._lock = FileLock(path, thread_local=False)

    def acquire(self, wait_s: float) -> None:
        """Take the lock within `wait_s`, or raise Held; who has it is told that it is wanted."""
        deadline = time.monotonic() + wait_s
        ask_s = 0.0
        while True:
            look_up()
            try:
                self._lock.acquire(timeout=ask_s, poll_interval=0.02)
                break
            except Timeout:
                if time.monotonic() >= deadline:
                    raise Held(self._holder()) from None
                self._wanted.touch()
                ask_s = min(_ASK_AGAIN_S, max(0.0, deadline - time.monotonic()))
        self._wanted.unlink(missing_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"pid": os.getpid(), "command": self._command, "since": now}
        write_atomically(self._note, json.dumps(note), durable=False)

    def release(self) -> None:
        # The note goes first: after the lock is free it may already be the next holder's.
        self._note.unlink(missing_ok=True)
        # Whoever still waits says so again: one that was killed must not be heard for ever.
        self._wanted.unlink(missing_ok=True)
        self._lock.release()

    def is_wanted(self) -> bool:
        """Whether another process waits for the lock, or has done so and given up."""
        return self._wanted.exists()

    def is_free(self) -> bool:
        """Whether nobody has the lock, neither this process nor another; leaves the note."""
        try:
            with self._lock.acquire(timeout=0):
                return True
        except Timeout:
            return False

    def _holder(self) -> Holder | None:
        try:
            return Holder(**json.loads(self._note.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def command_words() -> str:
    """How this process was called, without arguments: 'scenesearch ingest'."""
    program, *arguments = sys.argv or [""]
    path = Path(program)
    # `python -m pytest` runs a package's __main__.py, `python -m scenesearch.cli` a module.
    name = path.parent.name if path.stem == "__main__" else path.stem
    name = {"": "python", "-c": "python", "-m": "python", "cli": "scenesearch"}.get(name, name)
    verb = arguments[0] if arguments and _VERB.fullmatch(arguments[0]) else ""
    return f"{name} {verb}".strip()
