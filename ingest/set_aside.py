"""Moves the worse copies of pictures to another folder, and back.

    scenesearch library duplicates photos --keep best --move-to /copies
    scenesearch library duplicates photos --undo /copies/scenesearch-moved-20260801-120000.jsonl

Nothing is deleted or overwritten. The content of a picture, and of the one that is kept, is
compared with what the library knows right before the move. Each move stands in a list before it
happens. A note in the library's folder names the list of a run that was killed: the next run
finishes it.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ingest.journal import Journal, journal_file
from ingest.moved_list import Moved, MovedList, MovedPicture, ReadList, read_list
from ingest.moves import Moves, OldPlaces
from ingest.sidecar import pictures_of, sidecars_of
from ingest.thumbnails import delete_unused_thumbnails
from scenesearch.errors import SceneSearchError, obstacle
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.picture_renames import replaced_by_copies
from scenesearch.home.rejects import Rejects
from scenesearch.home.roots import Root, innermost, read_roots
from scenesearch.home.saved_collections import change_collections
from scenesearch.pictures.best_copy import Quality, best_first, why_best
from scenesearch.pictures.duplicates import Group
from scenesearch.pictures.originals import LocalFile, OriginalError, is_url
from scenesearch.runtime.cancel import check_cancelled
from scenesearch.runtime.files import atomic_writer, private_folder
from scenesearch.runtime.move_file import hash_file, move_file
from scenesearch.store.base import Point, VectorStore
from scenesearch.store.hand_tags import hand_tags_of, with_hand_tags
from scenesearch.store.payload import check_image_id
from scenesearch.store.values import checks_of, misfit

# Groups whose points leave the library together.
_GROUPS = 100
_READ = 1000
_UNIT = 1e-3  # how far a vector's length may be from 1
_NOTE = "setting-aside.json"


class SetAsideError(SceneSearchError):
    """Copies that cannot be moved; the message is one sentence for the user."""


@dataclass(frozen=True)
class PlannedMove:
    """A copy and where it goes, relative to the folder."""

    image_id: str
    source: str
    target: str

    def to_json(self) -> dict[str, str]:
        return {"image_id": self.image_id, "from": self.source, "to": self.target}


@dataclass(frozen=True)
class PlannedGroup:
    """The picture that is kept, and why; the copies that go; those that stay, with the reasons."""

    kept: str
    why: str
    moves: tuple[PlannedMove, ...]
    left: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.kept,
            "why": self.why,
            "moves": [one.to_json() for one in self.moves],
            "left": [{"image_id": one, "reason": why} for one, why in self.left.items()],
        }


@dataclass
class SetAsideReport:
    """How many copies were moved, or moved back, and with how many side files. `left` names those
    that were not, with the reasons; `list` is the file that undoes it. Of those moved back
    `to_ingest` have to be ingested again."""

    library: str
    list: str = ""
    moved: int = 0
    side_files: int = 0
    to_ingest: int = 0
    interrupted: bool = False
    left: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        left = [{"image_id": one, "reason": why} for one, why in self.left.items()]
        return vars(self) | {"left": left}


@dataclass(frozen=True)
class SetAside:
    """The copies of one library. `originals` are those of the whole installation."""

    store: VectorStore
    library: str
    files: LibraryFiles
    originals: AllowedOriginals
    rejects: Rejects | None = None
    on_progress: Callable[[int, int], None] = lambda done, total: None

    # What would be moved

    def plan(self, groups: Sequence[Group]) -> list[PlannedGroup]:
        """Of each group the best, and where the others go; groups of one picture are left out."""
        roots = read_roots(self.files.sources)
        planned: list[PlannedGroup] = []
        for start in range(0, len(groups), _GROUPS):
            check_cancelled()
            part = groups[start : start + _GROUPS]
            ids = [image_id for group in part for image_id in _ids(group)]
            points: dict[str, Point] = {}
            for begin in range(0, len(ids), _READ):
                points |= self.store.retrieve(self.library, ids[begin : begin + _READ])
            planned += [self._plan(group, points, roots) for group in part]
        return [one for one in planned if one.moves or one.left]

    def _plan(
        self, group: Group, points: Mapping[str, Point], roots: Mapping[str, Root]
    ) -> PlannedGroup:
        left: dict[str, str] = {}
        there: dict[str, Point] = {}
        for image_id in _ids(group):
            if image_id not in points:
                continue
            try:
                self.originals.original(points[image_id].payload).state()
            except OriginalError as error:
                left[image_id] = str(error)
            else:
                there[image_id] = points[image_id]
        if len(there) < 2:
            return PlannedGroup(group.first, "no other copy can be read now", (), left)
        best, *others = best_first([Quality.of(i, point.payload) for i, point in there.items()])
        files = {self._identity(there[best.image_id])}
        moves: list[PlannedMove] = []
        for one in others:
            point = there[one.image_id]
            path = str(point.payload["path"])
            identity = self._identity(point)
            reason, target = self._target(path, roots)
            if not reason and identity in files:
                reason = "it is the same file under another name"
            if reason:
                left[one.image_id] = reason
                continue
            files.add(identity)
            moves.append(PlannedMove(one.image_id, path, target))
        return PlannedGroup(best.image_id, why_best(best, others[0]), tuple(moves), left)

    def _identity(self, point: Point) -> object:
        """The same for two names of one file."""
        original = self.originals.original(point.payload)
        if isinstance(original, LocalFile):
            with suppress(OSError):
                status = original.path.stat()
                return status.st_dev, status.st_ino
        return str(original)

    def _target(self, path: str, roots: Mapping[str, Root]) -> tuple[str, str]:
        """Why the file cannot be moved, and where it would go below the folder."""
        original = self.originals.at(path)
        if not isinstance(original, LocalFile) or original.path.is_symlink():
            return "only a file in a folder can be moved", ""
        normal = os.path.normpath(path)
        root = innermost(roots, normal)
        if root is None or is_url(root) or roots[root].restored:
            return "it lies in no folder of this library", ""
        return "", roots[root].prefix + os.path.relpath(normal, root).replace(os.sep, "/")

    # Moving

    def move(self, plan: Sequence[PlannedGroup], folder: Path) -> SetAsideReport:
        """Move the copies of the plan below the folder; Ctrl-C ends it with `interrupted` set."""
        live = self.store.resolve(self.library)
        report = SetAsideReport(self.library)
        total = sum(len(group.moves) for group in plan)
        with self.store.working_on(live):
            self._finish_stopped(live)
            if not total:
                return report
            _check_writable(plan)
            folder.mkdir(parents=True, exist_ok=True)
            fingerprint = self.store.describe(live).fingerprint
            with closing(MovedList(folder, library=self.library, fingerprint=fingerprint)) as moved:
                report.list = str(moved.path)
                self._note(moved.path)
                try:
                    for start in range(0, len(plan), _GROUPS):
                        part = plan[start : start + _GROUPS]
                        gone: list[MovedPicture] = []
                        for group in part:
                            check_cancelled()
                            self._move_group(group, moved, gone, report)
                            self.on_progress(report.moved + len(report.left), total)
                        self._replace_in_collections(part, gone)
                        self._remove(live, gone)
                except KeyboardInterrupt:
                    report.interrupted = True
                finally:
                    self._finish_stopped(live)
        return report

    def _move_group(
        self,
        group: PlannedGroup,
        moved: MovedList,
        gone: list[MovedPicture],
        report: SetAsideReport,
    ) -> None:
        ids = [group.kept, *(one.image_id for one in group.moves)]
        points = self.store.retrieve(self.library, ids, with_vectors=True)
        kept = points.get(group.kept)
        why = "the picture to keep is gone" if kept is None else self._why_not(kept)
        if kept is None or why:
            why = f"{group.kept}, which would be kept: {why}"
            report.left |= {one.image_id: why for one in group.moves}
            return
        # What a person said of a copy is true of the one that looks the same.
        by_hand = hand_tags_of(kept.payload)
        for one in group.moves:
            point = points.get(one.image_id)
            reason = "it is gone" if point is None else self._why_not(point)
            if point is None or reason:
                report.left[one.image_id] = reason
                continue
            gone.append(self._move_picture(point, one, moved, report))
            by_hand = by_hand.joined(hand_tags_of(point.payload))
        if by_hand != hand_tags_of(kept.payload):
            payload = with_hand_tags(kept.payload, by_hand)
            self.store.upsert(self.library, [Point(kept.image_id, kept.vector, payload)])

    def _replace_in_collections(
        self, groups: Sequence[PlannedGroup], gone: Sequence[MovedPicture]
    ) -> None:
        """Collections to which copies were added by hand get the pictures that are kept."""
        left = {one.image_id for one in gone}
        kept = {
            one.image_id: group.kept
            for group in groups
            for one in group.moves
            if one.image_id in left
        }
        change_collections(
            self.files.saved_requests, lambda collection: replaced_by_copies(collection, kept)
        )

    def _why_not(self, point: Point) -> str:
        """Why the original is not the one that the library knows; '' where it is."""
        try:
            original = self.originals.original(point.payload)
            content = hashlib.sha256(original.read()).hexdigest()
        except OriginalError as error:
            return str(error)
        same = content == point.payload.get("sha256")
        return "" if same else "it has changed since it was ingested"

    def _move_picture(
        self, point: Point, planned: PlannedMove, moved: MovedList, report: SetAsideReport
    ) -> MovedPicture:
        source, folder = Path(planned.source), moved.path.parent
        beside = [
            one.file.path
            for one in sidecars_of(LocalFile(source))
            if len(pictures_of([one.file.path])) == 1 and not one.file.path.is_symlink()
        ]
        target = _free(folder / planned.target, [one.name for one in beside])
        # A side file keeps its name but for the picture's own, which may have got a number.
        sides = [Path(one.parent, one.name) for one in beside]
        side_targets = [_beside(target, source, one) for one in sides]
        picture = MovedPicture(
            point.image_id,
            _relative(source, target, folder),
            str(point.payload.get("sha256", "")),
            tuple(_relative(one, to, folder) for one, to in zip(sides, side_targets, strict=True)),
            point.payload,
            point.vector,
        )
        moved.add(picture)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            move_file(source, target)
        except OSError as error:
            done = f"; what was moved before stands in {moved.path}" if report.moved else ""
            raise SetAsideError(f"{_unmovable(source, folder, error)}{done}") from None
        report.moved += 1
        for one, to in zip(sides, side_targets, strict=True):
            _move_side(one, to, report)
        return picture

    # What leaves the library

    def _note(self, path: Path) -> None:
        private_folder(self.files.folder)
        with atomic_writer(self.files.folder / _NOTE, private=True) as out:
            out.write(json.dumps({"list": str(path)}).encode())

    def _finish_stopped(self, live: str) -> None:
        """Take the pictures of the noted list that were moved out of the library."""
        note = self.files.folder / _NOTE
        try:
            path = Path(json.loads(note.read_bytes())["list"])
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            raise SetAsideError(f"{note} is damaged: delete it") from None
        if not path.is_file():
            raise SetAsideError(
                f"{path}, the list of a run that was stopped, is not there: bring its disk back, "
                f"or delete {note} to go on without it"
            )
        listed, roots = read_list(path), read_roots(self.files.sources)
        gone = (one for one in listed.pictures() if self._has_moved(listed, one, roots))
        while part := list(islice(gone, _READ)):
            self._remove(live, part)
        note.unlink()

    def _has_moved(self, listed: ReadList, one: MovedPicture, roots: Mapping[str, Root]) -> bool:
        """Whether the picture lies at its new place; a move that was cut short is finished."""
        source, target = Path(one.file.source), listed.target(one.file)
        if innermost(roots, os.path.normpath(source)) is None or not target.is_file():
            return False
        if source.exists():
            if target.stat().st_size == 0:  # the name that was held for it
                target.unlink()
                return False
            if not hash_file(source) == hash_file(target) == one.sha256:
                return False
            source.unlink()  # it was copied to another disk
        for side in one.side_files:
            if Path(side.source).parent == source.parent:
                _move_side(Path(side.source), listed.target(side))
        return True

    def _remove(self, live: str, moved: Sequence[MovedPicture]) -> None:
        points = self.store.retrieve(live, [one.image_id for one in moved], with_vectors=True)
        leaving = [
            points[one.image_id]
            for one in moved
            if one.image_id in points
            and points[one.image_id].payload.get("path") == one.file.source
        ]
        roots = read_roots(self.files.sources)
        with closing(Journal(journal_file(self.files.folder))) as journal:
            moves = Moves(self.store, live, journal, self.files.folder, self.rejects)
            moves.apply(OldPlaces(roots))  # what a stopped ingest has left
            moves.remove(leaving)
            with self.files.texts_if_any() as texts:
                delete_unused_thumbnails(
                    self.store, self.library, journal, self.files.thumbnails, texts
                )

    # Moving back

    def undo(self, path: Path) -> SetAsideReport:
        """Move the pictures of a list back to where they lay, and put them into the library."""
        live = self.store.resolve(self.library)
        listed = read_list(path.absolute())
        if listed.library != self.library:
            raise SetAsideError(f"{path} is a list of library {listed.library}: name that one")
        report = SetAsideReport(self.library, str(path))
        roots = {
            place: root
            for place, root in read_roots(self.files.sources).items()
            if not root.restored and not is_url(place)
        }
        with self.store.working_on(live):
            self._finish_stopped(live)
            spec = self.store.describe(live)
            checks = checks_of(spec.fields)
            back: list[Point] = []
            try:
                for number, one in enumerate(listed.pictures(), 1):
                    check_cancelled()
                    reason = self._move_back(listed, one, roots, report)
                    if reason:
                        report.left[one.image_id] = reason
                        continue
                    is_ours = (
                        listed.fingerprint == spec.fingerprint
                        and misfit(one.payload, checks) is None
                        and _is_unit(one.vector, spec.dimension)
                        and one.payload.get("path") == one.file.source
                    )
                    if is_ours:
                        check_image_id(one.image_id)
                        back.append(Point(one.image_id, one.vector, one.payload))
                    else:
                        report.to_ingest += 1
                    if len(back) == _READ:
                        self.store.upsert(live, back)
                        back = []
                    self.on_progress(number, listed.count)
            except KeyboardInterrupt:
                report.interrupted = True
            finally:
                if back:
                    self.store.upsert(live, back)
                self.store.flush(live)
        if not report.left and not report.interrupted:
            path.replace(path.with_name(f"{path.name}.undone"))
        return report

    def _move_back(
        self,
        listed: ReadList,
        one: MovedPicture,
        roots: Mapping[str, Root],
        report: SetAsideReport,
    ) -> str:
        """Move the picture and its side files back; why that is not possible, or ''."""
        source, target = Path(one.file.source), listed.target(one.file)
        root = innermost(roots, os.path.normpath(source))
        if root is None:
            return "it came from no folder of this library"
        if not Path(root).is_dir():
            return f"{root} is not there: is a disk away?"
        try:
            if not stat.S_ISREG(target.lstat().st_mode):
                return f"{target} is no regular file"
            if hash_file(target) != one.sha256:
                return f"{target} has changed since it was moved"
            source.parent.mkdir(parents=True, exist_ok=True)
            move_file(target, source)
        except FileExistsError:
            return f"something lies at {source} by now"
        except FileNotFoundError:
            # An undo that was stopped may have moved it.
            if not source.is_file() or hash_file(source) != one.sha256:
                return f"{target} is not there"
        except OSError as error:
            raise SetAsideError(_unmovable(target, source.parent, error)) from None
        report.moved += 1
        for side in one.side_files:
            # Only beside the picture: a list may be a stranger's.
            if Path(side.source).parent == source.parent:
                _move_side(listed.target(side), Path(side.source), report)
        return ""


def check_folder(folder: Path, roots: Iterable[str]) -> Path:
    """The folder, resolved; raises SetAsideError where pictures moved there would be ingested."""
    resolved = folder.expanduser().resolve()
    if resolved.exists() and not resolved.is_dir():
        raise SetAsideError(f"{folder} is no folder")
    for root in roots:
        if is_url(root):
            continue
        place = Path(os.path.realpath(root))
        if resolved.is_relative_to(place):
            raise SetAsideError(
                f"{folder} lies in {root}, which is ingested: copies would come back into the "
                "library; name a folder outside"
            )
        if place.is_relative_to(resolved):
            raise SetAsideError(
                f"{folder} holds {root}, which is ingested: name a folder of its own"
            )
    return resolved


def _ids(group: Group) -> list[str]:
    return [group.first, *group.copies, *(image_id for image_id, _ in group.near)]


def _check_writable(plan: Sequence[PlannedGroup]) -> None:
    """Raise SetAsideError where a picture cannot be moved out of its folder."""
    folders = {str(Path(one.source).parent) for group in plan for one in group.moves}
    for folder in sorted(folders):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise SetAsideError(
                f"{folder} may not be written, so no picture can be moved out of it; nothing was "
                "moved"
            )


def _move_side(source: Path, target: Path, report: SetAsideReport | None = None) -> None:
    """Move a side file, if it is there; the report says where that is not possible."""
    if not source.is_file() or source.is_symlink():
        return
    try:
        move_file(source, target)
    except OSError as error:
        if report is not None:
            report.left[str(source)] = obstacle(error) or str(error.strerror)
    else:
        if report is not None:
            report.side_files += 1


def _unmovable(source: Path, folder: Path, error: OSError) -> str:
    return f"{source} cannot be moved to {folder}: {obstacle(error) or error.strerror or error}"


def _free(target: Path, side_files: Sequence[str]) -> Path:
    """The target, or with a number where it or a side file is there already."""
    found, number = target, 1
    source = target
    while found.exists() or any(_beside(found, source, Path(one)).exists() for one in side_files):
        number += 1
        found = target.with_name(f"{target.stem}-{number}{target.suffix}")
    return found


def _beside(target: Path, source: Path, side_file: Path) -> Path:
    """Where a side file goes: it begins as the picture does, with its suffix or without."""
    name = side_file.name
    for old, new in ((source.name, target.name), (source.stem, target.stem)):
        if name.startswith(old):
            return target.with_name(new + name[len(old) :])
    return target.with_name(name)


def _relative(source: Path, target: Path, folder: Path) -> Moved:
    return Moved(str(source), target.relative_to(folder).as_posix())


def _is_unit(vector: Any, dimension: int) -> bool:
    return vector is not None and bool(
        vector.shape == (dimension,) and abs(float(np.linalg.norm(vector)) - 1) < _UNIT
    )
