"""What a watched collection held when it was last looked at.

    <data dir>/libraries/<library>/watched/<hash of the name>.json

Pictures are remembered by their content, so that one that is renamed or copied is not new.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from scenesearch.errors import SceneSearchError
from scenesearch.runtime.files import FILE_MODE, atomic_writer, private_folder
from scenesearch.search.answer import Hit

_FOLDER = "watched"


class WatchError(SceneSearchError):
    """A collection cannot be watched; the message is one sentence for the user."""


@dataclass(frozen=True)
class Seen:
    """The contents that a collection has held, and the request that found them."""

    request: str
    contents: frozenset[str]

    def new(self, hits: Iterable[Hit]) -> list[Hit]:
        """Those of the hits that were not there before; of several of one content the first."""
        found = {content_of(hit): hit for hit in reversed(list(hits))}
        return sorted(
            (hit for content, hit in found.items() if content not in self.contents),
            key=lambda hit: hit.rank,
        )

    def with_hits(self, hits: Iterable[Hit]) -> "Seen":
        """With these too. What has left the collection stays: coming back is not news."""
        return Seen(self.request, self.contents.union(map(content_of, hits)))


def content_of(hit: Hit) -> str:
    return str(hit.payload.get("sha256") or hit.image_id)


class WatchState:
    """What is remembered of one collection, while nobody else watches it."""

    def __init__(self, library_dir: Path, name: str) -> None:
        self._name = name
        self._file = _file(library_dir, name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises WatchError where another process watches the collection."""
        private_folder(self._file.parent)
        lock = FileLock(self._file.with_suffix(".lock"), timeout=0, mode=FILE_MODE)
        try:
            lock.acquire()
        except Timeout:
            raise WatchError(
                f"the collection {self._name} is being watched by another process"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def read(self) -> Seen | None:
        """What was seen; None before the first time. Raises WatchError for a damaged file: all
        pictures would be new."""
        try:
            said = json.loads(self._file.read_bytes())
            return Seen(str(said["request"]), frozenset(map(str, said["contents"])))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise WatchError(f"{self._file} is damaged: delete it to begin anew") from None

    def write(self, seen: Seen) -> None:
        """It is on the disk when this returns."""
        said = {"name": self._name, "request": seen.request, "contents": sorted(seen.contents)}
        with atomic_writer(self._file, private=True) as out:
            out.write(json.dumps(said, ensure_ascii=False).encode())
            out.flush()
            os.fsync(out.fileno())


def rename_watched(library_dir: Path, name: str, new: str) -> None:
    with suppress(FileNotFoundError):
        _file(library_dir, name).replace(_file(library_dir, new))


def forget_watched(library_dir: Path, name: str) -> None:
    _file(library_dir, name).unlink(missing_ok=True)


def _file(library_dir: Path, name: str) -> Path:
    return library_dir / _FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
