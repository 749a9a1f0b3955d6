"""What a source of pictures is, and how its pictures are named."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scenesearch.errors import SceneSearchError
from scenesearch.images import atomic_writer
from scenesearch.library import ImageRecord, MetadataType
from scenesearch.originals import is_url
from scenesearch.private import private_folder


class SourceError(SceneSearchError):
    """A path that cannot be ingested from; the message is one sentence for the user."""


@dataclass(frozen=True)
class Problem:
    """Something of a source that was left out: a row, a folder, a name."""

    where: str
    reason: str


@dataclass(frozen=True)
class Source:
    """The `count` pictures of one path given by the user.

    `fields` are the custom metadata columns; `problems` what could not be used before any
    picture was opened; `root` how the paths of its pictures begin, also of those that are gone,
    `listing` the file that names them, where there is one.
    """

    records: Callable[[], Iterator[ImageRecord]]
    count: int
    fields: Mapping[str, MetadataType] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    root: str = ""
    listing: str = ""


class Roots:
    """The folders a library was filled from, each with the prefix its image ids carry.

    The first has none, so that ids are paths relative to it. A folder inside a known one keeps
    the known one's ids (ingesting photos/2020 after photos doubles nothing); another folder gets
    its own name as prefix (a/IMG_1.jpg and b/IMG_1.jpg stay two pictures). An address of a
    folder, s3://bucket/photos, is a root like any other.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Reads the file if it exists; without one, nothing is remembered."""
        self._file = file
        self._prefixes: dict[str, str] = {}
        if file is not None and file.exists():
            try:
                saved = json.loads(file.read_text(encoding="utf-8"))
                self._prefixes = {str(root): str(prefix) for root, prefix in saved.items()}
            except (ValueError, AttributeError):
                raise SourceError(
                    f"{file} is damaged: expected a JSON object; copy it elsewhere, then delete it "
                    "and ingest the library's folders again"
                ) from None

    @property
    def folder(self) -> Path | None:
        """Where this library remembers its sources, if it does."""
        return self._file.parent if self._file else None

    @property
    def known(self) -> tuple[str, ...]:
        """The folders and addresses themselves."""
        return tuple(self._prefixes)

    def add(self, folder: Path | str) -> None:
        """Make sure that pictures under this folder have image ids; remembers a new root."""
        root = str(folder).rstrip("/") if _is_address(folder) else str(Path(folder).resolve())
        if self._root_of(root) is not None:
            return
        name = root.rpartition("/")[2] if _is_address(root) else Path(root).name
        prefix, number = "", 1
        while prefix in self._prefixes.values():
            prefix = f"{name or 'root'}{'' if number == 1 else f'-{number}'}/"
            number += 1
        self._prefixes[root] = prefix
        if self._file is not None:
            private_folder(self._file.parent)
            with atomic_writer(self._file, private=True) as file:
                file.write(json.dumps(self._prefixes, indent=1).encode())

    def knows(self, path: Path | str) -> bool:
        """Whether pictures at this path have image ids already."""
        return self._root_of(str(path)) is not None

    def image_id(self, path: Path | str) -> str:
        """The picture's name in the library; `path` is absolute and lies under an added folder."""
        text = str(path)
        root = self._root_of(text)
        if root is None:
            raise SourceError(f"{path} is outside every folder of this library")
        inside = text[len(root) :].lstrip("/" if _is_address(path) else os.sep)
        return self._prefixes[root] + (inside if _is_address(path) else inside.replace(os.sep, "/"))

    def _root_of(self, path: str) -> str | None:
        """The innermost known root that holds the path."""
        if path in self._prefixes:
            return path
        if is_url(path):
            while "://" in (path := path.rpartition("/")[0]):
                if path in self._prefixes:
                    return path
            return None
        # By strings, not by `Path.parents`: this is asked of every picture of every re-scan.
        parent = os.path.dirname(path)  # noqa: PTH120
        while parent != path:
            if parent in self._prefixes:
                return parent
            path, parent = parent, os.path.dirname(parent)  # noqa: PTH120
        return None


def _is_address(path: Path | str) -> bool:
    return isinstance(path, str) and is_url(path)
