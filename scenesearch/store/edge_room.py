"""How much space an embedded collection needs on its disk.

The engine writes through mapped memory, into files of up to 32 MB that are mostly holes. On a full
disk the process would get no error but be killed (SIGBUS), so the space has to be checked first.
How much is needed depends on the disk. Most allocate the blocks of a hole when something is
written there. A disk in memory (tmpfs) allocates the whole of every mapped file when it is opened:
200 MB for a library of 300 pictures, which takes 3 MB elsewhere.
"""

import os
import shutil
import sys
from pathlib import Path

from scenesearch.store.base import NoRoom

# To write a batch of points, with indexes and log. 1,000 points of 384 dimensions and 1 kB of
# payload take 12 MB on an ext4 disk of 300 MB.
_ROOM_BYTES = 64 * 2**20

# What new files for all kinds of data together take on a disk in memory.
_ROOM_IN_MEMORY_BYTES = 256 * 2**20

# Opening for reading changes a few blocks.
OPENING_BYTES = 8 * 2**20

# An estimate for payload, words and indexes of a point.
_POINT_BYTES = 4096


def free_bytes(folder: Path) -> int:
    """The free space on the folder's disk; the folder need not exist yet."""
    return shutil.disk_usage(_nearest_existing(folder)).free


def check_room(root: Path, collection: str, needed: int | None = None) -> None:
    """Raise NoRoom unless so many bytes are free, by default enough to write some points."""
    free = free_bytes(root)
    needed = to_write(root) if needed is None else needed
    if free < needed:
        raise NoRoom(
            f"cannot write collection {collection}: the disk of {root} is full, "
            f"{free // 2**20} MiB are free and {needed // 2**20} MiB needed"
        )


def to_write(folder: Path) -> int:
    """What must be free to write some points."""
    return _ROOM_IN_MEMORY_BYTES if _is_in_memory(folder) else _ROOM_BYTES


def to_optimize(folder: Path, points: int, dimension: int) -> int:
    """What must be free for an optimization, which writes new points before it deletes the old.

    Computed from the points, not from their files, which on a disk in memory are mostly holes.
    """
    vectors = points * dimension * 4
    # With the vectors come int8 copies, and a graph of at most 32 edges per point.
    written = vectors + vectors // 4 + points * (128 + _POINT_BYTES)
    return to_write(folder) + min(written, 2 * allocated_bytes(folder))


def to_open(shard: Path, place: Path) -> int:
    """What must be free at the place to open the shard, or a copy of it, there."""
    if not _is_in_memory(place):
        return OPENING_BYTES
    stats = [path.stat() for path in shard.rglob("*") if path.is_file()]
    holes = sum(max(0, one.st_size - _blocks(one)) for one in stats)
    return min(holes, _ROOM_IN_MEMORY_BYTES) + OPENING_BYTES


def allocated_bytes(folder: Path) -> int:
    """What the files below the folder take on the disk, without holes."""
    return sum(_blocks(path.stat()) for path in folder.rglob("*") if path.is_file())


def _blocks(stat: os.stat_result) -> int:
    return getattr(stat, "st_blocks", 0) * 512 or stat.st_size


def _is_in_memory(folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    device = _nearest_existing(folder).stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                return after.split()[0] in ("tmpfs", "ramfs")
    return False


def _nearest_existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
