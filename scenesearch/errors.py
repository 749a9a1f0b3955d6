"""The base class of errors that a user can cause or fix, and the obstacles behind errors.

A library that cannot be read or written is rarely damaged. More often memory ran out, the disk is
full or read-only, or a file belongs to another user. The system reports which in a number
(`errno`). Python keeps that number, and other libraries write it into their messages; `obstacle`
finds it in both.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches


class SceneSearchError(Exception):
    """Its message is one sentence for the user; entry points print it without a traceback."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean photos?' for a name close to a known one, else ''."""
    by_case = {each.casefold(): each for each in known}
    near = get_close_matches(name.casefold(), by_case, n=1)
    return f"; did you mean {by_case[near[0]]}?" if near else ""


MEMORY = "memory ran out; close other programs, or allow this one more"
PERMISSION = "permission is denied; whoever runs this must be allowed to read and write there"
FULL = "the disk is full; make room on it"
READ_ONLY = "the disk is read-only"
BROKEN_DISK = "the disk reports an input/output error; check it before anything else"
MANY_FILES = "too many files are open; raise the limit (`ulimit -n`)"
LARGE_FILE = "a file would be larger than this process may write (`ulimit -f`)"

_OBSTACLES = {
    errno.ENOMEM: MEMORY,
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EROFS: READ_ONLY,
    errno.EIO: BROKEN_DISK,
    errno.EMFILE: MANY_FILES,
    errno.ENFILE: MANY_FILES,
    errno.EFBIG: LARGE_FILE,
}

# Obstacles to writing on a disk that can still be read.
UNWRITABLE = (PERMISSION, FULL, READ_ONLY, LARGE_FILE)

# SQLite's own error codes.
_SQLITE = {3: PERMISSION, 7: MEMORY, 8: READ_ONLY, 10: BROKEN_DISK, 13: FULL}

# As written by Python, Rust (in two ways) and ONNX Runtime.
_NUMBER = re.compile(r"(?:\[Errno|\(os error|Os \{ code:|system error number) (\d+)")
_WORDS = (
    ("cannot allocate memory", MEMORY),
    ("bad_alloc", MEMORY),
    ("bad allocation", MEMORY),
    ("out of memory", MEMORY),
    ("failed to allocate memory", MEMORY),
    ("permission denied", PERMISSION),
    ("no space left on device", FULL),
    ("read-only file system", READ_ONLY),
    ("input/output error", BROKEN_DISK),
    ("too many open files", MANY_FILES),
    ("file too large", LARGE_FILE),
)


def obstacle(error: BaseException) -> str | None:
    """The obstacle behind an error, one of the constants above.

    None if there was none: then the file itself, or the caller, is to blame.
    """
    for one in _with_causes(error):
        if isinstance(one, MemoryError):
            return MEMORY
        if isinstance(one, OSError) and one.errno in _OBSTACLES:
            return _OBSTACLES[one.errno]
        if (code := getattr(one, "sqlite_errorcode", None)) is not None and code & 0xFF in _SQLITE:
            return _SQLITE[code & 0xFF]
        text = str(one)
        for number in _NUMBER.finditer(text):
            if (found := _OBSTACLES.get(int(number[1]))) is not None:
                return found
        for words, found in _WORDS:
            if words in text.lower():
                return found
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type, for use in a sentence."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
