"""The memory that pictures may take while they are decoded: one budget for the whole process.

A picture's need is estimated before it is decoded and reserved; whoever finds no room waits for
those before it. What would not fit even alone is refused.
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
# What a process holds beside: libraries, the encoder and its batches, an opened library.
_BESIDE: Final = 550 * _MB
# More is never taken by default: it decodes 200 megapixels of four bytes, one picture at a time.
_MOST: Final = 850 * _MB
_LEAST: Final = 64 * _MB
# Smaller files may be in memory all at once, one for each worker.
_LARGE_FILE: Final = 32 * _MB


class TooLargeError(SceneSearchError):
    """It does not fit into the budget, even alone; the message is the reason."""


class Budget:
    """Bytes shared by the threads of a process, given in the order in which they ask."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._free = limit_bytes
        self._turns: deque[object] = deque()
        self._changed = threading.Condition()
        self._large_files = threading.Lock()

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Room for so many bytes, waited for; raises TooLargeError for what never has any.

        Not to be asked for by a thread that holds some already: two such could wait for ever.
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
        """Of large files one at a time is read, and kept until the block ends; whoever is inside
        may ask for room, whoever has room may not come in."""
        if size_bytes <= _LARGE_FILE:
            yield
            return
        with self._large_files:
            yield


_budget: Budget | None = None
_given_mb: int | None = None


def budget() -> Budget:
    """The one of this process."""
    global _budget
    if _budget is None:
        _budget = Budget(default_bytes())
    return _budget


def limit_to(megabytes: int | None, *, processes: int = 1) -> None:
    """Set the budget of this process, before it decodes anything; None is the default for one of
    so many that do the same on this machine."""
    global _budget, _given_mb
    _given_mb = megabytes
    _return_large_blocks()
    limit = default_bytes(processes) if megabytes is None else megabytes * _MB
    if _budget is None or _budget.limit_bytes != limit:
        _budget = Budget(limit)


def _return_large_blocks() -> None:
    """Have glibc give freed blocks of large pictures back to the system at once.

    By itself it keeps blocks as large as any that was freed before, in a heap for each thread:
    twenty pictures of 196 megapixels then took 1,450 MB at the most, and take 1,180.
    """
    with suppress(AttributeError, OSError, TypeError):  # other systems' libraries have no such knob
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 8 * 1024 * 1024)


def given_mb() -> int | None:
    """What the setting says, for processes that work for this one."""
    return _given_mb


def default_bytes(processes: int = 1) -> int:
    """What each of so many processes may use, less what it holds beside pictures: at most 850 MB,
    at least an eighth of it."""
    usable = usable_bytes() // processes
    return min(_MOST, max(usable - _BESIDE, usable // 8, _LEAST))


def usable_bytes() -> int:
    """The least of: the machine's memory, its control groups' limits, `ulimit -v`."""
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
    # Libraries and the stacks of threads are given addresses that never become memory.
    try:
        size, resident = Path("/proc/self/statm").read_text().split()[:2]
    except OSError:
        yield soft
    else:
        yield max(0, soft - (int(size) - int(resident)) * resource.getpagesize())


def _group_limits(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """Of Linux's control groups, both versions: this process's and those above it."""
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
        # Inside a container the path is often that of the host, and its own group is the top.
        for place in (folder, *folder.parents):
            if not place.is_relative_to(top):
                break
            try:
                said = (place / name).read_text().strip()
            except OSError:
                continue
            if said.isdigit():
                yield int(said)
