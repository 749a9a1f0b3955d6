"""Which originals are opened: those below the folders and addresses that were ingested here.

    <data dir>/libraries/<library>/sources.json     {"/photos": "", "s3://bucket/trip": "trip/"}

Where a picture lies is written in its payload, and a payload may come from a backup of a stranger
or from another machine: it may name any file and any address. So whoever opens an original asks
`Ingested` for it, which knows the roots that this installation was filled from, by whichever of
its libraries, and gives for any other path an original that cannot be read.

A root is confirmed by ingesting it here. One that came with a backup is kept, for it decides image
ids, as {"prefix": "", "restored": true}: nothing below it is opened until it, or a folder in it,
is ingested here.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from scenesearch.errors import SceneSearchError, first_line
from scenesearch.home.settings import Settings
from scenesearch.pictures.originals import (
    LocalFile,
    Original,
    OriginalError,
    OriginalState,
    RemoteFile,
    TarMember,
    is_url,
    original_of,
)

SOURCES = "sources.json"

# Longer ones are in no file system and of no server.
_LONGEST = 65_536
_WITH_HOST = re.compile(r"\w+://[^/]+(/|$)")
_MOST_ROOTS = 10_000


class RootsError(SceneSearchError):
    """A list of roots cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Root:
    """A folder or address that a library was filled from: what its image ids begin with, and
    whether it is only known from a backup."""

    prefix: str
    restored: bool = False

    def to_json(self) -> str | dict[str, Any]:
        return {"prefix": self.prefix, "restored": True} if self.restored else self.prefix


