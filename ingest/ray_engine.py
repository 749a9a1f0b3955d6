"""The engine for a cluster: the same stages as a Ray Data pipeline.

    records -> [driver: look-up, check] -> hash those with twins (tasks) -> [driver: twins]
            -> open (tasks) -> encode (a pool of actors, one for each core) -> [driver: write]

The driver reads and writes the store, so that an embedded library works too; a server takes more
from one driver than a few hundred cores encode, and `--shard` gives each part its own driver.
Pictures, encoder folder and thumbnails must lie under the same paths on every node.

Of a content that is seen twice only one is encoded, as in the local engine. The workers cannot ask
one another for a content, so a file that may have a twin is read for its hash before it is opened.
"""

import logging
import math
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ingest.library_writer import LibraryWriter, Vector
from ingest.local_engine import checked
from ingest.picture_reader import Changed, DecodedPicture, PictureReader, Unchanged, embeddings
from scenesearch.encoder.base import Encoder, EncoderError
from scenesearch.encoder.folder import read_encoder_info
from scenesearch.errors import SceneSearchError, first_line
from scenesearch.home.rejects import Reject
from scenesearch.pictures.records import ImageRecord
from scenesearch.runtime import memory
from scenesearch.store.base import StoreError

# Changed pictures in one pipeline: its actors are started anew for each.
_WINDOW = 50_000

# Rows that travel together between nodes.
_BLOCK = 32

# Of a core, the encoder's and the decoder's part: both fit on each, and neither waits for room.
_ENCODING, _DECODING = 0.75, 0.25

_UNLESS_SET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_raylet_start_wait_time_s": "180",  # its 30 are too few on a busy machine
}

# Ray says no more than that it could not connect.
_MAY_ASK = (
    "where its head asks for a token (from Ray 2.59 on it may), set RAY_AUTH_MODE=token here, and "
    "RAY_AUTH_TOKEN to what `ray get-auth-token` prints there"
)

_Batch = dict[str, np.ndarray[Any, Any]]


class RayError(SceneSearchError):
    """Ray is not there or failed; the message is one sentence for the user."""


@dataclass(frozen=True)
class RayEngine:
    """Ray Data over one encoder; `run` yields whenever the writer's counts have changed.

    Joins the cluster of `RAY_ADDRESS`, or starts one on this machine for the time of the run.
    `workers=0` means as many as the cluster has cores.
    """

    encoder: Encoder
    reader: PictureReader
    writer: LibraryWriter
    workers: int
    batch_size: int

    def run(self, records: Iterable[ImageRecord]) -> Generator[None]:
        """Bring in every record; stopped by an exception, what came back is written first."""
        started = self._start()
        context = _ray_data().DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        try:
            window: list[Changed] = []
            for item in checked(records, self.writer, self.reader.check_all):
                match item:
                    case Unchanged():
                        self.writer.skip(item)
                    case Reject():
                        self.writer.reject(item)
                    case Changed():
                        window.append(item)
                if len(window) == _WINDOW:
                    yield from self._window(window)
                    window = []
                yield
            if window:
                yield from self._window(window)
            self.writer.write()
            yield
        except StoreError:
            raise  # there is nowhere to write to
        except BaseException:
            self.writer.write()
            raise
        finally:
            if started:
                _ray().shutdown()

    def _window(self, window: list[Changed]) -> Iterator[None]:
        """So many changed pictures, through both pipelines."""
        self.writer.write()  # so that the library knows the contents of earlier windows
        contents = self._contents(window)
        vectors = self._known({one for one in contents.values() if isinstance(one, str)})
        # The first picture of each content is encoded, unless the library knows it.
        first: set[str] = set()
        rows: list[tuple[Changed, str]] = []
        for position, changed in enumerate(window):
            content = contents.get(position, "")
            if isinstance(content, Reject):
                self.writer.reject(content)
                yield
                continue
            at_hand = content in vectors or content in first
            if content:
                first.add(content)
            rows.append((changed, content if at_hand else ""))
        wanted = {content for _, content in rows if content} | set(vectors)
        for prepared, vector in self._encoded(rows):
            if isinstance(prepared, Reject):
                self.writer.reject(prepared)
            else:
                vectors_of_it = vectors
                if vector is not None:
                    if prepared.sha256 in wanted:
                        vectors[prepared.sha256] = vector
                    vectors_of_it = {prepared.sha256: vector}
                elif prepared.sha256 in wanted and prepared.sha256 not in vectors:
                    self.writer.reject(prepared.not_encoded())  # as the twin it waited for
                    continue
                new = [prepared.sha256] if vector is not None else []
                self.writer.put([prepared], vectors_of_it, new)
            yield

    def _known(self, hashes: set[str]) -> dict[str, Vector]:
        found: dict[str, Vector] = {}
        remaining = iter(hashes)
        while part := list(islice(remaining, 1000)):
            found |= self.writer.vectors(part)
        return found

    def _contents(self, window: list[Changed]) -> dict[int, str | Reject]:
        """By position, the hash of each picture that may have the content of another.

        Two files of one content are of one size, so only those are read twice whose size another
        picture of the window or of the library has: few of a hundred photographs.
        """
        sizes = Counter(changed.from_file["size_bytes"] for changed in window)
        known = self.writer.known_sizes(sizes)
        positions = [
            position
            for position, changed in enumerate(window)
            if (size := changed.from_file["size_bytes"]) in known or sizes[size] > 1
        ]
        if not positions:
            return {}
        reader = self.reader

        def hashed(batch: _Batch) -> _Batch:
            return _packed(map(reader.sha256, _unpacked(batch)))

        dataset = self._dataset([window[position] for position in positions])
        rows = self._rows(dataset.map_batches(hashed, batch_size=_BLOCK, num_cpus=_DECODING))
        return dict(zip(positions, rows, strict=True))

    def _encoded(
        self, rows: list[tuple[Changed, str]]
    ) -> Iterator[tuple[DecodedPicture | Reject, Vector | None]]:
        reader = self.reader
        data = _ray_data()
        memory_mb = memory.configured_mb()

        def opened(batch: _Batch) -> _Batch:
            # One of as many processes as the node has cores; each has a budget of its own.
            memory.set_limit(memory_mb, processes=os.cpu_count() or 1)
            return _packed(
                reader.open(changed, encoded=content) for changed, content in _unpacked(batch)
            )

        size = self.workers or int(_ray().cluster_resources().get("CPU", 1))
        dataset = (
            self._dataset(rows)
            .map_batches(opened, batch_size=self.batch_size, num_cpus=_DECODING)
            .map_batches(
                _Encoding,
                fn_constructor_args=(self.encoder,),
                batch_size=self.batch_size,
                compute=data.ActorPoolStrategy(size=size),
                num_cpus=_ENCODING,
            )
        )
        yield from self._rows(dataset)

    def _dataset(self, items: list[Any]) -> Any:
        blocks = math.ceil(len(items) / _BLOCK)
        rows = [{"item": pickle.dumps(item)} for item in items]
        return _ray_data().from_items(rows, override_num_blocks=blocks)

    def _rows(self, dataset: Any) -> Iterator[Any]:
        """Every row's object, in the order of the items that went in."""
        errors = _ray().exceptions
        try:
            for row in dataset.iter_rows():
                yield pickle.loads(row["item"])  # noqa: S301 - our own, by our own workers
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise RayError(f"a worker failed: {first_line(cause)}") from error
        except errors.RayError as error:
            raise RayError(f"Ray failed: {first_line(error)}") from error

    def _start(self) -> bool:
        """Whether Ray was started here; else it was running in this process already."""
        ray = _ray()
        if ray.is_initialized():
            return False
        for name, value in _UNLESS_SET.items():
            os.environ.setdefault(name, value)
        here: dict[str, Any] = {}
        if not os.environ.get("RAY_ADDRESS"):
            # Else it joins whatever cluster was started on this machine last.
            here = {"address": "local", "include_dashboard": False}
            if self.workers:
                here["num_cpus"] = self.workers
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, logging_level="error", **here)
        except Exception as error:  # of no common base: time-outs, sockets, its own, a gRPC's
            if here:
                raise RayError(f"Ray could not be started: {first_line(error)}") from error
            raise RayError(
                f"Ray could not be joined at {os.environ['RAY_ADDRESS']}: {first_line(error)}; "
                f"{_MAY_ASK}"
            ) from error
        finally:
            # It takes SIGTERM for itself, and would end the run with nothing kept or said.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)
        return True


class _Encoding:
    """An actor of the pool: loads the encoder once, then encodes batch by batch."""

    def __init__(self, encoder: Encoder) -> None:
        folder = encoder.info.folder
        if folder is not None and read_encoder_info(folder).fingerprint != encoder.info.fingerprint:
            raise EncoderError(f"{folder} holds another encoder on this node than on the first")
        self._encoder = encoder

    def __call__(self, batch: _Batch) -> _Batch:
        opened: list[DecodedPicture | Reject] = list(_unpacked(batch))
        new = [p for p in opened if isinstance(p, DecodedPicture) and p.pixels is not None]
        vectors = {id(p): v for p, v in zip(new, embeddings(self._encoder, new), strict=True)}
        return _packed(self._result(item, vectors) for item in opened)

    def _result(
        self, item: DecodedPicture | Reject, vectors: dict[int, Vector | None]
    ) -> tuple[DecodedPicture | Reject, Vector | None]:
        if isinstance(item, Reject) or id(item) not in vectors:
            return item, None
        vector = vectors[id(item)]
        return (item.not_encoded() if vector is None else item.light()), vector


def _packed(items: Iterable[Any]) -> _Batch:
    column = [pickle.dumps(item) for item in items]
    return {"item": np.array(column, dtype=object)}


def _unpacked(batch: _Batch) -> Iterator[Any]:
    for item in batch["item"]:
        yield pickle.loads(item)  # noqa: S301 - our own, by our own workers


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise RayError("--engine ray needs its extra: pip install -e '.[ray]'") from None
    return ray


def _ray_data() -> Any:
    return _ray().data
