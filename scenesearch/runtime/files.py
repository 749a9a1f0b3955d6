"""Files of the data folder: only the owner may read them, and they appear whole.

New folders get mode 0700 and new files 0600. Existing folders keep their mode. Files that the
engine and other libraries write get the mode of the umask, but inside folders that nobody else may
enter.
"""

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE_MODE = 0o600
_FOLDER_MODE = 0o700


def private_folder(folder: Path) -> Path:
    """The folder; it and its missing parents are created for the owner alone."""
    missing = [at for at in folder.parents if not at.exists()]
    # `Path.mkdir(parents=True)` would create the parents with the umask's mode.
    for each in (*reversed(missing), folder):
        each.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    return folder


def private_file(file: Path) -> Path:
    """The file, created empty for the owner alone if missing, for code that opens it by name."""
    if not file.exists():
        with suppress(FileExistsError):  # another process was quicker
            os.close(open_private(str(file), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    return file


def open_private(name: str, flags: int) -> int:
    """An opener for `open`: a file that it creates is for the owner alone."""
    return os.open(name, flags, FILE_MODE)


def make_private(folder: Path) -> None:
    """Restrict a folder that other code made, and everything in it, to the owner."""
    for each in (folder, *folder.rglob("*")):
        if not each.is_symlink():
            each.chmod(_FOLDER_MODE if each.is_dir() else FILE_MODE)


@contextmanager
def atomic_writer(path: Path, *, private: bool = False) -> Iterator[io.BufferedWriter]:
    """A binary file that appears under its name only if the block ends without an exception.

    A `private` file is for the owner alone; any other gets the umask's mode.
    """
    # tempfile is not used: all of its files are for the owner alone.
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb", opener=open_private if private else None) as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
