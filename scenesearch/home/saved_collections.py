"""Saved requests: each is a live collection of the pictures that it finds, whenever it is opened.

    <data dir>/libraries/<library>/saved-requests.json

A collection can have a name, a picture that stands for it, and pictures that were added to it or
excluded from it by hand. In the file, a request with nothing of the kind is a mere text, as early
versions wrote it. Several processes may write at once.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeGuard

from filelock import FileLock, Timeout

from scenesearch.errors import SceneSearchError, did_you_mean, obstacle
from scenesearch.pictures.words import one_line
from scenesearch.runtime.files import FILE_MODE, atomic_writer, private_folder
from scenesearch.search.request import MAX_CHARACTERS

# Of requests without a name the oldest is dropped beyond this number; one with a name never is.
MAX_SAVED = 50
MAX_NAMED = 500
MAX_NAME = 100
# Pictures that are added, and that are excluded: each is a condition of every search.
MAX_BY_HAND = 10_000

_WAIT_S = 30.0

# The key under which the file says which renames it has followed.
_RENAMED = "renamed"


class CollectionError(SceneSearchError):
    """A collection cannot be saved or changed; the message is one sentence for the user."""


class NameTaken(CollectionError):  # noqa: N818 - says what is the matter
    """There is a collection of that name."""


@dataclass(frozen=True)
class SavedCollection:
    """A saved request. Without a name of its own it is called by its text.

    `min_relevance` is as for a search, None for the default. `picture` is the id of the one that
    stands for it, '' for the first. `added` and `excluded` are ids of pictures by hand. With an
    empty `request` it holds what was added alone.
    """

    name: str
    request: str
    min_relevance: float | None = None
    picture: str = ""
    added: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is a text and nothing else."""
        return self == SavedCollection(self.request, self.request)

    @property
    def asked(self) -> str:
        """What it asks for, in words: the same as long as the same is found."""
        if self.min_relevance is None:
            return self.request
        return f"{self.request} (at least {self.min_relevance:.0%} relevant)"

    def adding(self, image_ids: Iterable[str]) -> "SavedCollection":
        """With these pictures, which are not excluded any more."""
        ids = tuple(dict.fromkeys(image_ids))
        added = tuple(dict.fromkeys((*self.added, *ids)))
        return replace(self, added=added, excluded=_without(self.excluded, ids)).checked()

    def excluding(self, image_ids: Iterable[str]) -> "SavedCollection":
        """Without these pictures, whether they were added or are found."""
        ids = tuple(dict.fromkeys(image_ids))
        excluded = tuple(dict.fromkeys((*self.excluded, *ids)))
        return replace(self, added=_without(self.added, ids), excluded=excluded).checked()

    def forgetting(self, image_ids: Iterable[str]) -> "SavedCollection":
        """With nothing said of these pictures by hand."""
        ids = tuple(image_ids)
        added, excluded = _without(self.added, ids), _without(self.excluded, ids)
        return replace(self, added=added, excluded=excluded)

    def checked(self) -> "SavedCollection":
        """The same; raises CollectionError for more than a collection may hold."""
        for ids, what in ((self.added, "added"), (self.excluded, "excluded")):
            if len(ids) > MAX_BY_HAND:
                raise CollectionError(
                    f"{len(ids):,} pictures would be {what} by hand, at most {MAX_BY_HAND:,} can "
                    "be: use a tag for so many"
                )
        return self

    def to_json(self) -> str | dict[str, Any]:
        if self.is_plain:
            return self.request
        return {
            one.name: list(value) if isinstance(value, tuple) else value
            for one in fields(self)
            if (value := getattr(self, one.name)) not in (None, "", ()) or one.name == "request"
        }

    @classmethod
    def from_json(cls, said: object) -> "SavedCollection":
        """Raises ValueError for what no collection can be."""
        if isinstance(said, str):
            said = {"name": said, "request": said}
        if not isinstance(said, Mapping):
            raise ValueError("a collection is a text or an object")
        name, request = said.get("name"), said.get("request")
        relevance, picture = said.get("min_relevance"), said.get("picture", "")
        added, excluded = said.get("added", []), said.get("excluded", [])
        if not (_is_text(name) and _is_text(request) and _is_text(picture) and name):
            raise ValueError("its name, its request or its picture is no text")
        if not all(isinstance(ids, list) and all(map(_is_text, ids)) for ids in (added, excluded)):
            raise ValueError("its pictures are no list of texts")
        if len(request) > MAX_CHARACTERS or len(name) > max(MAX_NAME, len(request)):
            raise ValueError("its name or its request is too long")
        if relevance is not None and not (type(relevance) in (int, float) and 0 <= relevance <= 1):
            raise ValueError("its least relevance is not between 0 and 1")
        return cls(name, request, relevance, picture, tuple(added), tuple(excluded)).checked()


def _is_text(text: object) -> TypeGuard[str]:
    """Half of a surrogate pair cannot be shown or written."""
    return isinstance(text, str) and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _without(ids: Sequence[str], gone: Iterable[str]) -> tuple[str, ...]:
    leaving = set(gone)
    return tuple(one for one in ids if one not in leaving)


