"""The counts of an ingest, while it runs and at its end."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ingest.text_report import TextReport
from scenesearch.home.rejects import Reject
from scenesearch.store.base import Point

# So many rejects are named in a report; all of them are in the library's table.
_NAMED = 10_000

_WRITTEN = ("seen", "written", "skipped", "rejected", "removed", "moved")
_COUNTS = (*_WRITTEN, "total", "encoded", "reused", "retries", "noted", "seconds")


@dataclass
class IngestReport:
    """Counts of a run; `reused` are those written without encoding (renamed, copied, or only
    newly described), `moved` those of them whose old place is gone, `retries` the reads and
    requests that had to be repeated. `notes` are of pictures that were written without a part of
    their metadata that cannot be.

    A first run that has written nothing makes no `collection`. With `dry_run`, `removed` are those
    that would have been. `text` counts the pictures whose text was read afterwards, where that was
    asked for. `total` is what the sources count, `kept` sentences on pictures that look
    gone and were not removed.
    """

    library: str
    collection: str
    total: int = 0
    seen: int = 0
    written: int = 0
    skipped: int = 0
    encoded: int = 0
    reused: int = 0
    rejected: int = 0
    removed: int = 0
    moved: int = 0
    retries: int = 0
    batch_size: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    dry_run: bool = False
    rejects: list[Reject] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    noted: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)
    text: TextReport | None = None

    @property
    def images_per_s(self) -> float:
        return self.seen / self.seconds if self.seconds > 0 else 0.0

    def reject(self, reject: Reject) -> None:
        """Count it, and name it while there is room."""
        self.rejected += 1
        if len(self.rejects) < _NAMED:
            self.rejects.append(reject)

    def count_removed(self, points: Iterable[Point], kept: Iterable[str] = ()) -> None:
        """The points removed, and sentences on those that stay."""
        self.removals = sorted(point.image_id for point in points)
        self.removed = len(self.removals)
        self.kept += kept

    def add(self, later: "IngestReport") -> None:
        """Count a later run too; the rate is of both."""
        self.collection = later.collection or self.collection
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.rejects = (self.rejects + later.rejects)[:_NAMED]
        self.removals = (self.removals + later.removals)[:_NAMED]
        self.kept = (self.kept + later.kept)[:_NAMED]
        self.notes = (self.notes + later.notes)[:_NAMED]
        self.batch_size = later.batch_size or self.batch_size

    def note(self, path: str, notes: Iterable[str]) -> None:
        """Count these notes on a picture, and keep them while there is room."""
        for note in notes:
            self.noted += 1
            if len(self.notes) < _NAMED:
                self.notes.append((path, note))

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch ingest --json`."""
        counts = (*_WRITTEN, "encoded", "reused", "retries", "batch_size", "interrupted", "dry_run")
        return {
            "library": self.library,
            "collection": self.collection or None,
            **{name: getattr(self, name) for name in counts},
            "images_per_s": round(self.images_per_s, 2),
            "rejects": [{"path": r.path, "reason": r.reason, "kind": r.kind} for r in self.rejects],
            "removals": self.removals,
            "kept": self.kept,
            "notes": [{"path": path, "note": note} for path, note in self.notes],
            **({} if self.text is None else {"text": self.text.to_json()}),
        }
