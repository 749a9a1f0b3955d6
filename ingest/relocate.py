"""Re-points a library whose folder has moved: nothing is encoded, ids and descriptions stay.

    scenesearch library relocate /media/old /media/new photos

A stopped run is finished by the same command. The new folder is made a root of the library first,
the old one is taken out last, and between the two every picture has either path.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.journal import Journal, Rename, Step, journal_file
from ingest.moves import Moves, OldPlaces
from ingest.payload import folders_of
from scenesearch.errors import SceneSearchError
from scenesearch.home.presence import holds_something
from scenesearch.home.rejects import Rejects
from scenesearch.home.roots import SOURCES, Root, innermost, read_roots, write_roots
from scenesearch.pictures.originals import OriginalError, is_url, original_of
from scenesearch.store.base import Point, VectorStore
from scenesearch.store.catalog import collections_of
from scenesearch.store.pages import OnWait, pages

# Pictures whose content is compared, and how many of them must be the same.
_SAMPLE = 50
_ENOUGH = 0.9

# Pictures of a library that are looked at for the sample.
_LOOKED_AT = 20_000


class RelocateError(SceneSearchError):
    """A library that cannot be re-pointed; the message is one sentence for the user."""


@dataclass
class RelocateReport:
    """`same` of the `compared` pictures have the content that the library knows; `pictures` were,
    or with `dry_run` would be, re-pointed. `renamed` of them have another id, because the new
    folder had been ingested, and `joined` of these were in the library under it as well."""

    library: str
    folders: dict[str, str]
    compared: int = 0
    same: int = 0
    pictures: int = 0
    joined: int = 0
    renamed: int = 0
    dry_run: bool = False
    unlike: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def relocate(
    library: str,
    old: str,
    new: str,
    *,
    store: VectorStore,
    library_dir: Path,
    rejects: Rejects | None = None,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    on_wait: OnWait | None = None,
) -> RelocateReport:
    """Give every picture below the old folder its path below the new one.

    Raises RelocateError where the new folder does not hold the pictures, by a sample of their
    contents, and where the library was not filled from the old one. Raises StoreError as the store
    does.
    """
    live = store.resolve(library)
    with store.working_on(live):
        roots = read_roots(library_dir / SOURCES)
        folders = _folders(library, roots, old, new)
        report = RelocateReport(library, folders, dry_run=dry_run)
        _compare(report, store, live)
        if dry_run:
            report.pictures = sum(
                _moved_path(folders, str(point.payload.get("path", ""))) is not None
                for page in pages(store, live, payload=("path",), on_wait=on_wait)
                for point in page
            )
            return report
        target = dict(roots)
        for root, place in folders.items():
            inner = innermost(target, place)
            if inner is None:
                target[place] = Root(roots[root].prefix)
            elif target[inner].restored:  # known from a backup alone, and from now on opened
                target[place] = Root(_prefix_at(target, inner, place))
        write_roots(library_dir / SOURCES, target)
        with closing(Journal(journal_file(library_dir))) as journal:
            moves = Moves(store, live, journal, library_dir, rejects)
            moves.apply(OldPlaces(target))  # what a stopped ingest has left
            run = _Relocation(store, report, folders, roots, target, on_wait)
            for entry in collections_of(store, library):
                is_live = entry.name == live
                run.rewrite(entry.name, journal if is_live else None, on_progress)
                store.flush(entry.name)
            if report.renamed:
                journal.reached(Step.PAIRED)
                moves.apply(OldPlaces(target))
        if rejects is not None:
            rejects.relocate(lambda path: _moved_path(folders, path))
        write_roots(
            library_dir / SOURCES, {at: root for at, root in target.items() if at not in folders}
        )
    return report


@dataclass(frozen=True)
class _Relocation:
    store: VectorStore
    report: RelocateReport
    folders: Mapping[str, str]
    roots: Mapping[str, Root]
    target: Mapping[str, Root]
    on_wait: OnWait | None

    def rewrite(
        self,
        collection: str,
        journal: Journal | None,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        """Write the new paths. In the live collection, which has a journal, pictures that are there
        twice are noted, and joined afterwards."""
        total, seen = self.store.count(collection), 0
        for page in pages(self.store, collection, with_vectors=True, on_wait=self.on_wait):
            named = [
                (point, path, self._new_id(point, root))
                for point in page
                if (root := innermost(self.folders, str(point.payload.get("path", ""))))
                and (path := _moved_path(self.folders, str(point.payload["path"])))
            ]
            other = [new for point, _, new in named if new != point.image_id]
            there = self.store.retrieve(collection, other) if other else {}
            written = [
                Point(new, point.vector, _at(point.payload, path, new, point.image_id))
                for point, path, new in named
                if new not in there
            ]
            if written:
                self.store.upsert(collection, written)
            renamed = [(point, new) for point, _, new in named if new != point.image_id]
            if journal is None:
                self.store.delete(collection, [point.image_id for point, _ in renamed])
            else:
                journal.rename(
                    Rename(point.image_id, new, point.payload, is_stale=True)
                    for point, new in renamed
                )
                self.report.pictures += len(named)
                self.report.renamed += len(renamed)
                self.report.joined += len(there)
            seen += len(page)
            if on_progress is not None:
                on_progress(seen, max(total, seen))

    def _new_id(self, point: Point, root: str) -> str:
        """The picture's id under the new folder: its own, unless that folder has been ingested."""
        place = self.folders[root]
        inner = innermost(self.target, place) or place
        prefix = _prefix_at(self.target, inner, place)
        return prefix + point.image_id.removeprefix(self.roots[root].prefix)


def _prefix_at(roots: Mapping[str, Root], inner: str, place: str) -> str:
    """How the ids of pictures at a place in this root begin."""
    between = place[len(inner) :].strip(os.sep).replace(os.sep, "/")
    return roots[inner].prefix + (f"{between}/" if between else "")


