"""The folders and addresses a library was filled from, which decide the image ids."""

import os
from pathlib import Path
from urllib.parse import unquote

from ingest.sources.base import SourceError
from scenesearch.home.roots import Root, RootsError, innermost, read_roots, write_roots
from scenesearch.pictures.originals import LocalFile, RemoteFile, is_url
from scenesearch.pictures.records import ImageRecord


class Roots:
    """The folders a library was filled from, each with the prefix its image ids carry.

    The first has none, so that ids are paths relative to it. A folder inside a known one keeps
    the known one's ids (ingesting photos/2020 after photos doubles nothing); another folder gets
    its own name as prefix (a/IMG_1.jpg and b/IMG_1.jpg stay two pictures). An address of a
    folder, s3://bucket/photos, is a root like any other.

    A root that is only known from a backup (`scenesearch.home.roots`) keeps deciding image ids;
    what is added in it is from then on one that was ingested here.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Reads the file if it exists; without one, nothing is remembered."""
        self._file = file
        try:
            self._roots = {} if file is None else read_roots(file)
        except RootsError as error:
            raise SourceError(str(error)) from None

    @property
    def folder(self) -> Path | None:
        """Where this library remembers its sources, if it does."""
        return self._file.parent if self._file else None

    @property
    def known(self) -> tuple[str, ...]:
        """The folders and addresses themselves."""
        return tuple(self._roots)

    def add(self, folder: Path | str, *, apart: bool = False) -> None:
        """Make sure that pictures under this folder have image ids; remembers a new root.

        `apart` remembers a folder inside a root too, with the ids that it has there: it was given
        although the root leaves it out.
        """
        root = str(folder).rstrip("/") if _is_address(folder) else str(Path(folder).resolve())
        known = self._root_of(root)
        if known is not None and not self._roots[known].restored and not (apart and root != known):
            return
        if known is not None:  # the same ids, and from now on opened
            inside = self.image_id(root)
            self._roots[root] = Root(f"{inside}/" if root != known else self._roots[known].prefix)
        else:
            self._roots[root] = Root(self._new_prefix(root))
        if self._file is not None:
            write_roots(self._file, self._roots)

    def _new_prefix(self, root: str) -> str:
        name = root.rpartition("/")[2] if _is_address(root) else Path(root).name
        taken = {known.prefix for known in self._roots.values()}
        prefix, number = "", 1
        while prefix in taken:
            prefix = f"{name or 'root'}{'' if number == 1 else f'-{number}'}/"
            number += 1
        return prefix

    def knows(self, path: Path | str) -> bool:
        """Whether pictures at this path have image ids already, by what was ingested here."""
        root = self._root_of(str(path))
        return root is not None and not self._roots[root].restored

    def holding(self, path: Path) -> Path | None:
        """The innermost folder of the library that holds the path."""
        root = self._root_of(str(path))
        return None if root is None else Path(root)

    def image_id(self, path: Path | str) -> str:
        """The picture's name in the library; `path` is absolute and lies under an added folder."""
        text = str(path)
        root = self._root_of(text)
        if root is None:
            raise SourceError(f"{path} is outside every folder of this library")
        inside = text[len(root) :].lstrip("/" if _is_address(path) else os.sep)
        prefix = self._roots[root].prefix
        return prefix + (inside if _is_address(path) else inside.replace(os.sep, "/"))

    def record(self, original: LocalFile | RemoteFile) -> ImageRecord:
        """The picture under its name in the library, `%20` of a web address as a space."""
        if isinstance(original, LocalFile):
            return ImageRecord(self.image_id(original.path), original)
        name = self.image_id(original.url)
        return ImageRecord(unquote(name) if original.url.startswith("http") else name, original)

    def _root_of(self, path: str) -> str | None:
        """The innermost known root that holds the path."""
        return innermost(self._roots, path)


def _is_address(path: Path | str) -> bool:
    return isinstance(path, str) and is_url(path)
