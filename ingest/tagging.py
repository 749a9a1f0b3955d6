"""Adds tags to pictures of a library by hand, and removes them; every change can be undone.

    scenesearch tag a beach in summer --add holiday
    scenesearch tag --undo

All collections of the library are changed: the one that a rollback leads to, too. What a change
will do to a picture is noted before it is done (`scenesearch.home.tag_changes`), so a run that was
stopped goes on, or is undone, without knowing more.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from ingest.keyword_files import KeywordFile, keyword_file, take_back
from scenesearch.errors import obstacle
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.tag_changes import BEGUN, DONE, UNDOING, KeptChange, TagChange, TagChanges
from scenesearch.pictures.originals import OriginalError
from scenesearch.pictures.records import MAX_TAG_CHARS
from scenesearch.pictures.words import one_line
from scenesearch.pictures.xmp_keywords import XmpError
from scenesearch.runtime.cancel import check_cancelled
from scenesearch.store.base import Point, StoreError, VectorStore
from scenesearch.store.catalog import collections_of
from scenesearch.store.hand_tags import file_tags_of, hand_tags_of, table_tags_of, with_hand_tags
from scenesearch.store.pages import OnWait, retry_while_busy

_T = TypeVar("_T")

# Pictures that are read and written together; a kill costs no more than the work on these.
_BATCH = 500

# So many side files that could not be written are named in a report.
_NAMED = 20


@dataclass
class TagReport:
    """Counts of a change or of its undoing: `pictures` it was about, of which `changed` were
    changed and `gone` are in the library no longer; `side_files` were written. `refused` names side
    files that could not be, with the reason; `refused_files` counts all of them."""

    library: str
    number: int
    change: str
    pictures: int
    changed: int = 0
    gone: int = 0
    side_files: int = 0
    refused_files: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    def refuse(self, path: str, reason: object) -> None:
        self.refused_files += 1
        if len(self.refused) < _NAMED:
            self.refused[path] = str(reason)

    def to_json(self) -> dict[str, Any]:
        refused = [{"path": path, "reason": reason} for path, reason in self.refused.items()]
        return vars(self) | {"refused": refused}


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags on one line, each once; raises StoreError for one that is none."""
    found: dict[str, str] = {}
    for tag in tags:
        text = one_line(tag, most=None)
        if text is None:
            raise StoreError(f"{tag!r} is no tag")
        if len(text) > MAX_TAG_CHARS:
            raise StoreError(
                f"a tag has at most {MAX_TAG_CHARS} characters, and '{text[:30]}…' has {len(text)}"
            )
        found.setdefault(text.casefold(), text)
    return tuple(found.values())


def would_change(change: TagChange, payload: Mapping[str, Any]) -> bool:
    """Whether the change does anything to a picture of this payload."""
    return bool(_targets(change, payload))


