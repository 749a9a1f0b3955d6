"""What the library knows of pictures, and what a run writes to it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.journal import Journal
from ingest.payload import TEXT_VERSION
from ingest.picture_reader import Candidate, DecodedPicture, Unchanged
from ingest.report import IngestReport
from ingest.sources.base import Source
from scenesearch.home.picture_texts import PictureTexts
from scenesearch.home.rejects import Reject, Rejects
from scenesearch.pictures.records import ImageRecord
from scenesearch.store.base import Point, StoreError, VectorStore
from scenesearch.store.filters import OneOf
from scenesearch.store.written import VERSION, with_text

Vector = NDArray[np.float32]

# Vectors of contents that were met last: 1.5 MB of 384 dimensions.
_REMEMBERED = 1000

# File sizes looked up together.
_SIZES = 1000


@dataclass
class LibraryWriter:
    """One collection with its table of rejects, read and written by one thread.

    Where there is no `collection` yet, `make` gives one when the first picture is written. Points
    are gathered until `write_batch` pictures would be lost with the process; every `flush_every`
    written ones are made safe against power loss. The journal learns of contents that are replaced
    or come under another name before they are written. The report is kept up to date. Pictures
    whose content has been read before get its text from `texts`.
    """

    store: VectorStore
    collection: str
    rejects: Rejects | None
    report: IngestReport
    journal: Journal
    make: Callable[[], str]
    flush_every: int
    write_batch: int
    texts: PictureTexts | None = None
    _waiting: list[Point] = field(default_factory=list)
    _arrived: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    _replacing: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    # Of contents in many copies one look-up brings them all: the last ones are remembered.
    _recent: dict[str, Vector] = field(default_factory=dict)
    _unflushed: int = 0
    _numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        # Nothing is known of pictures that an empty collection cannot hold.
        self._was_empty = not self.collection or self.store.count(self.collection) == 0

    def candidates(self, records: Sequence[ImageRecord]) -> list[Candidate]:
        """The records with what the library knows of them, in two look-ups for all."""
        paths = [str(record.original) for record in records]
        earlier = {} if self.rejects is None else self.rejects.of(paths)
        known: dict[str, Point] = {}
        if not self._was_empty:
            known = self.store.retrieve(self.collection, [record.image_id for record in records])
        return [
            Candidate(
                record,
                known[record.image_id].payload if record.image_id in known else None,
                earlier.get(path),
                next(self._numbers),
            )
            for record, path in zip(records, paths, strict=True)
        ]

    def vectors(self, hashes: Iterable[str]) -> dict[str, Vector]:
        """Vectors that the collection holds, by the SHA-256 of their pictures."""
        wanted = tuple(set(hashes))
        if not wanted:
            return {}
        found = {sha256: self._recent[sha256] for sha256 in wanted if sha256 in self._recent}
        found |= self.journal.vectors(wanted)
        found |= {
            point.payload["sha256"]: point.vector
            for point in self._waiting
            if point.payload["sha256"] in wanted and point.vector is not None
        }
        unknown = tuple(sha256 for sha256 in wanted if sha256 not in found)
        if unknown and self.collection:
            twins = self.store.scroll(
                self.collection,
                where=(OneOf("sha256", unknown),),
                payload=("sha256",),
                with_vectors=True,
            )
            for twin in twins:
                if twin.vector is not None:
                    found[str(twin.payload.get("sha256", ""))] = twin.vector
                if len(found) == len(wanted):
                    break  # there may be thousands of copies
        self._recent |= found
        for oldest in list(islice(self._recent, max(0, len(self._recent) - _REMEMBERED))):
            del self._recent[oldest]
        return found

    def known_sizes(self, sizes: Iterable[int]) -> set[int]:
        """Those of these file sizes whose contents `vectors` may know."""
        wanted = tuple(sizes)
        if self.journal.has_displaced:
            return set(wanted)  # nothing lists the sizes of replaced pictures
        found: set[Any] = set()
        for start in range(0, len(wanted) if self.collection else 0, _SIZES):
            where = (OneOf("size_bytes", wanted[start : start + _SIZES]),)
            points = self.store.scroll(self.collection, where=where, payload=("size_bytes",))
            found |= {point.payload.get("size_bytes") for point in points}
        return found

    def source(self, source: Source) -> None:
        """Note what of a source was left out before any picture was seen: rows, folders."""
        if self.rejects is not None and source.root:
            begins = [source.root] + ([f"{source.listing}:"] if source.listing else [])
            still = [problem.where for problem in source.problems]
            self.rejects.forget_sources(begins, but=still)
        for problem in source.problems:
            self._note(Reject(problem.where, problem.reason))
        for note in source.notes:
            self.report.note(note.where, [note.reason])

    def skip(self, unchanged: Unchanged) -> None:
        self.report.seen += 1
        self.report.skipped += 1
        if self.rejects is not None and unchanged.was_reject is not None:
            self.rejects.forget([unchanged.was_reject])

    def reject(self, reject: Reject) -> None:
        """Count and keep it; one kept from an earlier run has not been tried again."""
        self.report.seen += 1
        self._note(reject)

    def _note(self, reject: Reject) -> None:
        self.report.reject(reject)
        if self.rejects is not None and not reject.tries:
            self.rejects.add([reject])

    def put(
        self,
        pictures: Sequence[DecodedPicture],
        vectors: dict[str, Vector],
        encoded: Collection[str],
        *,
        at_risk: int = 0,
    ) -> None:
        """Take pictures with their vectors by content, of which those `encoded` are new.

        `at_risk` further ones are in the encoder: all of them would be encoded again after a
        crash, so the points are written before there are more than a batch.
        """
        for picture in pictures:
            vector = vectors.get(picture.sha256)
            if vector is None:
                raise StoreError(
                    f"the vector of {picture.image_id} is gone: another process has changed "
                    f"{self.collection} meanwhile; run the same command again"
                )
            self._waiting.append(Point(picture.image_id, vector, picture.payload))
            # The journal notes a picture whose content was known, or is not the one it had.
            if not self._was_empty and picture.held != picture.sha256:
                if picture.sha256 not in encoded:
                    self._arrived.append((picture.image_id, picture.sha256, picture.described))
                if picture.held:
                    self._replacing[picture.image_id] = picture.described
            self.report.retries += picture.retries
            self.report.note(str(picture.payload["path"]), picture.notes)
        self.report.seen += len(pictures)
        self.report.encoded += len(encoded)
        self.report.reused += len(pictures) - len(encoded)
        if len(self._waiting) + at_risk >= self.write_batch:
            self.write()

    def write(self) -> None:
        """Write what has been gathered; returns when it is acknowledged."""
        if not self._waiting:
            return
        if not self.collection:
            self.collection = self.report.collection = self.make()
        replaced = (
            self.store.retrieve(self.collection, list(self._replacing), with_vectors=True)
            if self._replacing
            else {}
        )
        self.journal.note(
            self._arrived,
            ((point, self._replacing[image_id]) for image_id, point in replaced.items()),
        )
        self.store.upsert(self.collection, self._with_texts())
        self._arrived, self._replacing = [], {}
        if self.rejects is not None:
            self.rejects.forget(str(point.payload["path"]) for point in self._waiting)
        self.report.written += len(self._waiting)
        self._unflushed += len(self._waiting)
        self._waiting = []
        if self._unflushed >= self.flush_every:
            self.store.flush(self.collection)
            self._unflushed = 0

    def _with_texts(self) -> list[Point]:
        """What has been gathered, with the texts that are known."""
        if self.texts is None:
            return self._waiting
        without = [point for point in self._waiting if VERSION not in point.payload]
        found = self.texts.of((point.payload["sha256"] for point in without), TEXT_VERSION)
        return [
            replace(point, payload=with_text(point.payload, found[point.payload["sha256"]]))
            if VERSION not in point.payload and point.payload["sha256"] in found
            else point
            for point in self._waiting
        ]
