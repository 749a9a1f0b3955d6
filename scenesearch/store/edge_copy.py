"""A shard on a disk that cannot be written, read from a copy.

The engine opens every file for reading and writing and changes some as it opens: it refuses a
read-only disk, and on a full one the process would be killed. So the shard's files are copied,
without the holes that most of them are, to where temporary files go (`TMPDIR`), or into memory
where there is no room. What the copy holds is what the library held then; the lock is had meanwhile
only, so that whoever can write goes on.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenesearch.store.base import StoreUnavailable
from scenesearch.store.edge_build import MEMORY, copy_sparse
from scenesearch.store.edge_lock import LockHeld
from scenesearch.store.edge_room import allocated_bytes, free_bytes, to_open


def copied(
    shard: Path, lock: Path, *, wait_s: float, why: str
) -> "tempfile.TemporaryDirectory[str]":
    """A temporary folder with a copy of the shard in it, as `shard`; gone when cleaned up.

    Raises LockHeld while another process writes, OSError for a file that cannot be read, and
    StoreUnavailable where there is room for no copy; `why` there has to be one is for its sentence.
    """
    needed = allocated_bytes(shard)
    for place in (Path(tempfile.gettempdir()), MEMORY):
        if not os.access(place, os.W_OK):
            continue
        folder = tempfile.TemporaryDirectory(prefix="scenesearch-", dir=place)
        try:
            if free_bytes(place) < needed + to_open(shard, Path(folder.name)):
                raise _FullError
            with nobody_writing(lock, wait_s):
                _copy(shard, Path(folder.name) / "shard")
        except _FullError:
            folder.cleanup()
        except BaseException:
            folder.cleanup()
            raise
        else:
            return folder
    raise StoreUnavailable(
        f"cannot read {shard.parent}: {why}, and no temporary folder has room for a copy of "
        f"{needed / 1e6:.0f} MB; name one in TMPDIR"
    )


def _copy(shard: Path, target: Path) -> None:
    # Not by copytree, which hides what the system said of a file.
    target.mkdir()
    for path in sorted(shard.rglob("*")):
        if path.is_dir():
            (target / path.relative_to(shard)).mkdir()
        else:
            copy_sparse(str(path), str(target / path.relative_to(shard)))


class _FullError(Exception):
    """One place, of several, has no room."""


@contextmanager
def nobody_writing(lock: Path, wait_s: float) -> Iterator[None]:
    """Shares the lock that a writer has alone, which needs no right to write; raises LockHeld."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:  # nobody ever wrote here
        yield
        return
    deadline = time.monotonic() + wait_s
    try:
        while not _shared(descriptor):
            if time.monotonic() >= deadline:
                raise LockHeld(None)
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _shared(descriptor: int) -> bool:
    if sys.platform == "win32":  # where a file that is locked cannot be read either
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