@dataclass(frozen=True)
class Tagging:
    """Applies and undoes the changes of one library. `originals` are needed for side files."""

    store: VectorStore
    library: str
    changes: TagChanges
    originals: AllowedOriginals
    on_progress: Callable[[int, int], None] = lambda done, total: None
    on_wait: OnWait | None = None

    def begin(self, change: TagChange, image_ids: Iterable[str]) -> KeptChange:
        """Note the change; or go on with the same one, where it was the last and was stopped."""
        last = self.changes.last()
        if last is not None and last.state == BEGUN and last.change == change:
            return last
        return self.changes.begin(change, image_ids)

    def apply(self, kept: KeptChange) -> TagReport:
        """Change the pictures that are left of it."""
        report = TagReport(self.library, kept.number, str(kept.change), kept.pictures)
        done = kept.done
        with self.store.working_on(self.store.resolve(self.library)):
            collections = [one.name for one in collections_of(self.store, self.library)]
            while ids := self.changes.to_do(kept.number, _BATCH):
                check_cancelled()
                self._apply_to(ids, kept, report)
                for collection in collections:
                    self._rewrite(collection, dict.fromkeys(ids, kept.change), _changed)
                self.changes.have_changed(kept.number, ids)
                done += len(ids)
                self.on_progress(done, kept.pictures)
            self._flush(collections)
        self.changes.set_state(kept.number, DONE)
        return report

    def undo(self, kept: KeptChange) -> TagReport:
        """Give the pictures the tags that they had before it."""
        report = TagReport(self.library, kept.number, str(kept.change), kept.pictures)
        self.changes.set_state(kept.number, UNDOING)
        done = 0
        with self.store.working_on(self.store.resolve(self.library)):
            collections = [one.name for one in collections_of(self.store, self.library)]
            while before := self.changes.to_undo(kept.number, _BATCH):
                check_cancelled()
                live = self.store.resolve(self.library)
                for collection in collections:
                    there = self._rewrite(collection, before, _undone)
                    if collection == live:
                        report.changed += sum(bool(before[image_id]) for image_id in there)
                        report.gone += len(before) - len(there)
                self.changes.have_been_undone(kept.number, before)
                done += len(before)
                self.on_progress(done, kept.pictures)
            self._flush(collections)
        self._take_back_files(kept, report)
        self.changes.forget(kept.number)
        return report

    def _apply_to(self, ids: list[str], kept: KeptChange, report: TagReport) -> None:
        """Note what the change will do to these pictures, and write their side files."""
        points = self._busy(lambda: self.store.retrieve(self.library, ids))
        report.gone += len(ids) - len(points)
        before = {
            image_id: {
                tag: hand_tags_of(point.payload).state(tag)
                for tag in _targets(kept.change, point.payload)
            }
            for image_id, point in points.items()
        }
        report.changed += sum(map(bool, before.values()))
        files = self._files(points.values(), kept.change, report) if kept.change.in_files else []
        self.changes.note(kept.number, before, [one.note for one in files])
        for one in files:
            try:
                one.write()
                report.side_files += 1
            except OSError as error:
                report.refuse(str(one.path), obstacle(error) or error.strerror)

    def _files(
        self, points: Iterable[Point], change: TagChange, report: TagReport
    ) -> list[KeywordFile]:
        found: dict[str, KeywordFile] = {}  # two names of the library may be one file
        for point in points:
            try:
                original = self.originals.original(point.payload)
                one = keyword_file(original, add=change.added, remove=change.removed)
            except (OriginalError, XmpError) as error:
                report.refuse(str(point.payload.get("path", point.image_id)), error)
            else:
                if one is not None:
                    found[str(one.path)] = one
        return list(found.values())

    def _take_back_files(self, kept: KeptChange, report: TagReport) -> None:
        while files := self.changes.side_files(kept.number, _BATCH):
            for one in files:
                check_cancelled()
                try:
                    take_back(one, added=kept.change.added, removed=kept.change.removed)
                    report.side_files += 1
                except (OriginalError, XmpError) as error:
                    report.refuse(str(one.path), error)
                except OSError as error:
                    report.refuse(str(one.path), obstacle(error) or error.strerror)
                self.changes.side_file_is_back(kept.number, one.path)

    def _rewrite(
        self,
        collection: str,
        wanted: Mapping[str, Any],
        payload_of: Callable[[Mapping[str, Any], Any], dict[str, Any]],
    ) -> list[str]:
        """Write these pictures' points with the payload that is made of theirs and of what is
        wanted; returns those that the collection holds."""

        def write() -> list[str]:
            points = self.store.retrieve(collection, list(wanted), with_vectors=True)
            written = [
                Point(image_id, point.vector, payload)
                for image_id, point in points.items()
                if (payload := payload_of(point.payload, wanted[image_id])) != point.payload
            ]
            if written:
                self.store.upsert(collection, written)
            return list(points)

        return self._busy(write)

    def _flush(self, collections: Iterable[str]) -> None:
        for collection in collections:
            self._busy(partial(self.store.flush, collection))

    def _busy(self, do: Callable[[], _T]) -> _T:
        return retry_while_busy(do, on_wait=self.on_wait)


def _targets(change: TagChange, payload: Mapping[str, Any]) -> dict[str, str]:
    """The tags of the change that a picture has in another state, each with its new one."""
    hand = hand_tags_of(payload)
    said = {tag.casefold() for tag in (*table_tags_of(payload), *file_tags_of(payload))}
    # What nobody else says need not be noted as removed.
    targets = {
        tag: state if state == "added" or tag.casefold() in said else ""
        for tag, state in change.tags.items()
    }
    return {tag: state for tag, state in targets.items() if hand.state(tag) != state}


def _changed(payload: Mapping[str, Any], change: TagChange) -> dict[str, Any]:
    return _with_states(payload, _targets(change, payload))


def _undone(payload: Mapping[str, Any], before: Mapping[str, str]) -> dict[str, Any]:
    return _with_states(payload, before)


def _with_states(payload: Mapping[str, Any], states: Mapping[str, str]) -> dict[str, Any]:
    hand = hand_tags_of(payload)
    for tag, state in states.items():
        hand = hand.having(tag, state)
    return with_hand_tags(payload, hand) if states else dict(payload)
