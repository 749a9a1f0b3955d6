"""Pictures that were moved: the point of the old place is deleted, its description is kept.

A content that arrives under a new name has moved when the library holds it under a name whose file
is gone or has other content now. While both files are there, they are copies. A file counts as gone
with the same caution as in `prune`: a root of the library that is missing or empty looks like a
disk that is not mounted.

All of it happens at the end of a run, when every picture has been seen, because names may have been
exchanged. Until then the journal knows what is to be done, also when the run is killed.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ingest.journal import PART, Displaced, Journal, Rename, Step
from ingest.prune import is_empty, is_gone, nearest_folder
from scenesearch.datasets.names import folded
from scenesearch.home.picture_renames import apply_renames
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.originals import is_url
from scenesearch.store import hand_tags
from scenesearch.store.base import Point, VectorStore
from scenesearch.store.description import descriptions_of, redescribed
from scenesearch.store.filters import OneOf
from scenesearch.store.hand_tags import hand_tags_of

_Payload = Mapping[str, Any]

_DELETE = 1000


class OldPlaces:
    """What is certain of files below the roots of a library; asked of each folder once.

    `asked` are roots at addresses that this run has listed: of others no server is asked.
    """

    def __init__(self, roots: Iterable[str], asked: Iterable[str] = ()) -> None:
        self._roots = sorted({root for root in roots if not is_url(root)}, key=len, reverse=True)
        self._asked = tuple(root for root in asked if is_url(root))
        self._is_empty = lru_cache(maxsize=4096)(is_empty)
        self._names = lru_cache(maxsize=64)(_names)

    def is_left(self, path: str, arrivals: "Arrivals", payload: _Payload) -> bool:
        """Whether what lay at the path lies there no longer, and is one of the arrivals.

        In a folder that was left empty, only if an arrival has the size and time that it had: a
        copy of a picture on a disk that is away does not.
        """
        if is_url(path):
            return path.startswith(self._asked) and is_gone(path)
        root = next(
            (at for at in self._roots if path.startswith(f"{at.rstrip(os.sep)}{os.sep}")), ""
        )
        if not root or self._is_empty(Path(root)):
            return False
        if not is_gone(path):
            return any(self._is_renamed(path, new) for new in arrivals.written_like(path))
        folder = nearest_folder(path)
        if folder is None or not self._is_empty(folder):
            return True
        return arrivals.has_file(payload)

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
    """Payloads of the pictures of one content that arrived under a new name.

    There may be thousands of copies: each question costs the same, however many they are.
    """

    def __init__(self, payloads: Iterable[_Payload]) -> None:
        self._files: set[tuple[Any, Any]] = set()
        self._paths: dict[str, list[str]] = defaultdict(list)
        for one in payloads:
            path = str(one.get("path", ""))
            if "modified" in one:
                self._files.add(_file_of(one))
            if not is_url(path):
                self._paths[folded(path)].append(path)

    def has_file(self, payload: _Payload) -> bool:
        """Whether one has the size and the time of that file, as a file keeps them when moved."""
        return _file_of(payload) in self._files

    def written_like(self, path: str) -> Sequence[str]:
        """Their local paths that differ from this one in nothing but upper and lower case."""
        return self._paths.get(folded(path), ())


def _file_of(payload: _Payload) -> tuple[Any, Any]:
    return payload.get("size_bytes"), payload.get("modified")


def forget_moved(rejects: Rejects, places: OldPlaces) -> None:
    """Take out rejects whose file was moved, and is a reject under its new name."""
    alike: dict[tuple[object, object], list[_Payload]] = defaultdict(list)
    for row in rejects.alike():
        file = {"path": row.path, "size_bytes": row.size_bytes, "modified": row.modified}
        alike[_file_of(file)].append(file)
    for files in alike.values():
        arrivals = Arrivals(files)
        rejects.forget([one["path"] for one in files if places.is_left(one["path"], arrivals, one)])


@dataclass(frozen=True)
class Moves:
    """Deals with the moved and removed pictures of one collection, as the journal has them.

    In `library_dir` lie the marks and saved requests that follow a picture to its new name.
    `on_step` is called every few hundred pictures; what it raises ends the work like a kill.
    """

    store: VectorStore
    collection: str
    journal: Journal
    library_dir: Path | None = None
    rejects: Rejects | None = None
    on_step: Callable[[], None] = lambda: None

    def apply(self, places: OldPlaces) -> int:
        """Finish the moves of the pictures that arrived; returns how many have moved.

        A step that a killed run had begun is done again.
        """
        if self.journal.step == Step.COLLECTING:
            for by_content in self.journal.arrivals():
                self.journal.rename(self._pairs(places, by_content))
                self.on_step()
            self.journal.reached(Step.PAIRED)
        moved = self._carry_descriptions()
        stale = (rename for part in self.journal.renames() for rename in part if rename.is_stale)
        while part := list(islice(stale, PART)):
            self.store.delete(self.collection, [rename.old for rename in part])
            if self.rejects is not None:
                self.rejects.forget(str(rename.payload.get("path", "")) for rename in part)
            self.on_step()
        if moved:
            self.store.flush(self.collection)
        self.journal.clear_moves()
        return moved

    def remove(self, gone: Sequence[Point]) -> None:
        """Delete these points; a copy that the library keeps takes over their descriptions.

        The journal gets their contents, for `delete_unused_thumbnails`.
        """
        self._pass_on(gone)
        remaining = iter(gone)
        while part := list(islice(remaining, _DELETE)):
            self.journal.loosen(str(point.payload.get("sha256", "")) for point in part)
            self.store.delete(self.collection, [point.image_id for point in part])
            if self.rejects is not None:
                self.rejects.forget(str(point.payload.get("path", "")) for point in part)
        self.store.flush(self.collection)

    def _pass_on(self, gone: Sequence[Point]) -> None:
        leaving = {point.image_id for point in gone}
        remaining = iter(gone)
        copies: dict[str, str] = {}
        asked: set[str] = set()  # once for each content: it may have thousands of copies
        while part := list(islice(remaining, PART)):
            hashes = {str(point.payload.get("sha256", "")) for point in part} - asked
            asked |= hashes
            for copy in self._of_contents(hashes, payload=("sha256",)) if hashes else ():
                if copy.image_id not in leaving:
                    copies.setdefault(str(copy.payload.get("sha256", "")), copy.image_id)
            whole = self.store.retrieve(
                self.collection, [p.image_id for p in part if p.payload.get("sha256") in copies]
            )
            self.journal.rename(
                Rename(old, copies[str(point.payload["sha256"])], point.payload, is_stale=False)
                for old, point in whole.items()
            )
        self.journal.reached(Step.PAIRED)
        replace(self, on_step=lambda: None)._carry_descriptions(to_copies=True)
        self.journal.clear_moves()

    def _carry_descriptions(self, *, to_copies: bool = False) -> int:
        """Let descriptions, marks and saved requests follow the renames, or pass to copies that
        stay; how many there are."""
        if self.journal.step == Step.PAIRED:
            self._describe()
            self.journal.reached(Step.DESCRIBED)
        names = {rename.old: rename.new for part in self.journal.renames() for rename in part}
        if self.journal.step == Step.DESCRIBED:
            if names and self.library_dir is not None:
                fields = self.store.describe(self.collection).fields
                apply_renames(
                    self.library_dir,
                    names,
                    fields,
                    once=self.journal.token,
                    to_copies=to_copies,
                )
            self.journal.reached(Step.FOLLOWED)
        return len(names)

    def _pairs(
        self, places: OldPlaces, by_content: Mapping[str, Sequence[str]]
    ) -> Iterator[Rename]:
        """For these contents the old names of pictures, each with its new name."""
        points: dict[str, list[Point]] = defaultdict(list)
        for point in self._of_contents(by_content):
            points[str(point.payload.get("sha256", ""))].append(point)
        displaced: dict[str, list[Displaced]] = defaultdict(list)
        for one in self.journal.displaced(hashes=tuple(by_content)):
            displaced[str(one.payload["sha256"])].append(one)
        known_again = self.journal.came(
            [one.image_id for all_ in displaced.values() for one in all_]
        )
        for sha256, ids in by_content.items():
            new_ids = set(ids)
            # What arrived in a run that was killed may lie elsewhere by now.
            arrived = {
                point.image_id: point.payload
                for point in points[sha256]
                if point.image_id in new_ids and not _has_gone_on(point)
            }
            if not arrived:
                continue
            arrivals = Arrivals(arrived.values())
            present = {point.image_id for point in points[sha256]}
            stale = {
                point.image_id: point.payload
                for point in points[sha256]
                if point.image_id not in arrived
                and places.is_left(str(point.payload.get("path", "")), arrivals, point.payload)
            }
            # A file that was edited while a copy of it was made has moved nowhere. A file that has
            # moved keeps its time, or has left its name to a content that the library knew.
            replaced = {
                one.image_id: one.payload
                for one in displaced[sha256]
                if one.image_id not in present
                and (one.image_id in known_again or arrivals.has_file(one.payload))
            }
            for old, new in _matched([*stale, *replaced], list(arrived), len(stale)):
                yield Rename(old, new, {**stale, **replaced}[old], is_stale=old in stale)

    def _describe(self) -> None:
        """Write the descriptions of pictures under their old names to the points of the new."""
        for part in self.journal.renames():
            earlier: dict[str, list[_Payload]] = defaultdict(list)
            for rename in part:
                earlier[rename.new].append(rename.payload)
            self._redescribe(earlier)
            # A picture whose name another has now: its description is not the other's.
            replaced = [rename.old for rename in part if not rename.is_stale]
            taken = self.journal.taken(replaced)
            self._redescribe({old: [] for old in replaced if old not in taken})
            self.on_step()

    def _redescribe(self, earlier: Mapping[str, Sequence[_Payload]]) -> None:
        """Rewrite these pictures' points where they are not described as they should be.

        `earlier` are the payloads that each had under its old names.
        """
        left = self.journal.left(list(earlier))
        ids = [new for new in earlier if new in left or any(map(descriptions_of, earlier[new]))]
        by_this_run = self.journal.described(ids)
        replaced: dict[str, list[_Payload]] = defaultdict(list)
        for one in self.journal.displaced(ids=ids):
            if one.image_id not in left:
                replaced[one.image_id].append(one.payload)
        written = []
        for image_id, point in self.store.retrieve(self.collection, ids, with_vectors=True).items():
            if not earlier[image_id] and image_id not in by_this_run:
                continue  # nothing of it is this run's
            description: dict[str, Any] = {}
            for payload in replaced[image_id]:
                description |= descriptions_of(payload)
            description |= _joined(map(descriptions_of, earlier[image_id]))
            if image_id in by_this_run:
                description |= by_this_run[image_id]
            else:
                description = _joined([descriptions_of(point.payload), description])
            payload = redescribed(point.payload, description)
            if payload != point.payload:
                written.append(Point(image_id, point.vector, payload))
        self.store.upsert(self.collection, written)

    def _of_contents(
        self, hashes: Iterable[str], payload: Sequence[str] | None = None
    ) -> Iterator[Point]:
        where = (OneOf("sha256", tuple(hashes)),)
        yield from self.store.scroll(self.collection, where=where, payload=payload)


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


def _joined(descriptions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All descriptions in one: of single values the first counts, of lists all."""
    joined: dict[str, Any] = {}
    for description in descriptions:
        for name, value in description.items():
            if name == hand_tags.KEY:
                both = hand_tags_of(joined).joined(hand_tags_of(description))
                joined[name] = both.to_json()
            elif name in joined and isinstance(value, list) and isinstance(joined[name], list):
                joined[name] = [*joined[name], *(one for one in value if one not in joined[name])]
            else:
                joined.setdefault(name, value)
    return joined


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
