"""Reading a shard on a disk that cannot be written, from a copy.

The engine opens every file for reading and writing, and changes some as it opens. It refuses a
read-only disk, and on a full one the process would be killed. So the shard's files are copied
without their holes, which are most of them, to the folder for temporary files (`TMPDIR`), or into
memory if there is no room. The copy shows the library as it was then. The lock is held only while
copying, so that processes that can write go on.
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
    """A temporary folder with a copy of the shard, named `shard`; `cleanup` deletes it.

    Raises LockHeld while another process writes, OSError for a file that cannot be read, and
    StoreUnavailable where no place has room; its message says with `why` a copy is needed.
    """
    needed = allocated_bytes(shard)
    for place in (Path(tempfile.gettempdir()), MEMORY):
        if not os.access(place, os.W_OK) or free_bytes(place) < needed + to_open(shard, place):
            continue
        folder = tempfile.TemporaryDirectory(prefix="scenesearch-", dir=place)
        try:
            with nobody_writing(lock, wait_s):
                _copy(shard, Path(folder.name) / "shard")
        except BaseException:
            folder.cleanup()
            raise
        return folder
    raise StoreUnavailable(
        f"cannot read {shard.parent}: {why}, and no temporary folder has room for a copy of "
        f"{needed / 1e6:.0f} MB; name one in TMPDIR"
    )


def _copy(shard: Path, target: Path) -> None:
    # Not with copytree, which hides the system's message about a file.
    target.mkdir()
    for path in sorted(shard.rglob("*")):
        if path.is_dir():
            (target / path.relative_to(shard)).mkdir()
        else:
            copy_sparse(str(path), str(target / path.relative_to(shard)))


@contextmanager
def nobody_writing(lock: Path, wait_s: float) -> Iterator[None]:
    """Share the lock that a writer has alone; needs no permission to write. Raises LockHeld."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:  # nobody has ever written here
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
    if sys.platform == "win32":  # where a locked file cannot be read either
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
