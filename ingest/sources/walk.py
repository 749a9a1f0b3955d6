"""Which files below a folder are pictures or archives of them, in a stable order."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ingest.sources.base import Problem
from scenesearch.pictures.formats import (
    HEAD_BYTES,
    RAW_SUFFIXES,
    SUFFIXES,
    is_picture,
    suffix_of,
    without_rendered,
)
from scenesearch.runtime.cancel import cancellable

_ARCHIVE_SUFFIX = ".tar"

# Folders of network storage and operating systems: their own thumbnails, waste bins.
_NOT_WALKED = {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}


def walk(folder: Path, problems: list[Problem] | None = None) -> Iterator[Path]:
    """Pictures and tar archives below the folder, sorted; hidden files and folders passed over.

    A file of unknown suffix, or without, is a picture when its first bytes say so. Links to
    folders are not followed: one in a folder from a stranger may lead to the whole disk, or in
    a circle. One that leads out of the folder is added to the problems, because its pictures are
    missed; so is what cannot be read or named.
    """
    problems = [] if problems is None else problems
    root = folder.resolve()

    def unreadable(error: OSError) -> None:
        where = shown(Path(str(error.filename)))
        problems.append(Problem(where, f"folder cannot be read: {error.strerror}"))

    for parent, folders, names in _folders(str(folder), unreadable):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and not _leads_into(path, root):
                reason = "a link to a folder is not followed; name its target beside this folder"
                problems.append(Problem(shown(path), reason))
        for name in cancellable(without_rendered(sorted(names))):
            path = Path(parent, name)
            if is_hidden(name) or not is_wanted(path):
                continue
            if not is_unicode(path):
                problems.append(
                    Problem(shown(path), "the name is not valid Unicode; rename the file")
                )
                continue
            yield path


def _folders(
    top: str, on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, but looking up while it lists: a folder may have a million files."""
    below = [top]
    while below:
        parent = below.pop()
        folders: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(parent) as entries:
                for entry in cancellable(entries):
                    (folders if _is_folder(entry) else names).append(entry.name)
        except OSError as error:
            on_error(error)
            continue
        yield parent, folders, names
        paths = (os.path.join(parent, name) for name in reversed(folders))  # noqa: PTH118
        below += (path for path in paths if not os.path.islink(path))  # noqa: PTH114


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_wanted(path: Path) -> bool:
    """Whether the file is a picture or an archive, by its suffix or else by its first bytes."""
    return is_picture_name(path.name) or is_archive(path.name) or is_picture(_head(path))


def is_picture_name(name: str) -> bool:
    """Whether the suffix is a picture's."""
    suffix = suffix_of(name)
    return suffix in SUFFIXES or suffix in RAW_SUFFIXES


def is_archive(name: str) -> bool:
    return suffix_of(name) == _ARCHIVE_SUFFIX


def is_unicode(path: Path) -> bool:
    """Whether the name can be written down: on Linux a name may be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: Path) -> str:
    """The path for a message, with bytes that are no Unicode written as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over with all below it."""
    return name.startswith(".") or name in _NOT_WALKED


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links
        return True


def _head(path: Path) -> bytes:
    """The first bytes of a regular file, none of anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b""
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.read(descriptor, HEAD_BYTES) if is_file else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)
