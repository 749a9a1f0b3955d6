"""What lies in the data folder is for its owner alone: new folders 0700, new files 0600.

Folders that are there keep their rights. What the engine and other libraries write takes the rights
that the umask gives, inside folders made here, into which nobody else gets.
"""

import os
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
_FOLDER_MODE = 0o700


def private_folder(folder: Path) -> Path:
    """The folder, made where it is missing with all above it, each for its owner alone."""
    missing = [at for at in folder.parents if not at.exists()]
    # `Path.mkdir(parents=True)` would give those above it the rights of the umask.
    for each in (*reversed(missing), folder):
        each.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    return folder


def private_file(file: Path) -> Path:
    """The file, made empty for its owner alone where it is missing, for who opens it by name."""
    if not file.exists():
        with suppress(FileExistsError):  # another process was quicker
            os.close(open_private(str(file), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    return file


def open_private(name: str, flags: int) -> int:
    """An opener for `open`: a file that it makes is for its owner alone."""
    return os.open(name, flags, FILE_MODE)


def make_private(folder: Path) -> None:
    """Give what other code has made, the folder and all in it, to its owner alone."""
    for each in (folder, *folder.rglob("*")):
        if not each.is_symlink():
            each.chmod(_FOLDER_MODE if each.is_dir() else FILE_MODE)
