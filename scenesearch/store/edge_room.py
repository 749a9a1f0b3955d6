"""What the disk under an embedded collection must have free.

The engine writes through mapped memory, into files of up to 32 MB that are mostly holes: on a full
disk the process would not get an error but be killed (SIGBUS). So there has to be room beforehand.
How much depends on the kind of disk. Most give a hole no blocks until something is written there.
One in memory (tmpfs) gives every mapped file all it may ever hold when the file is opened: measured
200 MB for a library of 300 pictures, which takes 3 MB elsewhere.
"""

import os
import shutil
import sys
from pathlib import Path

# What a batch of points, with indexes and log, writes; an ext4 disk of 300 MB takes 1,000 points
# of 384 dimensions and 1 kB of payload in 12 MB.
_ROOM_BYTES = 64 * 2**20

# What new files for all kinds of data at once take of a disk in memory.
_ROOM_IN_MEMORY_BYTES = 256 * 2**20

# Opening for reading changes a few blocks.
OPENING_BYTES = 8 * 2**20

# Payload, words and indexes of a point, where more cannot be known.
_POINT_BYTES = 4096


def free_bytes(folder: Path) -> int:
    """What the disk of the folder, or of the nearest one above it that is there, has free."""
    return shutil.disk_usage(_there(folder)).free


def to_write(folder: Path) -> int:
    """What must be free before some points are written."""
    return _ROOM_IN_MEMORY_BYTES if _is_in_memory(folder) else _ROOM_BYTES


def to_optimize(folder: Path, points: int, dimension: int) -> int:
    """What must be free before an optimization, which writes points anew beside the old ones.

    By what the points are, not by what their files take: on a disk in memory that is mostly holes.
    """
    vectors = points * dimension * 4
    # Beside the vectors lie int8 copies, and a graph of at most 32 edges a point.
    written = vectors + vectors // 4 + points * (128 + _POINT_BYTES)
    return to_write(folder) + min(written, 2 * allocated_bytes(folder))


def to_open(shard: Path, place: Path) -> int:
    """What must be free at the place before the shard, or a copy of it there, is opened."""
    if not _is_in_memory(place):
        return OPENING_BYTES
    stats = [path.stat() for path in shard.rglob("*") if path.is_file()]
    holes = sum(max(0, one.st_size - _blocks(one)) for one in stats)
    return min(holes, _ROOM_IN_MEMORY_BYTES) + OPENING_BYTES


def allocated_bytes(folder: Path) -> int:
    """What the files below the folder take of the disk, holes left out."""
    return sum(_blocks(path.stat()) for path in folder.rglob("*") if path.is_file())


def _blocks(stat: os.stat_result) -> int:
    return getattr(stat, "st_blocks", 0) * 512 or stat.st_size


def _is_in_memory(folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    device = _there(folder).stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == number:
                return after.split()[0] in ("tmpfs", "ramfs")
    return False


def _there(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
