"""Which files below a folder are pictures or archives of them, in a stable order."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ingest.sources.base import Problem
from ingest.sources.excludes import FolderExcludes
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


def walk(
    folder: Path, problems: list[Problem] | None = None, excludes: FolderExcludes | None = None
) -> Iterator[Path]:
    """Pictures and tar archives below the folder, sorted, without what the excludes leave out.

    They are those of the folder itself or, where it lies in a folder that was given, of that one.
    A file of unknown suffix, or without, is a picture when its first bytes say so. Links to
    folders are not followed: one in a folder from a stranger may lead to the whole disk, or in
    a circle. One that leads out of the folder is added to the problems, because its pictures are
    missed; so is what cannot be read or named.
    """
    problems = [] if problems is None else problems
    excludes = FolderExcludes(folder) if excludes is None else excludes
    root = folder.resolve()

    def unreadable(error: OSError) -> None:
        where = shown(Path(str(error.filename)))
        problems.append(Problem(where, f"folder cannot be read: {error.strerror}"))

    for parent, folders, names in _folders(str(folder), unreadable):
        inside = excludes.relative(parent)
        inside += "/" * bool(inside)
        folders[:] = sorted(
            name for name in folders if not excludes.leaves_out(inside + name, is_folder=True)
        )
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and not _leads_into(path, root):
                reason = "a link to a folder is not followed; name its target beside this folder"
                problems.append(Problem(shown(path), reason))
        wanted = sorted(name for name in names if not excludes.leaves_out(inside + name))
        for name in cancellable(without_rendered(wanted)):
            path = Path(parent, name)
            if not is_wanted(path):
                continue
            if not is_unicode(path):
                problems.append(
                    Problem(shown(path), "the name is not valid Unicode; rename the file")
                )
                continue
            yield path
    problems += (problem for problem in excludes.problems if problem not in problems)


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
