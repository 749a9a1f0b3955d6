"""Pictures that lie elsewhere than before: their old place goes, what was said of them stays.

A content that came under a new name has moved when the library holds it under a name whose file is
gone, or has another content by now. Of files that are gone prune's caution holds: a root of the
library that is missing or empty looks like a disk that is away. While both are there, they are
copies.

All of it happens at the end of a run, when every picture has been seen: names may have been
exchanged. Until then, and should the run be killed, the journal knows what is to be done.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ingest.journal import PART, Displaced, Journal, Rename, Step
from ingest.payload import descriptions_of, redescribed
from ingest.prune import is_empty, is_gone, nearest_folder
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.originals import is_url
from scenesearch.store.base import Point, VectorStore
from scenesearch.store.filters import OneOf

_Payload = Mapping[str, Any]

# Gives marks and saved requests the new names: (old id -> new id, a number of these alone).
Follow = Callable[[Mapping[str, str], int], None]


class OldPlaces:
    """What is certain of files below the roots of a library; asked of each folder once.

    `asked` are roots at addresses that this run has listed: of others no server is asked.
    """

    def __init__(self, roots: Iterable[str], asked: Iterable[str] = ()) -> None:
        self._roots = sorted({root for root in roots if not is_url(root)}, key=len, reverse=True)
        self._asked = tuple(root for root in asked if is_url(root))
        self._is_empty = lru_cache(maxsize=4096)(is_empty)
        self._names = lru_cache(maxsize=64)(_names)

    def is_left(self, path: str, came: "Arrivals", was: _Payload) -> bool:
        """Whether what lay at the path lies there no longer, and is one of those that `came`.

        In a folder that was left empty only where one of them has the very size and time that it
        had: a copy of what is on a disk that is away has not.
        """
        if is_url(path):
            return path.startswith(self._asked) and is_gone(path)
        root = next(
            (at for at in self._roots if path.startswith(f"{at.rstrip(os.sep)}{os.sep}")), ""
        )
        if not root or self._is_empty(Path(root)):
            return False
        if not is_gone(path):
            return any(self._is_renamed(path, new) for new in came.written_like(path))
        folder = nearest_folder(path)
        if folder is None or not self._is_empty(folder):
            return True
        return came.has_file(was)

    def _is_renamed(self, old: str, new: str) -> bool:
        """Whether both are one file, whose name has changed in nothing but upper and lower case.

        Some disks find it under either; the folder says how it is written.
        """
        try:
            if old == new or not Path(old).samefile(new):
                return False
            folder, *names = _common(Path(old), Path(new))
            return any(
                name not in self._names(folder.joinpath(*names[:depth]))
                for depth, name in enumerate(names)
            )
        except OSError:
            return False


class Arrivals:
    """Payloads of pictures of one content that came. There may be thousands of copies: each
    question costs the same, however many they are."""

    def __init__(self, payloads: Iterable[_Payload]) -> None:
        self._files: set[tuple[Any, Any]] = set()
        self._paths: dict[str, list[str]] = defaultdict(list)
        for one in payloads:
            path = str(one.get("path", ""))
            if "modified" in one:
                self._files.add(_file_of(one))
            if not is_url(path):
                self._paths[_folded(path)].append(path)

    def has_file(self, was: _Payload) -> bool:
        """Whether one has the size and the time of that file, as a file keeps them when moved."""
        return _file_of(was) in self._files

    def written_like(self, path: str) -> Sequence[str]:
        """Their local paths that differ from this one in nothing but upper and lower case."""
        return self._paths.get(_folded(path), ())


def _file_of(payload: _Payload) -> tuple[Any, Any]:
    return payload.get("size_bytes"), payload.get("modified")


def settle(
    store: VectorStore,
    collection: str,
    journal: Journal,
    places: OldPlaces,
    *,
    rejects: Rejects | None = None,
    follow: Follow | None = None,
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Deal with the pictures that came, as the journal has them; how many have moved.

    A step that was begun by a run that was killed is done again. `tick` is called every few
    hundred pictures; what it raises ends it like a kill.
    """
    if journal.step == Step.COLLECTING:
        for by_content in journal.arrivals():
            journal.rename(_pairs(store, collection, journal, places, by_content))
            tick()
        journal.reached(Step.PAIRED)
    moved = _carry(store, collection, journal, follow, tick)
    stale = (rename for part in journal.renames() for rename in part if rename.is_stale)
    while part := list(islice(stale, PART)):
        store.delete(collection, [rename.old for rename in part])
        if rejects is not None:
            rejects.forget(str(rename.payload.get("path", "")) for rename in part)
        tick()
    if moved:
        store.flush(collection)
    journal.settled()
    return moved


