"""The base of every error a user can cause or mend, and what stood in the way of one.

A library that cannot be read or written is rarely damaged: memory ran out, a disk is full or
read-only, a file belongs to somebody else. Which it was, the system said in a number (`errno`),
which Python keeps and other libraries write into their messages. `obstacle` reads it from both.
"""

import errno
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches


class SceneSearchError(Exception):
    """Its message is one sentence for the user; entry points print it without a traceback."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean photos?' for a name that is nearly one of those known, else ''."""
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

# What keeps a process from writing to a disk that it can still read.
UNWRITABLE = (PERMISSION, FULL, READ_ONLY, LARGE_FILE)

# SQLite's own numbers, and those that it gives where it cannot tell.
_SQLITE = {3: PERMISSION, 7: MEMORY, 8: READ_ONLY, 10: BROKEN_DISK, 13: FULL}

# As Python, Rust in its two ways, and ONNX Runtime write it.
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
    """What stood in the way, for a sentence: one of the constants above.

    None where nothing did, and what was read is itself to blame, or the caller.
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
        for words, said in _WORDS:
            if words in text.lower():
                return said
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def first_line(error: BaseException) -> str:
    """What another's exception says, for a sentence of ours."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
