"""Which files and folders are left out: patterns as in a .gitignore file.

The last pattern that matches decides, and one that begins with '!' takes in again what an earlier
one left out. In this order: the defaults below, the files `.scenesearchignore` from the outer
folder to the inner, the patterns of the command.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from pathspec import GitIgnoreSpec

from ingest.sources.base import Problem, SourceError

# A file of this name in a folder holds patterns for the folder and all below it.
FILE_NAME = ".scenesearchignore"

DEFAULTS = {
    "hidden files and folders": (".*",),
    "thumbnails, waste bins, snapshots and working folders of network storage": (
        "@eaDir/",
        "@tmp/",
        "@sharebin/",
        "@SynoResource/",
        "@Recycle/",
        "@Recycle Bin/",
        "@Recently-Snapshot/",
        "@Transcode/",
        "\\#recycle/",
        "\\#snapshot/",
        "~snapshot/",
        "Network Trash Folder/",
    ),
    "waste bins and system folders of operating systems": (
        "$RECYCLE.BIN/",
        "RECYCLER/",
        "RECYCLED/",
        "System Volume Information/",
        "Temporary Items/",
        "__MACOSX/",
        "lost+found/",
    ),
    "what Apple's programs keep in a library beside the originals": (
        "**/*.photoslibrary/*",
        "!**/*.photoslibrary/originals/",
        "!**/*.photoslibrary/Masters/",
        "**/*.photolibrary/Thumbnails/",
        "**/*.photolibrary/Previews/",
        "**/iPhoto Library/Thumbnails/",
        "**/iPhoto Library/Previews/",
        "**/*.aplibrary/Thumbnails/",
        "**/*.aplibrary/Previews/",
    ),
    "previews of photo programs (Lightroom, Capture One, darktable)": (
        "*.lrdata/",
        "**/CaptureOne/Cache/",
        "**/*.cocatalog/Cache/",
        "mipmaps-*.d/",
    ),
    "previews and waste bins of photo servers (Immich, PhotoPrism, Nextcloud)": (
        "**/thumbs/*/[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/",
        "**/storage/cache/thumbnails/",
        "**/appdata_*/preview/",
        "files_trashbin/",
        "files_versions/",
    ),
    "thumbnails of camcorders and cameras": (
        "THMBNL/",
        "AVCHDTN/",
        "*.[Tt][Hh][Mm]",
    ),
}

# Folders that are one thing to their program. Patterns for what is in them hold as well where such
# a folder itself is given.
_PACKAGES = (".photoslibrary", ".photolibrary", ".aplibrary", ".cocatalog")

# Between an archive and its member.
_MEMBER = re.compile(r"(?<=\.tar)!", re.IGNORECASE)

# Of a file of patterns, which a stranger may have written. The time that a pattern takes grows with
# a power of its wildcards: with three it is 11 ms for the worst name, with five half a minute.
_MAX_FILE_BYTES = 64 * 1024
_MAX_PATTERNS = 1000
_MAX_WILDCARDS = 3


class _Rules:
    """Patterns, of which the last that matches decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._folders: list[tuple[re.Pattern[str], bool]] = []
        self._files: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            for regex, include in _compiled(line):
                self._folders.insert(0, (regex, include))
                # Most patterns are for folders; a million files need not be compared with them.
                if not line.rstrip().endswith("/"):
                    self._files.insert(0, (regex, include))

    def verdict(self, path: str, *, is_folder: bool) -> bool | None:
        """Whether the path itself is left out, whatever is above it; None where none matches."""
        for regex, include in self._folders if is_folder else self._files:
            if regex.fullmatch(path):
                return include
        return None


def _compiled(line: str) -> list[tuple[re.Pattern[str], bool]]:
    """The pattern of a line, none for a comment; raises ValueError for what is no pattern."""
    try:
        found = GitIgnoreSpec.from_lines([unicodedata.normalize("NFC", line)]).patterns
    except re.error as error:
        raise ValueError(str(error)) from None
    # A name may hold a line break.
    return [
        (re.compile(_whole(one.regex.pattern), re.DOTALL), bool(one.include))
        for one in found
        if one.include is not None and one.regex is not None
    ]


def _whole(expression: str) -> str:
    """The expression of a pattern for whole paths: those of '*' and 'a/**' are for beginnings."""
    if expression in (".", "(?P<ps_d>/)"):
        return ".+" if expression == "." else ".+/"
    return f"{expression}.+" if expression.endswith("/") else expression


_DEFAULT_RULES = lru_cache(maxsize=1)(
    lambda: _Rules(pattern for patterns in DEFAULTS.values() for pattern in patterns)
)