def hand_over(
    store: VectorStore,
    collection: str,
    journal: Journal,
    gone: Sequence[Point],
    *,
    follow: Follow | None = None,
) -> None:
    """Give what was said of pictures that are gone to a copy of theirs that the library keeps."""
    leaving = {point.image_id for point in gone}
    remaining = iter(gone)
    while part := list(islice(remaining, PART)):
        hashes = tuple({str(point.payload.get("sha256", "")) for point in part})
        copies: dict[str, str] = {}
        for copy in store.scroll(collection, where=(OneOf("sha256", hashes),), payload=("sha256",)):
            if copy.image_id not in leaving:
                copies.setdefault(str(copy.payload.get("sha256", "")), copy.image_id)
        whole = store.retrieve(
            collection, [p.image_id for p in part if p.payload.get("sha256") in copies]
        )
        journal.rename(
            Rename(old, copies[str(point.payload["sha256"])], point.payload, is_stale=False)
            for old, point in whole.items()
        )
    journal.reached(Step.PAIRED)
    _carry(store, collection, journal, follow, lambda: None)
    journal.settled()


def forget_moved(rejects: Rejects, places: OldPlaces) -> None:
    """Take out rejects whose file was moved, and is a reject under its new name."""
    alike: dict[tuple[object, object], list[_Payload]] = defaultdict(list)
    for row in rejects.alike():
        file = {"path": row.path, "size_bytes": row.size_bytes, "modified": row.modified}
        alike[_file_of(file)].append(file)
    for files in alike.values():
        came = Arrivals(files)
        rejects.forget([one["path"] for one in files if places.is_left(one["path"], came, one)])


def _carry(
    store: VectorStore,
    collection: str,
    journal: Journal,
    follow: Follow | None,
    tick: Callable[[], None],
) -> int:
    """Let descriptions, marks and saved requests follow the renames; how many there are."""
    if journal.step == Step.PAIRED:
        _describe(store, collection, journal, tick)
        journal.reached(Step.DESCRIBED)
    names = {rename.old: rename.new for part in journal.renames() for rename in part}
    if journal.step == Step.DESCRIBED:
        if names and follow is not None:
            follow(names, journal.token)
        journal.reached(Step.FOLLOWED)
    return len(names)


def _pairs(
    store: VectorStore,
    collection: str,
    journal: Journal,
    places: OldPlaces,
    by_content: Mapping[str, Sequence[str]],
) -> Iterator[Rename]:
    """For these contents the names that pictures had, each with the name that it has now."""
    hashes = tuple(by_content)
    held: dict[str, list[Point]] = defaultdict(list)
    for point in store.scroll(collection, where=(OneOf("sha256", hashes),)):
        held[str(point.payload.get("sha256", ""))].append(point)
    displaced: dict[str, list[Displaced]] = defaultdict(list)
    for one in journal.displaced(hashes=hashes):
        displaced[str(one.payload["sha256"])].append(one)
    known_again = journal.came([one.image_id for all_ in displaced.values() for one in all_])
    for sha256, ids in by_content.items():
        arrived = set(ids)
        # What came in a run that was killed may lie elsewhere by now.
        came = {
            point.image_id: point.payload
            for point in held[sha256]
            if point.image_id in arrived and not _has_gone_on(point)
        }
        if not came:
            continue
        files, holding = Arrivals(came.values()), {point.image_id for point in held[sha256]}
        stale = {
            point.image_id: point.payload
            for point in held[sha256]
            if point.image_id not in came
            and places.is_left(str(point.payload.get("path", "")), files, point.payload)
        }
        # A file that was edited while a copy of it was made has moved nowhere: what has, keeps its
        # time, or has left its name to a content that the library knew.
        shoved = {
            one.image_id: one.payload
            for one in displaced[sha256]
            if one.image_id not in holding
            and (one.image_id in known_again or files.has_file(one.payload))
        }
        for old, new in _matched([*stale, *shoved], list(came), len(stale)):
            yield Rename(old, new, {**stale, **shoved}[old], is_stale=old in stale)


