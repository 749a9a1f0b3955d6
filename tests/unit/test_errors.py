"""What stood in the way is told from what is broken."""

import errno
import os
import sqlite3

import pytest

from scenesearch.errors import (
    BROKEN_DISK,
    FULL,
    LARGE_FILE,
    MANY_FILES,
    MEMORY,
    PERMISSION,
    READ_ONLY,
    obstacle,
)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOMEM, MEMORY),
        (errno.EACCES, PERMISSION),
        (errno.ENOSPC, FULL),
        (errno.EROFS, READ_ONLY),
        (errno.EIO, BROKEN_DISK),
        (errno.EMFILE, MANY_FILES),
        (errno.EFBIG, LARGE_FILE),
    ],
)
def test_the_systems_number_is_read_from_python_rust_and_onnx_runtime(
    number: int, said: str
) -> None:
    words = os.strerror(number)
    assert obstacle(OSError(number, words)) == said
    assert obstacle(Exception(f"failed to load segment: {words} (os error {number})")) == said
    assert obstacle(Exception(f"Os {{ code: {number}, kind: Other, message: '' }}")) == said
    assert obstacle(Exception(f"Load model failed:system error number {number}")) == said


def test_the_cause_of_a_sentence_counts() -> None:
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("cannot use it") from OSError(errno.EROFS, "Read-only file system")
    assert obstacle(caught.value) == READ_ONLY


def test_memory_is_told_however_it_is_said() -> None:
    assert obstacle(MemoryError()) == MEMORY
    assert obstacle(RuntimeError("std::bad_alloc")) == MEMORY
    assert obstacle(Exception("Failed to allocate memory for requested buffer")) == MEMORY


def test_what_is_broken_or_missing_is_no_obstacle() -> None:
    assert obstacle(ValueError("expected value at line 1 column 1")) is None
    assert obstacle(FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert obstacle(Exception("No such file or directory (os error 2)")) is None
    assert obstacle(sqlite3.DatabaseError("file is not a database")) is None
