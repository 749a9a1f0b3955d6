"""Which originals may be opened: those below the folders and addresses that were ingested here.

A picture's payload says where its original lies, and a payload may come from a stranger's backup or
from another machine: it may name any file and any address. So whoever opens an original asks
`AllowedOriginals` for it. It knows the roots of all libraries of this installation
(`scenesearch.home.roots`); for a path outside them it gives an original that cannot be read.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from scenesearch.home.roots import MOST_CHARACTERS
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

_WITH_HOST = re.compile(r"\w+://[^/]+(/|$)")


class AllowedOriginals:
    """Opens originals below the given folders and addresses, and no others."""

    def __init__(self, roots: Iterable[str]) -> None:
        places = list(roots)
        self._addresses = [r.rstrip("/") + "/" for r in places if is_url(r) and _WITH_HOST.match(r)]
        folders = [os.path.normpath(r) for r in places if not is_url(r)]
        self._real = [_folder(os.path.realpath(folder)) for folder in folders]
        self._folders = [*map(_folder, folders), *self._real]
        self._is_inside = lru_cache(maxsize=4096)(self._leads_inside)

    def original(self, payload: Mapping[str, Any]) -> Original:
        """The original that a payload names; outside the roots one that cannot be read. No file
        or address outside the roots is touched."""
        return self.at(str(payload.get("path", "")), str(payload.get("sha256", "")))

    def at(self, path: str, sha256: str = "") -> Original:
        """The same by path. A link that leads out of the roots can be read only if its target has
        this content."""
        if len(path) > MOST_CHARACTERS or "\0" in path:
            return Elsewhere(path)
        return self._at_address(path) if is_url(path) else self._in_folder(path, sha256)

    def allows(self, path: str) -> bool:
        """Whether the path may be opened, whether it exists or not."""
        return not isinstance(self.at(path), Elsewhere)

    def allows_below(self, root: str) -> bool:
        """Whether a whole folder or address may be opened."""
        return self.allows(f"{root.rstrip('/')}/x")

    def _in_folder(self, path: str, sha256: str) -> Original:
        # Compare the text first: to touch a path elsewhere may hang, or tell its server about us.
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
        """Whether the folder is below a root when all links are followed."""
        return _begins(os.path.realpath(folder) + os.sep, self._real)

    def _at_address(self, path: str) -> Original:
        original = original_of(path)
        outer = original.archive if isinstance(original, TarMember) else original
        url = str(outer)
        named = unquote(unquote(url.partition("?")[0]))
        if not isinstance(outer, RemoteFile) or ".." in re.split(r"[/\\]", named):
            return Elsewhere(path)
        return original if url.startswith(tuple(self._addresses)) else Elsewhere(path)


def _folder(path: str) -> str:
    return path if path.endswith(os.sep) else path + os.sep


def _begins(path: str, folders: Iterable[str]) -> bool:
    return path.startswith(tuple(folders))


@dataclass(frozen=True)
class Elsewhere:
    """An original outside the roots; it is never opened."""

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
    """A link in an ingested folder to a file outside. An ingest takes it as a picture of the
    folder, so it is shown, but only while it leads to the content that was ingested."""

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