def read_roots(file: Path) -> dict[str, Root]:
    """The roots of a library's `sources.json`, none without one; raises RootsError."""
    try:
        return roots_of(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise RootsError(f"{file} is damaged: {first_line(error)}") from None
    except OSError as error:
        raise RootsError(f"{file} cannot be read: {error.strerror or error}") from None


def roots_of(document: Any) -> dict[str, Root]:
    """The roots of the parsed file; raises ValueError for what is none."""
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    if len(document) > _MOST_ROOTS:
        raise ValueError(f"it names more than {_MOST_ROOTS} folders")
    found: dict[str, Root] = {}
    for place, said in document.items():
        restored = isinstance(said, dict)
        prefix = said.get("prefix") if isinstance(said, dict) else said
        if not isinstance(prefix, str) or not _is_prefix(prefix):
            raise ValueError(f"{place[:200]!r} has no prefix of image ids")
        if not _is_place(place):
            raise ValueError(f"{place[:200]!r} is neither an absolute path nor an address")
        found[place] = Root(prefix, restored)
    return found


def roots_json(roots: Mapping[str, Root]) -> bytes:
    """The content of `sources.json`."""
    document = {place: root.to_json() for place, root in roots.items()}
    return json.dumps(document, indent=1).encode()


def _is_prefix(text: str) -> bool:
    """'' or a folder inside the library; it stands before every image id, so that no id leads
    upwards."""
    if text == "":
        return True
    parts = text.split("/")
    return (
        len(text) <= _LONGEST
        and parts[-1] == ""
        and "\0" not in text
        and not any(part in ("", ".", "..") for part in parts[:-1])
    )


def _is_place(text: str) -> bool:
    return len(text) <= _LONGEST and "\0" not in text and (is_url(text) or os.path.isabs(text))  # noqa: PTH117


class Ingested:
    """The folders and addresses below which originals may be opened."""

    def __init__(self, roots: Iterable[str]) -> None:
        places = list(roots)
        self._addresses = [r.rstrip("/") + "/" for r in places if is_url(r) and _WITH_HOST.match(r)]
        folders = [os.path.normpath(r) for r in places if not is_url(r)]
        self._real = [_folder(os.path.realpath(folder)) for folder in folders]
        self._folders = [*map(_folder, folders), *self._real]
        self._is_inside = lru_cache(maxsize=4096)(self._leads_inside)

    def original(self, payload: Mapping[str, Any]) -> Original:
        """The original that a payload names, or one that cannot be read where it lies elsewhere;
        no file or address outside the roots is touched."""
        return self.at(str(payload.get("path", "")), str(payload.get("sha256", "")))

    def at(self, path: str, sha256: str = "") -> Original:
        """The same for the path alone; a link that leads out of the roots counts only where its
        target has this content."""
        if len(path) > _LONGEST or "\0" in path:
            return Elsewhere(path)
        return self._at_address(path) if is_url(path) else self._in_folder(path, sha256)

    def holds(self, path: str) -> bool:
        """Whether the path is one that may be opened, there or not."""
        return not isinstance(self.at(path), Elsewhere)

    def covers(self, root: str) -> bool:
        """Whether a whole folder or address may be opened."""
        return self.holds(f"{root.rstrip('/')}/x")

    def _in_folder(self, path: str, sha256: str) -> Original:
        # By the words first: a path elsewhere may hang, or tell its server that somebody asks.
        if not os.path.isabs(path) or not _begins(os.path.normpath(path), self._folders):  # noqa: PTH117
            return Elsewhere(path)
        original = original_of(path)
        outer = original.archive if isinstance(original, TarMember) else original
        if not isinstance(outer, LocalFile) or not self._is_inside(str(outer.path.parent)):
            return Elsewhere(path)
        if original is outer and os.path.islink(outer.path):  # noqa: PTH114 - never raises
            target = os.path.realpath(outer.path)
            if not _begins(target, self._real):
                return LinkedFile(outer, sha256)
        return original

    def _leads_inside(self, folder: str) -> bool:
        """Whether the folder, with all links followed, lies below a root."""
        return _begins(os.path.realpath(folder) + os.sep, self._real)

    def _at_address(self, path: str) -> Original:
        original = original_of(path)
        outer = original.archive if isinstance(original, TarMember) else original
        url = str(outer)
        named = unquote(unquote(url.partition("?")[0]))
        if not isinstance(outer, RemoteFile) or ".." in re.split(r"[/\\]", named):
            return Elsewhere(path)
        return original if url.startswith(tuple(self._addresses)) else Elsewhere(path)


def ingested(settings: Settings) -> Ingested:
    """What this installation was filled from, by all its libraries, and what its settings add."""
    files = sorted((settings.data_dir / "libraries").glob(f"*/{SOURCES}"))
    further = tuple(part.strip() for part in settings.originals.split(",") if part.strip())
    return _ingested(tuple((file, _stamp(file)) for file in files), further)


@lru_cache(maxsize=8)
def _ingested(files: tuple[tuple[Path, Any], ...], further: tuple[str, ...]) -> Ingested:
    places = [part if is_url(part) else str(Path(part).expanduser().absolute()) for part in further]
    for file, _ in files:
        try:
            roots = read_roots(file)
        except RootsError:  # an ingest and `library doctor` say so; nothing of it is opened
            continue
        places += [place for place, root in roots.items() if not root.restored]
    return Ingested(places)


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


def _folder(path: str) -> str:
    return path if path.endswith(os.sep) else path + os.sep


def _begins(path: str, folders: Iterable[str]) -> bool:
    return path.startswith(tuple(folders))


@dataclass(frozen=True)
class Elsewhere:
    """An original outside what this installation was filled from; never opened."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    def state(self) -> OriginalState:
        raise OriginalError(NOT_HERE)

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        raise OriginalError(NOT_HERE)


NOT_HERE = (
    "the original is not here: it lies outside the folders and addresses that this installation "
    "has ingested from"
)


@dataclass(frozen=True)
class LinkedFile:
    """A link in an ingested folder to a file outside: an ingest takes it as a picture of the
    folder, so it is shown, but only where it leads to the very content that was ingested."""

    file: LocalFile
    sha256: str

    def __str__(self) -> str:
        return str(self.file)

    @property
    def name(self) -> str:
        return self.file.name

    def state(self) -> OriginalState:
        return self.file.state()

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        data = self.file.read()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise OriginalError(NOT_HERE)
        return data if length is None else data[start : start + length]