def checked_name(name: str) -> str:
    """The name on one line; raises CollectionError for one that is empty or too long."""
    line = one_line(name, most=None)
    if line is None or not _is_text(line):
        raise CollectionError(f"{name!r} cannot name a collection")
    if len(line) > MAX_NAME:
        raise CollectionError(f"a name has at most {MAX_NAME} characters, and this has {len(line)}")
    return line


# --- the file ------------------------------------------------------------------------------------


def read_collections(file: Path) -> list[SavedCollection]:
    """The collections, those saved last first; none if the file is missing or damaged."""
    read: dict[str, SavedCollection] = {}
    for said in _read_rows(file):
        try:
            one = SavedCollection.from_json(said)
        except (ValueError, CollectionError):
            continue
        read.setdefault(one.name, one)
    return list(read.values())


def collections_json(collections: Iterable[SavedCollection]) -> bytes:
    """The file's content. Of those without a name, the oldest beyond the limit are left out."""
    kept: dict[str, SavedCollection] = {}
    plain = 0
    for one in collections:
        plain += one.is_plain
        if not one.is_plain or plain <= MAX_SAVED:
            kept.setdefault(one.name, one)
    rows = [one.to_json() for one in kept.values()]
    return json.dumps(rows, ensure_ascii=False, indent=1).encode()


def find_collection(file: Path, name: str) -> SavedCollection:
    """The collection of that name; raises CollectionError."""
    return _named(read_collections(file), name)


def save_request(file: Path, text: str) -> None:
    """Save a text without a name, as the first; beyond the limit, the oldest is dropped."""
    with _changing(file) as collections:
        if all(one.name != text for one in collections):
            text = text[:MAX_CHARACTERS]
            collections.insert(0, SavedCollection(text, text))
        else:
            collections.sort(key=lambda one: one.name != text)


def save_collection(file: Path, collection: SavedCollection, *, replaces: bool = False) -> None:
    """Save it as the first. Raises NameTaken where there is one of that name, unless it
    `replaces` that one's request: what was said by hand stays."""
    with _changing(file) as collections:
        there = next((one for one in collections if one.name == collection.name), None)
        if there is not None and not replaces and not there.is_plain:
            raise NameTaken(f"there is a collection {collection.name!r} already")
        if there is not None:
            collections.remove(there)
            collection = replace(
                collection,
                picture=collection.picture or there.picture,
                added=there.added,
                excluded=there.excluded,
            )
        if sum(not one.is_plain for one in collections) >= MAX_NAMED:
            raise CollectionError(f"there are {MAX_NAMED} collections already: delete one first")
        collections.insert(0, collection)


def change_collection(
    file: Path, name: str, change: Callable[[SavedCollection], SavedCollection]
) -> SavedCollection:
    """Put what `change` makes of the collection in its place, and return it; raises
    CollectionError for a name that is taken or unknown."""
    with _changing(file) as collections:
        there = _named(collections, name)
        changed = change(there)
        if changed.name != name and any(one.name == changed.name for one in collections):
            raise NameTaken(f"there is a collection {changed.name!r} already")
        collections[collections.index(there)] = changed
    return changed


def change_collections(file: Path, change: Callable[[SavedCollection], SavedCollection]) -> None:
    """Put what `change` makes of each collection in its place; it changes no name."""
    if any(change(one) != one for one in read_collections(file)):
        with _changing(file) as collections:
            collections[:] = map(change, collections)


def delete_collection(file: Path, name: str) -> None:
    """Raises CollectionError for an unknown name."""
    with _changing(file) as collections:
        collections.remove(_named(collections, name))


def follow_renames(
    file: Path, change: Callable[[SavedCollection], SavedCollection], *, once: int
) -> None:
    """Put what `change` makes of each collection in its place. A text without a name that gets too
    long is dropped. The call is ignored when the last one had the same `once`."""
    if not read_collections(file):
        return
    done = {_RENAMED: once}
    with _locked(file):
        if done in _read_rows(file):
            return
        changed = [change(one) for one in read_collections(file)]
        kept = [one for one in changed if len(one.request) <= MAX_CHARACTERS]
        # Between collections this is none, and readers pass over it.
        rows = [*json.loads(collections_json(kept)), done]
        _write(file, json.dumps(rows, ensure_ascii=False, indent=1).encode())


def _named(collections: Iterable[SavedCollection], name: str) -> SavedCollection:
    by_name = {one.name: one for one in collections}
    if name not in by_name:
        raise CollectionError(f"there is no collection {name!r}{did_you_mean(name, by_name)}")
    return by_name[name]


@contextmanager
def _changing(file: Path) -> Iterator[list[SavedCollection]]:
    """The collections, for the block to change; they are written where it has."""
    with _locked(file):
        before = read_collections(file)
        collections = list(before)
        yield collections
        if collections != before:
            _write(file, collections_json(collections))


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    try:
        private_folder(file.parent)
        with FileLock(file.with_suffix(".lock"), timeout=_WAIT_S, mode=FILE_MODE):
            yield
    except Timeout:
        raise CollectionError(f"{file} is being written by another process; try again") from None
    except OSError as error:
        why = obstacle(error) or error.strerror or error
        raise CollectionError(f"{file} cannot be written: {why}") from None


def _write(file: Path, content: bytes) -> None:
    with atomic_writer(file, private=True) as out:
        out.write(content)


def _read_rows(file: Path) -> list[Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []
