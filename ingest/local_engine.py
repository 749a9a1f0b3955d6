"""The engine for one machine: threads check, decode and encode; the caller's reads and writes.

Each worker encodes with one thread of its own, so that every core is busy and no thread waits for
another. All queues are bounded, whatever the number of pictures, and results are taken in the order
of the records. An ingest and a build (`ingest/build.py`) use it.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from ingest.batch_size import BatchSize
from ingest.library_writer import LibraryWriter, Vector
from ingest.picture_reader import (
    Candidate,
    Changed,
    DecodedPicture,
    PictureReader,
    Unchanged,
    embeddings,
)
from scenesearch.encoder.base import Encoder
from scenesearch.home.rejects import Reject
from scenesearch.pictures.records import ImageRecord
from scenesearch.runtime.cancel import wait_for
from scenesearch.store.base import StoreError

# Records looked up together, and checked by one task: a task costs more than a check.
_LOOKUP = 512
_CHECK = 64

# Results that need no opening may wait behind one that does; they are small.
_AHEAD = 2048

Checked = Unchanged | Reject | Changed
_Opened = Unchanged | Reject | DecodedPicture
_New = TypeVar("_New")


class PictureWriter(Protocol):
    """Where the engine puts its results; called by one thread, see `LibraryWriter`."""

    def vectors(self, hashes: Iterable[str]) -> dict[str, Vector]: ...
    def skip(self, unchanged: Unchanged) -> None: ...
    def reject(self, reject: Reject) -> None: ...
    def put(
        self,
        pictures: Sequence[DecodedPicture],
        vectors: dict[str, Vector],
        encoded: Collection[str],
        *,
        at_risk: int = 0,
    ) -> None: ...
    def write(self) -> None: ...


@dataclass
class _Batch:
    """Pictures to be written together; `new` of them are being encoded."""

    pictures: list[DecodedPicture]
    known: dict[str, Vector]
    new: list[str]
    encoding: Future[dict[str, Vector]]


class LocalEngine:
    """Threads over one encoder, for one run; `run` yields whenever counts have changed."""

    def __init__(
        self, encoder: Encoder, writer: PictureWriter, *, workers: int, batch_size: BatchSize
    ) -> None:
        self._encoder = encoder
        self._writer = writer
        self._workers = workers
        self._size = batch_size
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ingest")
        self._batches: deque[_Batch] = deque()
        # Contents in the encoder: a copy waits for its twin and is not encoded as well.
        self._coming: set[str] = set()
        # Contents that the memory was not enough for, so that their twins do not wait for them.
        self._without: set[str] = set()

    def check(
        self, records: Iterable[ImageRecord], reader: PictureReader, library: LibraryWriter
    ) -> Iterator[Checked]:
        """Each record compared with what the library knows, by all workers."""

        def check_all(candidates: Sequence[Candidate]) -> Iterator[Checked]:
            starts = range(0, len(candidates), _CHECK)
            parts = [candidates[start : start + _CHECK] for start in starts]
            for part in self._pool.map(reader.check_all, parts):
                yield from part

        return checked(records, library, check_all)

    def run(
        self,
        items: Iterable[Unchanged | Reject | _New],
        open_picture: Callable[[_New], DecodedPicture | Reject],
    ) -> Generator[None]:
        """Bring in every item; what is neither unchanged nor a reject is opened and encoded.

        Stopped by an exception, what is encoded is written first.
        """
        filling: list[DecodedPicture] = []
        try:
            for item in self._opened(items, open_picture):
                match item:
                    case Unchanged():
                        self._writer.skip(item)
                    case Reject():
                        self._writer.reject(item)
                    case DecodedPicture():
                        filling.append(item)
                if len(filling) >= self._size.current:
                    self._encode(filling)
                    filling = []
                    while len(self._batches) > self._workers:
                        self._take()
                yield
            if filling:
                self._encode(filling)
            while self._batches:
                self._take()
            self._writer.write()
            yield
        except StoreError:
            raise  # there is nowhere to write to
        except BaseException:
            # What is being encoded is finished and kept, what is queued not begun.
            self._pool.shutdown(wait=True, cancel_futures=True)
            while self._batches and _succeeded(self._batches[0].encoding):
                self._take()
            self._writer.write()
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _opened(
        self,
        items: Iterable[Unchanged | Reject | _New],
        open_picture: Callable[[_New], DecodedPicture | Reject],
    ) -> Iterator[_Opened]:
        """New pictures opened, by as many threads as there are, in the order given."""
        waiting: deque[Unchanged | Reject | Future[DecodedPicture | Reject]] = deque()
        opening = 0

        def first() -> _Opened:
            nonlocal opening
            item = waiting.popleft()
            if isinstance(item, Future):
                opening -= 1
                return wait_for(item)
            return item

        for item in items:
            if isinstance(item, Unchanged | Reject):
                waiting.append(item)
            else:
                waiting.append(self._pool.submit(open_picture, item))
                opening += 1
            # A batch to come and a picture or two for each worker: more would only cost memory.
            while opening > self._size.largest + 2 * self._workers or len(waiting) > _AHEAD:
                yield first()
            while waiting and not isinstance(waiting[0], Future):
                yield first()
        while waiting:
            yield first()

    def _encode(self, pictures: Sequence[DecodedPicture]) -> None:
        """Hand the batch to a worker, leaving out what the library or an earlier batch knows."""
        hashes = {picture.sha256 for picture in pictures} - self._coming
        known = self._writer.vectors(hashes)
        new: dict[str, DecodedPicture] = {}
        for picture in pictures:
            if picture.pixels is not None and picture.sha256 in hashes - known.keys():
                new.setdefault(picture.sha256, picture)
        self._coming |= new.keys()
        encoding = self._pool.submit(self._vectors, list(new.values()))
        # The pixels are the worker's from here on.
        light = [picture.light() for picture in pictures]
        self._batches.append(_Batch(light, known, list(new), encoding))
        self._size.begun()

    def _vectors(self, pictures: Sequence[DecodedPicture]) -> dict[str, Vector]:
        """Runs in a worker thread."""
        if not pictures:
            return {}
        started = time.perf_counter()
        found = embeddings(self._encoder, pictures)
        self._size.took(len(pictures), time.perf_counter() - started)
        pairs = zip(pictures, found, strict=True)
        return {p.sha256: vector for p, vector in pairs if vector is not None}

    def _take(self) -> None:
        """Give the oldest batch to the writer."""
        batch = self._batches[0]
        vectors = wait_for(batch.encoding)
        self._batches.popleft()
        at_risk = sum(len(later.new) for later in self._batches)
        at_hand = vectors | batch.known
        self._without |= set(batch.new) - vectors.keys()
        failed = self._without - at_hand.keys()
        encoded = [picture for picture in batch.pictures if picture.sha256 not in failed]
        self._writer.put(encoded, at_hand, vectors.keys(), at_risk=at_risk)
        for picture in batch.pictures:
            if picture.sha256 in failed:
                self._writer.reject(picture.not_encoded())
        # From now on the writer knows them; batches begun before get what they wait for.
        self._coming -= set(batch.new)
        for later in self._batches:
            wanted = {picture.sha256 for picture in later.pictures} & vectors.keys()
            later.known |= {sha256: vectors[sha256] for sha256 in wanted}


def checked(
    records: Iterable[ImageRecord],
    library: LibraryWriter,
    check_all: Callable[[Sequence[Candidate]], Iterable[Checked]],
) -> Iterator[Checked]:
    """Each record compared with what the library knows, many looked up at a time."""
    iterator = iter(records)
    while chunk := list(islice(iterator, _LOOKUP)):
        yield from check_all(library.candidates(chunk))


def _succeeded(encoding: Future[dict[str, Vector]]) -> bool:
    return not encoding.cancelled() and encoding.exception() is None
