"""The embedded collections that this process has open, which it and others use in turns.

A process has a collection to itself while it has the collection's lock (`edge_lock`). Once its turn
is over it releases the collection between two operations, or when idle, if another process waits.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import qdrant_edge as engine

from scenesearch.errors import FULL, UNWRITABLE, obstacle
from scenesearch.store import edge_room
from scenesearch.store.base import CollectionSpec, IndexBusy, StoreError, StoreUnavailable
from scenesearch.store.edge_build import load_shard
from scenesearch.store.edge_copy import copied
from scenesearch.store.edge_faults import disk_faults, engine_faults
from scenesearch.store.edge_files import EdgeFiles
from scenesearch.store.edge_lock import HolderLock, LockHeld

# A turn: how long a collection stays open though others wait. That is enough for a search, and for
# an ingest of small pictures to write two batches. On a busy machine both take longer, as opening
# does, so a turn is at least twice that long. This also makes opening a large library worth it.
_TURN_S = 0.5
_TURN_OPENINGS = 2

# After its turn, how often a process checks whether others wait. A check takes 0.03 ms, and a
# search of a small library not much longer.
_CHECK_S = 0.05

# How often the store checks whether others wait for a collection that is open and idle.
_IDLE_CHECK_S = 0.1

# An ingest among many processes waits at every turn; it reports a wait at most this often.
_REPORT_AGAIN_S = 60.0

# How long a process that works on a collection waits for its next turn.
_WORK_WAIT_S = 600.0


@dataclass
class OpenCollection:
    """A collection this process has open, and its lock.

    Where the disk cannot be written there is a temporary copy instead of a lock, and `unwritable`
    says why.
    """

    name: str
    spec: CollectionSpec
    folder: Path
    shard: engine.EdgeShard
    lock: HolderLock | None
    copy: "tempfile.TemporaryDirectory[str] | None" = None
    unwritable: str = ""
    turn_ends: float = 0.0  # by the monotonic clock
    users: int = 0  # operations at work on it
    is_written: bool = False  # since it was last flushed
    is_leaving: bool = False  # to be closed once no operation is at work on it

    def is_wanted(self) -> bool:
        """Whether this turn is over and another process waits; nobody waits for a copy."""
        now = time.monotonic()
        if self.lock is not None and now > self.turn_ends and not self.is_leaving:
            self.turn_ends = now + _CHECK_S
            self.is_leaving = self.lock.is_wanted()
        return self.is_leaving

    def flush(self) -> None:
        """Make what was written safe against power loss; on a full disk it stays in the log.

        After reading alone there is nothing to flush, and closing would sync a hundred files.
        """
        if self.is_written and edge_room.free_bytes(self.folder) > edge_room.OPENING_BYTES:
            self.shard.flush()
            self.is_written = False

    def release(self) -> None:
        """Give up the lock or the copy; to be called once, after the shard is closed."""
        if self.copy is not None:
            self.copy.cleanup()
        if self.lock is not None:
            self.lock.release()


class Turns:
    """Opens collections for operations and releases them for others.

    When one process keeps a collection for `lock_wait_s`, those that wait raise IndexBusy.
    `on_wait` receives a sentence about a long wait. `command` is what waiting processes are told.
    """

    def __init__(
        self,
        files: EdgeFiles,
        command: str,
        lock_wait_s: float,
        on_wait: Callable[[str], None] | None,
    ) -> None:
        self._files = files
        self._command = command
        self.lock_wait_s = lock_wait_s
        self._on_wait = on_wait
        self.guard = threading.RLock()  # of the three below; nobody waits for a lock within it
        self._opened: dict[str, OpenCollection] = {}
        self._opening: dict[str, threading.Lock] = {}  # one thread opens a collection, others wait
        self._listener: threading.Thread | None = None
        self._working: set[str] = set()
        self._report_again = 0.0
        self._closed = False

    @contextmanager
    def using(self, name: str) -> Iterator[OpenCollection]:
        """The collection, open while an operation is at work on it."""
        with disk_faults(name, self._files.root):
            collection = self._files.resolve(name)
            opened = self._enter(collection)
        try:
            with engine_faults(opened.folder):
                yield opened
        finally:
            with self.guard:
                opened.users -= 1
                if not opened.users and self._opened.get(collection) is opened:
                    self.release({collection}, if_wanted=True)

    def is_open(self, collection: str) -> bool:
        return collection in self._opened

    def opened_of(self, library: str) -> set[str]:
        """The library's collections that are open."""
        with self.guard:
            return {name for name, one in self._opened.items() if one.spec.library == library}

    def release(self, collections: set[str], *, if_wanted: bool = False) -> bool:
        """Close the collections as soon as no operation is at work on them.

        With `if_wanted`, only where it is another process's turn. Returns whether any was open.
        """
        with self.guard:
            opened = [self._opened[name] for name in collections & self._opened.keys()]
            leaving = [one for one in opened if not if_wanted or one.is_wanted()]
            for one in leaving:
                one.is_leaving = True
                if not one.users:
                    del self._opened[one.name]
                    self._close(one)
            return bool(leaving)

    def reload(self, opened: OpenCollection, config: engine.EdgeConfig) -> None:
        """Close the shard and open it again with changed settings."""
        with self.guard:
            opened.shard.flush()
            opened.shard.close()
            try:
                opened.shard = load_shard(opened.folder / "shard", config)
            except BaseException:
                del self._opened[opened.name]
                opened.release()
                raise

    def close(self) -> None:
        with self.guard:
            self._closed = True
            while self._opened:
                self._close(self._opened.popitem()[1])

    def lock(self, collection: str, library: str) -> HolderLock:
        """The collection's lock, once it is this process's turn; raises IndexBusy."""
        lock = HolderLock(self._files.lock(collection), self._command)
        # Work that has begun is not given up because of somebody's long turn.
        wait_s = _WORK_WAIT_S if collection in self._working else self.lock_wait_s
        self._acquire(lock, library, "in use", wait_s)
        return lock

    @contextmanager
    def working_on(self, name: str, wait_s: float | None) -> Iterator[None]:
        """See `VectorStore.working_on`."""
        with disk_faults(name, self._files.root):
            collection = self._files.resolve(name)
            library = self._files.spec(collection).library
        try:
            lock = HolderLock(self._files.work_lock(collection), self._command)
            self._acquire(lock, library, "being worked on", wait_s)
        except OSError:
            # Nobody can work on a disk that cannot be written. Looking and deleting may go on;
            # writing fails with a sentence at the first point.
            yield
            return
        self._working.add(collection)
        try:
            yield
        finally:
            self._working.discard(collection)
            lock.release()

    def alone_with(self, collection: str) -> AbstractContextManager[None]:
        """Working on a collection, which this store may do already."""
        if collection in self._working:
            return nullcontext()
        return self.working_on(collection, 0)

    def _acquire(
        self, lock: HolderLock, library: str, how: str, wait_s: float | None = None
    ) -> None:
        def sentence(held: LockHeld) -> str:
            return f"library {library} is {how} by {held}"

        def waiting(held: LockHeld) -> None:
            now = time.monotonic()
            if self._on_wait is not None and now > self._report_again:
                self._report_again = now + _REPORT_AGAIN_S
                self._on_wait(f"{sentence(held)}; waiting")

        try:
            lock.acquire(self.lock_wait_s if wait_s is None else wait_s, waiting)
        except LockHeld as held:
            raise IndexBusy(f"{sentence(held)}; close it or wait") from None

    def _enter(self, collection: str) -> OpenCollection:
        """The collection, opened if necessary, with one more operation at work on it."""
        while True:
            with self.guard:
                if self._closed:
                    raise StoreError("the store is closed")
                if opened := self._opened.get(collection):
                    opened.users += 1
                    return opened
                opening = self._opening.setdefault(collection, threading.Lock())
            with opening:
                if collection not in self._opened:
                    self._add(self._open(collection))

    def _add(self, opened: OpenCollection) -> None:
        with self.guard:
            if self._closed:
                self._close(opened)
                return
            self._opened[opened.name] = opened
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, daemon=True)
                self._listener.start()

    def _listen(self) -> None:
        """Release idle collections that other processes wait for, until none is open."""
        while True:
            time.sleep(_IDLE_CHECK_S)
            with self.guard:
                idle = {name for name, one in self._opened.items() if not one.users}
                with suppress(StoreError):  # whoever opens it next gets the error
                    self.release(idle, if_wanted=True)
                if not self._opened:
                    self._listener = None
                    return

    def _open(self, collection: str) -> OpenCollection:
        """The collection in its place, or a copy of it where that cannot be written."""
        folder = self._files.shard(collection)
        if edge_room.free_bytes(folder) < edge_room.to_open(folder, folder):
            return self._open_copy(collection, FULL)
        try:
            return self._open_in_place(collection)
        except (OSError, StoreUnavailable) as error:
            unwritable = obstacle(error)
            if unwritable not in UNWRITABLE:
                raise
            return self._open_copy(collection, unwritable)

    def _open_in_place(self, collection: str) -> OpenCollection:
        folder = self._files.folder(collection)
        lock = self.lock(collection, self._files.spec(collection).library)
        try:
            spec = self._files.spec(collection)  # it may have changed while this one waited
            began = time.monotonic()
            with engine_faults(folder, opening=True):
                shard = load_shard(folder / "shard")
            now = time.monotonic()
        except BaseException:
            lock.release()
            raise
        turn_ends = now + max(_TURN_S, _TURN_OPENINGS * (now - began))
        return OpenCollection(collection, spec, folder, shard, lock, turn_ends=turn_ends)

    def _open_copy(self, collection: str, unwritable: str) -> OpenCollection:
        spec = self._files.spec(collection)
        folder = self._files.folder(collection)
        try:
            copy = copied(
                folder / "shard",
                self._files.lock(collection),
                wait_s=self.lock_wait_s,
                why=unwritable,
            )
        except LockHeld as held:
            raise IndexBusy(
                f"library {spec.library} is in use by {held}; close it or wait"
            ) from None
        try:
            with engine_faults(folder, opening=True):
                shard = load_shard(Path(copy.name) / "shard")
        except BaseException:
            copy.cleanup()
            raise
        return OpenCollection(collection, spec, folder, shard, None, copy, unwritable)

    def _close(self, opened: OpenCollection) -> None:
        try:
            with (
                disk_faults(opened.name, self._files.root),
                engine_faults(opened.folder),
            ):
                opened.flush()
                opened.shard.close()
        finally:
            opened.release()
