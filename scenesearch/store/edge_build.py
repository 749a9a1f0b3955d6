"""Creating and opening shards quickly, where the engine waits for the disk more than it must.

Creating: the engine syncs every file after each index it creates. With a library's 13 fields these
are some 540 waits, 1.5-2.6 s. An empty shard has nothing to lose yet, so it is built in memory if
the system has a folder there, and copied once it is complete (0.2 s in all).

Opening: the engine maps each index's bitmaps (1 MB, two per field) page by page with read-ahead
off, and drops them from the cache again: 6,700 reads for a library of 1,000 pictures, 0.6 s. Asking
the system for the files in advance makes it 0.2 s.
"""

import ctypes
import errno
import mmap
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import qdrant_edge as engine

from scenesearch.runtime.files import make_private, private_folder
from scenesearch.store.edge_files import sync

MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
# An empty shard takes 28 MB there. Containers often have 64 MB, and writing to a mapped file on a
# full file system in memory kills the process.
_NEEDED_BYTES = 48_000_000
_BLOCK = 65_536


def build_shard(
    target: Path, config: engine.EdgeConfig, indexes: "Mapping[str, engine.PayloadSchemaParams]"
) -> None:
    """Create an empty shard with its payload indexes, and its folder."""
    if not _memory_has_room():
        _build(target, config, indexes)
        make_private(target)
        return
    with tempfile.TemporaryDirectory(prefix="scenesearch-", dir=MEMORY) as folder:
        built = Path(folder) / "shard"
        _build(built, config, indexes)
        shutil.copytree(built, target, copy_function=copy_sparse)
    make_private(target)
    with ThreadPoolExecutor(16) as threads:  # in parallel: they wait for the disk
        list(threads.map(sync, target.rglob("*")))


def load_shard(folder: Path, config: engine.EdgeConfig | None = None) -> engine.EdgeShard:
    """Open the shard in the folder; `config` changes its settings for good."""
    if hasattr(os, "posix_fadvise"):
        for path in folder.rglob("flags_*.dat"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)
    shard = engine.EdgeShard.load(str(folder), config)
    _unload_empty_files(folder)
    return shard


def _unload_empty_files(folder: Path) -> None:
    """Give back the memory of files that are mostly holes (Linux).

    The engine reads its stores in advance, with their holes: 150 MB for a library of one picture.
    The parts that are needed come back by themselves, page by page.
    """
    try:
        maps = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return
    root = f"{folder.resolve()}{os.sep}"
    for line in maps:
        span, allowed, _, _, _, *path = line.split(maxsplit=5)
        # Only pages shared with the file: a private page would be lost.
        if not path or not path[0].startswith(root) or not allowed.endswith("s"):
            continue
        with suppress(OSError):  # just deleted
            status = os.stat(path[0])  # noqa: PTH116 - one of hundreds of lines
            if status.st_blocks * 512 < status.st_size // 2:
                start, end = (int(part, 16) for part in span.split("-"))
                ctypes.CDLL(None).madvise(
                    ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED
                )


def _build(
    folder: Path, config: engine.EdgeConfig, indexes: "Mapping[str, engine.PayloadSchemaParams]"
) -> None:
    private_folder(folder)
    shard = engine.EdgeShard.create(str(folder), config)
    for key, index in indexes.items():
        shard.update(engine.UpdateOperation.create_field_index(key, index))
    shard.flush()
    shard.close()


def _memory_has_room() -> bool:
    try:
        return os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > _NEEDED_BYTES
    except OSError:
        return False


def copy_sparse(source: str, target: str) -> None:
    """Copy what is not zero; most of an empty shard's 200 MB are holes for later use."""
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(old.fileno(), position, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # only a hole up to the end
            position = min(start + _BLOCK, os.lseek(old.fileno(), start, os.SEEK_HOLE))
            old.seek(start)
            block = old.read(position - start)
            if block != bytes(len(block)):
                new.seek(start)
                new.write(block)
        new.truncate(size)
