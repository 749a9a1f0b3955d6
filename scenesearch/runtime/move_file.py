"""Moves a file without ever overwriting another one, also to another disk."""

import errno
import hashlib
import os
import shutil
import uuid
from pathlib import Path

_CHUNK = 1 << 20


def move_file(source: Path, target: Path) -> None:
    """Move the file; its folder must exist. Raises FileExistsError where the target exists, and
    OSError; then nothing has changed.

    Within a disk this is one step. To another one, the copy is written, read again and compared
    before the source is removed.
    """
    # An empty file holds the name: the move replaces that one and no other.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        source.replace(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            target.unlink()
            raise
    except BaseException:
        if target.stat().st_size == 0 and source.exists():
            target.unlink()
        raise
    _copy_over(source, target)
    source.unlink()


def _copy_over(source: Path, target: Path) -> None:
    """Put a copy in place of the empty target; where that fails the target is removed."""
    temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        before = source.stat()
        with source.open("rb") as read, temporary.open("xb") as written:
            shutil.copyfileobj(read, written, _CHUNK)
            written.flush()
            os.fsync(written.fileno())
        shutil.copystat(source, temporary)
        after = source.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EBUSY, "the file is being written", str(source))
        if hash_file(source) != hash_file(temporary):
            raise OSError(errno.EIO, "the copy differs from the file", str(source))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        if target.exists() and target.stat().st_size == 0:
            target.unlink()
        raise


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