def _has_gone_on(point: Point) -> bool:
    path = str(point.payload.get("path", ""))
    return not is_url(path) and is_gone(path)


def _matched(old: Sequence[str], new: Sequence[str], stale: int) -> Iterator[tuple[str, str]]:
    """Old names with new ones: of one file name where that is possible, else in their order.

    Where there are fewer new names, the first `stale` of the old ones share them; others do not.
    """
    free: dict[str, list[str]] = defaultdict(list)
    for name in reversed(new):
        free[PurePosixPath(name).name].append(name)
    left, taken = [], set()
    for position, name in enumerate(old):
        alike = free.get(PurePosixPath(name).name)
        if alike:
            taken.add(alike[-1])
            yield name, alike.pop()
        else:
            left.append((position, name))
    others = iter([name for name in new if name not in taken])
    for position, name in left:
        other = next(others, None)
        if other is not None:
            yield name, other
        elif position < stale:
            yield name, new[0]


def _describe(
    store: VectorStore, collection: str, journal: Journal, tick: Callable[[], None]
) -> None:
    """Write what was said of pictures under their old names to the points of the new ones."""
    for part in journal.renames():
        was: dict[str, list[_Payload]] = defaultdict(list)
        for rename in part:
            was[rename.new].append(rename.payload)
        _redescribe(store, collection, journal, was)
        # A picture whose name another has now: what was said of it is no more said of this one.
        bare = [rename.old for rename in part if not rename.is_stale]
        taken = journal.taken(bare)
        _redescribe(store, collection, journal, {old: [] for old in bare if old not in taken})
        tick()


def _redescribe(
    store: VectorStore, collection: str, journal: Journal, was: Mapping[str, Sequence[_Payload]]
) -> None:
    """Rewrite these pictures' points where they are not described as they should be."""
    left = journal.left(list(was))
    ids = [new for new in was if new in left or any(map(descriptions_of, was[new]))]
    said = journal.described(ids)
    replaced: dict[str, list[_Payload]] = defaultdict(list)
    for one in journal.displaced(ids=ids):
        if one.image_id not in left:
            replaced[one.image_id].append(one.payload)
    written = []
    for image_id, point in store.retrieve(collection, ids, with_vectors=True).items():
        if not was[image_id] and image_id not in said:
            continue  # nothing of it is this run's
        told: dict[str, Any] = {}
        for payload in replaced[image_id]:
            told |= descriptions_of(payload)
        told |= _together(map(descriptions_of, was[image_id]))
        if image_id in said:
            told |= said[image_id]
        else:
            told = _together([descriptions_of(point.payload), told])
        payload = redescribed(point.payload, told)
        if payload != point.payload:
            written.append(Point(image_id, point.vector, payload))
    store.upsert(collection, written)


def _together(all_told: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What is said in any of them: of single values the first counts, of lists all."""
    joined: dict[str, Any] = {}
    for told in all_told:
        for name, value in told.items():
            if name in joined and isinstance(value, list) and isinstance(joined[name], list):
                joined[name] = [*joined[name], *(one for one in value if one not in joined[name])]
            else:
                joined.setdefault(name, value)
    return joined


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _common(old: Path, new: Path) -> tuple[Any, ...]:
    """The folder that both paths begin with, and the names below it on the way of the old one."""
    shared = 0
    for one, other in zip(old.parts, new.parts, strict=False):
        if one != other:
            break
        shared += 1
    return (Path(*old.parts[:shared]), *old.parts[shared:])


def _names(folder: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in folder.iterdir())