@dataclass(frozen=True)
class Excludes:
    """The patterns of one command; raises SourceError for one that cannot be read."""

    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                if not _compiled(pattern):
                    raise ValueError
            except ValueError:
                raise SourceError(
                    f"{pattern!r} cannot be excluded: it is no pattern of a .gitignore file"
                ) from None

    def below(self, folder: Path | str) -> "FolderExcludes":
        """What is left out of this folder."""
        return FolderExcludes(folder, self.patterns)


class FolderExcludes:
    """What is left out of one folder that was given. Paths are relative to it, with '/' between
    names; an archive counts as a folder of its members.

    Where the folder is a text, an address, no files of patterns are looked for. `problems` are
    lines of such files that could not be used.
    """

    def __init__(self, folder: Path | str, patterns: Sequence[str] = ()) -> None:
        self._given = _Rules(patterns)
        self._has_files = isinstance(folder, Path)
        self._root = str(folder)
        name = self._root.rstrip("/").rpartition("/")[2]
        self._prefix = f"{name}/" if name.lower().endswith(_PACKAGES) else ""
        self._rules_in = lru_cache(maxsize=4096)(self._read)
        self._leaves_out_folder = lru_cache(maxsize=4096)(
            lambda path: self.leaves_out(path, is_folder=True)
        )
        self.problems: list[Problem] = []

    def leaves_out(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether the path is left out, where no folder above it is."""
        name = unicodedata.normalize("NFC", path)
        found = self._given.verdict(_marked(name, is_folder), is_folder=is_folder)
        above = path
        while found is None and above and self._has_files:
            above = above.rpartition("/")[0]
            rules = self._rules_in(above)
            if rules is not None:
                inside = unicodedata.normalize("NFC", path[len(above) :].lstrip("/"))
                found = rules.verdict(_marked(inside, is_folder), is_folder=is_folder)
        if found is None:
            default = _marked(self._prefix + name, is_folder)
            found = _DEFAULT_RULES().verdict(default, is_folder=is_folder)
        return bool(found)

    def leaves_out_below(self, path: str) -> bool:
        """Whether the file is left out, or a folder above it."""
        end = path.find("/")
        while end >= 0:
            if self._leaves_out_folder(path[:end]):
                return True
            end = path.find("/", end + 1)
        return self.leaves_out(path)

    def leaves_out_at(self, path: str) -> bool:
        """The same for an absolute path of a file, or of an archive's member (`a.tar!b.jpg`)."""
        return self.leaves_out_below(self.relative(path))

    def relative(self, path: str) -> str:
        """An absolute path or an address as a relative one."""
        relative = path[len(self._root) :].replace(os.sep, "/").lstrip("/")
        if self._root.startswith("http"):
            relative = unquote(relative)
        return _MEMBER.sub("/", relative, count=1)

    def _read(self, folder: str) -> _Rules | None:
        """The rules of the file in this folder, where there is one."""
        file = Path(self._root, folder, FILE_NAME)
        try:
            text = _text_of(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(str(file), f"is not used: {error.strerror or error}")
            return None
        usable: list[str] = []
        for number, line in enumerate(text.splitlines(), start=1):
            reason = _refused(line, len(usable))
            if reason:
                self._note(f"{file}:{number}", reason)
            else:
                usable.append(line)
        return _Rules(usable)

    def _note(self, where: str, reason: str) -> None:
        problem = Problem(where, reason)
        if problem not in self.problems:
            self.problems.append(problem)


def _marked(path: str, is_folder: bool) -> str:
    return f"{path}/" if is_folder else path


def _refused(line: str, before: int) -> str:
    """Why a line of a file is not used, '' where it is."""
    if before >= _MAX_PATTERNS:
        return f"the patterns after the first {_MAX_PATTERNS} are not used"
    wildcards = sum(1 if name == "**" else name.count("*") for name in line.split("/"))
    if wildcards > _MAX_WILDCARDS and not line.startswith("#"):
        return f"a pattern with more than {_MAX_WILDCARDS} wildcards * is not used"
    try:
        _compiled(line)
    except ValueError:
        return "this is no pattern of a .gitignore file"
    return ""


def _text_of(file: Path) -> str:
    """The text of a regular file; raises OSError."""
    # Non-blocking: a FIFO would wait for its writer.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is no file")
        data = opened.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise OSError(f"it has more than {_MAX_FILE_BYTES // 1024} KiB")
    return data.decode("utf-8-sig", "surrogateescape")