def find_relocated(
    folders: Sequence[Path],
    *,
    library: str,
    library_dir: Path,
    open_store: Callable[[], AbstractContextManager[VectorStore]],
) -> Iterator[tuple[str, str]]:
    """Folders of the library that are not there, each with the one of these, new to the library,
    in which their pictures are found. The store is opened only where there may be one."""
    roots = read_roots(library_dir / SOURCES)
    absent = [root for root in roots if not is_url(root) and not holds_something(root)]
    given = [path.resolve() for path in folders if path.is_dir()]
    new = [path for path in given if innermost(roots, str(path)) is None]
    if not absent or not new:
        return
    with open_store() as store:
        if library not in store.aliases():
            return
        samples = {root: _sample(store, library, [root]) for root in absent}
        store.release(library)
    for root, sample in samples.items():
        for place in (at for path in new for at in (path, path / Path(root).name)):
            same = sum(_is_same(point, {root: str(place)}) for point in sample)
            if sample and same >= _ENOUGH * len(sample):
                yield root, str(place)
                break


def relocation_offer(old: str, new: str, library: str) -> str:
    """The sentence with the command that re-points the library."""
    command = shlex.join(["scenesearch", "library", "relocate", old, new, library])
    return (
        f"{new} holds the pictures of {old}, which is not there: `{command}` re-points the library "
        "without encoding them again"
    )


def _folders(library: str, roots: Mapping[str, Root], old: str, new: str) -> dict[str, str]:
    """The roots at and below the old folder, each with its new place."""
    if is_url(old) or is_url(new):
        raise RelocateError("only folders can be re-pointed, addresses cannot")
    # A link on the way may be gone with the disk: the name counts as well as what it leads to.
    names = {os.path.abspath(old), os.path.realpath(old)}  # noqa: PTH100
    place = Path(new).resolve()
    found: dict[str, str] = {}
    for name in names:
        for root in roots:
            if root == name or root.startswith(f"{name.rstrip(os.sep)}{os.sep}"):
                inside = root[len(name) :].strip(os.sep)
                found[root] = str(place / inside) if inside else str(place)
    if not found:
        known = ", ".join(root for root in roots if not is_url(root)) or "no folder"
        outer = innermost(roots, os.path.abspath(old))  # noqa: PTH100
        if outer is not None:
            raise RelocateError(
                f"{old} lies in {outer}, which stays where it is: `scenesearch ingest` of the new "
                "folder recognises pictures that have moved"
            )
        raise RelocateError(
            f"library {library} was not filled from {old}, or is re-pointed already; it was filled "
            f"from {known}"
        )
    if not place.is_dir():
        raise RelocateError(f"{new} is no folder")
    for name in names:
        if place == Path(name):
            raise RelocateError(f"{old} and {new} are the same folder")
        if place.is_relative_to(name) or Path(name).is_relative_to(place):
            raise RelocateError(
                f"{old} and {new} lie one inside the other, and cannot be told apart while the "
                "library is re-pointed: move the pictures to a folder beside them"
            )
    return found


def _compare(report: RelocateReport, store: VectorStore, collection: str) -> None:
    """Compare contents; raises RelocateError unless nearly all are the same."""
    # All are looked at: of a small folder in a large library a few would show nothing.
    sample = _sample(store, collection, list(report.folders), look_at=None)
    report.compared = len(sample)
    for point in sample:
        if _is_same(point, report.folders):
            report.same += 1
        elif len(report.unlike) < 5:
            report.unlike.append(
                _moved_path(report.folders, str(point.payload.get("path", ""))) or ""
            )
    if report.same < _ENOUGH * report.compared:
        new = ", ".join(report.folders.values())
        raise RelocateError(
            f"{new} does not hold the library's pictures: of {report.compared} that were compared, "
            f"{report.same} are there with the same content, and {report.unlike[0]} is not; "
            "nothing was changed"
        )


def _sample(
    store: VectorStore, collection: str, roots: Sequence[str], *, look_at: int | None = _LOOKED_AT
) -> list[Point]:
    """Some pictures below these folders, from all of them, among the first `look_at` points."""
    begins = tuple(f"{root.rstrip(os.sep)}{os.sep}" for root in roots)
    points = store.scroll(collection, payload=("path", "sha256"))
    sample: list[Point] = []
    inside, stride = 0, 1
    for point in islice(points, look_at):
        if not str(point.payload.get("path", "")).startswith(begins):
            continue
        if inside % stride == 0:
            sample.append(point)
        inside += 1
        if len(sample) == 2 * _SAMPLE:  # every second one, and half as many from here on
            sample, stride = sample[::2], 2 * stride
    return sample[:_SAMPLE]


def _is_same(point: Point, folders: Mapping[str, str]) -> bool:
    """Whether the picture lies at its new place, with the content that the library knows."""
    path = _moved_path(folders, str(point.payload.get("path", "")))
    if path is None:
        return False
    try:
        data = original_of(path).read()
    except OriginalError:
        return False
    return hashlib.sha256(data).hexdigest() == point.payload.get("sha256")


def _moved_path(folders: Mapping[str, str], path: str) -> str | None:
    """The new path of what lies below the folders; None for all else."""
    root = innermost(folders, path)
    if root is None or path == root:
        return None
    return f"{folders[root].rstrip(os.sep)}{os.sep}{path[len(root) :].lstrip(os.sep)}"


def _at(payload: Mapping[str, Any], path: str, image_id: str, earlier: str) -> dict[str, Any]:
    moved = {**payload, "path": path}
    if image_id != earlier:
        moved["folder"] = folders_of(image_id)
    return moved
