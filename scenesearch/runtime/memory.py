"""The memory budget for decoding pictures, one for the whole process.

The memory for a picture is estimated and reserved before it is decoded. A thread that finds too
little free waits for those before it. A picture that would not fit even alone is refused.
"""

import ctypes
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from scenesearch.errors import SceneSearchError

SETTING: Final = "SCENESEARCH_MEMORY_MB"

_MB: Final = 1_000_000
_M_MMAP_THRESHOLD: Final = -3  # of malloc.h
# What a process needs besides: libraries, the encoder and its batches, an opened library.
_BASE: Final = 550 * _MB
# The most used by default: enough for one picture of 200 megapixels of four bytes at a time.
_MOST: Final = 850 * _MB
_LEAST: Final = 64 * _MB
# Smaller files may all be in memory at once, one for each worker.
_LARGE_FILE: Final = 32 * _MB


class TooLargeError(SceneSearchError):
    """The picture does not fit into the budget, even alone; the message is the reason."""


class Budget:
    """Bytes shared by the threads of a process, handed out in the order of requests."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._free = limit_bytes
        self._turns: deque[object] = deque()
        self._changed = threading.Condition()
        self._large_files = threading.Lock()

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Wait for this many bytes and hold them for the block; raises TooLargeError above the
        limit.

        A thread that holds some bytes must not reserve more: two such threads could wait for ever.
        """
        if size_bytes > self.limit_bytes:
            raise TooLargeError(
                f"needs {size_bytes / _MB:,.0f} MB of memory to decode, "
                f"the limit is {self.limit_bytes / _MB:,.0f} ({SETTING})"
            )
        turn = object()
        with self._changed:
            self._turns.append(turn)
            try:
                self._changed.wait_for(lambda: self._turns[0] is turn and self._free >= size_bytes)
            finally:
                self._turns.remove(turn)
                self._changed.notify_all()
            self._free -= size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free += size_bytes
                self._changed.notify_all()

    @contextmanager
    def reading(self, size_bytes: int) -> Iterator[None]:
        """Hold one large file in memory at a time, until the block ends; small files never wait.

        Inside the block a thread may reserve bytes. A thread that has reserved bytes must not
        enter.
        """
        if size_bytes <= _LARGE_FILE:
            yield
            return
        with self._large_files:
            yield


_budget: Budget | None = None
_given_mb: int | None = None


def budget() -> Budget:
    """The budget of this process."""
    global _budget
    if _budget is None:
        _budget = Budget(default_bytes())
    return _budget


def set_limit(megabytes: int | None, *, processes: int = 1) -> None:
    """Set the budget of this process, before it decodes anything.

    None means the default for one of `processes` that decode on this machine.
    """
    global _budget, _given_mb
    _given_mb = megabytes
    _return_large_blocks()
    limit = default_bytes(processes) if megabytes is None else megabytes * _MB
    if _budget is None or _budget.limit_bytes != limit:
        _budget = Budget(limit)


def _return_large_blocks() -> None:
    """Make glibc return freed blocks of large pictures to the system at once.

    By default it keeps blocks up to the size of any freed before, in one heap per thread. Twenty
    pictures of 196 megapixels then peaked at 1,450 MB; with this they peak at 1,180.
    """
    with suppress(AttributeError, OSError, TypeError):  # other systems have no mallopt
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 8 * 1024 * 1024)


def configured_mb() -> int | None:
    """The limit that was set, for processes that work for this one."""
    return _given_mb


def default_bytes(processes: int = 1) -> int:
    """The usable memory of one of `processes`, minus what it needs besides pictures.

    At most 850 MB, and at least an eighth of the usable memory.
    """
    usable = usable_bytes() // processes
    return min(_MOST, max(usable - _BASE, usable // 8, _LEAST))


def usable_bytes() -> int:
    """The smallest of the machine's memory, the limits of the control groups, and `ulimit -v`."""
    return min((*_machine(), *_group_limits(), *_address_space()), default=4096 * _MB)


def _machine() -> Iterator[int]:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _address_space() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return
    # Libraries and thread stacks take up addresses that never become memory.
    try:
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        yield soft
    else:
        yield max(0, soft - (int(size) - int(resident)) * resource.getpagesize())


def _group_limits(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """The limits of Linux's control groups, both versions: this process's group and those above."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = top / group.lstrip("/")
        # Inside a container the path is often that of the host; the container's group is at the
        # top.
        for place in (folder, *folder.parents):
            if not place.is_relative_to(top):
                break
            try:
                said = (place / name).read_text().strip()
            except OSError:
                continue
            if said.isdigit():
                yield int(said)
