"""The engine for one machine: threads check, decode and encode; this one reads and writes.

Each worker encodes with one thread of its own, so that every core is busy without threads that
wait for one another. All queues are bounded, whatever the number of pictures, and results are
taken in the order of the records.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from ingest.batches import BatchSize
from ingest.prepare import Candidate, Changed, Preparation, Prepared, Unchanged, embeddings
from ingest.writer import Vector, Writer
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
_Opened = Unchanged | Reject | Prepared


@dataclass
class _Batch:
    """Pictures to be written together; `new` of them are being encoded."""

    pictures: list[Prepared]
    known: dict[str, Vector]
    new: list[str]
    encoding: Future[dict[str, Vector]]


class LocalEngine:
    """Threads over one encoder; `run` yields whenever the writer's counts have changed."""

    def __init__(
        self,
        encoder: Encoder,
        preparation: Preparation,
        writer: Writer,
        *,
        workers: int,
        batch_size: BatchSize,
    ) -> None:
        self._encoder = encoder
        self._preparation = preparation
        self._writer = writer
        self._workers = workers
        self._size = batch_size
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ingest")
        self._batches: deque[_Batch] = deque()
        # Contents in the encoder: a copy is not encoded beside its twin, but waits for it.
        self._coming: set[str] = set()
        # Those for which the memory was not enough, so that their twins do not wait for them.
        self._without: set[str] = set()

    def run(self, records: Iterable[ImageRecord]) -> Generator[None]:
        """Bring in every record; stopped by an exception, what is encoded is written first."""
        filling: list[Prepared] = []
        try:
            for item in self._opened(checked(records, self._writer, self._check)):
                match item:
                    case Unchanged():
                        self._writer.skip(item)
                    case Reject():
                        self._writer.reject(item)
                    case Prepared():
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

    def _check(self, candidates: Sequence[Candidate]) -> list[Checked]:
        parts = [candidates[start : start + _CHECK] for start in range(0, len(candidates), _CHECK)]
        return [
            item for part in self._pool.map(self._preparation.check_all, parts) for item in part
        ]

    def _opened(self, items: Iterable[Checked]) -> Iterator[_Opened]:
        """Changed pictures opened, by as many threads as there are, in the order given."""
        waiting: deque[_Opened | Future[Prepared | Reject]] = deque()
        opening = 0

        def first() -> _Opened:
            nonlocal opening
            item = waiting.popleft()
            if isinstance(item, Future):
                opening -= 1
                return wait_for(item)
            return item

        for item in items:
            if isinstance(item, Changed):
                waiting.append(self._pool.submit(self._preparation.open, item))
                opening += 1
            else:
                waiting.append(item)
            # A batch to come and a picture or two for each worker: more would only cost memory.
            while opening > self._size.largest + 2 * self._workers or len(waiting) > _AHEAD:
                yield first()
            while waiting and not isinstance(waiting[0], Future):
                yield first()
        while waiting:
            yield first()

    def _encode(self, pictures: Sequence[Prepared]) -> None:
        """Hand the batch to a worker, leaving out what the library or an earlier batch knows."""
        hashes = {picture.sha256 for picture in pictures} - self._coming
        known = self._writer.vectors(hashes)
        new: dict[str, Prepared] = {}
        for picture in pictures:
            if picture.pixels is not None and picture.sha256 in hashes - known.keys():
                new.setdefault(picture.sha256, picture)
        self._coming |= new.keys()
        encoding = self._pool.submit(self._vectors, list(new.values()))
        # The pixels are the worker's from here on.
        light = [picture.light() for picture in pictures]
        self._batches.append(_Batch(light, known, list(new), encoding))
        self._size.begun()

    def _vectors(self, pictures: Sequence[Prepared]) -> dict[str, Vector]:
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
        # From now on the writer knows them; batches begun before are given what they wait for.
        self._coming -= set(batch.new)
        for later in self._batches:
            wanted = {picture.sha256 for picture in later.pictures} & vectors.keys()
            later.known |= {sha256: vectors[sha256] for sha256 in wanted}


def checked(
    records: Iterable[ImageRecord],
    writer: Writer,
    check: Callable[[Sequence[Candidate]], list[Checked]],
) -> Iterator[Checked]:
    """Each record compared with what the library knows, many looked up at a time."""
    iterator = iter(records)
    while chunk := list(islice(iterator, _LOOKUP)):
        yield from check(writer.candidates(chunk))


def _succeeded(encoding: Future[dict[str, Vector]]) -> bool:
    return not encoding.cancelled() and encoding.exception() is None
