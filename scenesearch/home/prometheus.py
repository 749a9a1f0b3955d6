"""Metrics for Prometheus: searches, ingest, the encoder's time. Off unless an address is set.

    SCENESEARCH_METRICS_ADDRESS=127.0.0.1:9464 scenesearch ui
    curl http://127.0.0.1:9464/metrics

Searches are counted from their log records (scenesearch.runtime.events), so that nothing below
knows about metrics. Only entry points call `serve`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from scenesearch.encoder.base import Encoder, EncoderInfo
from scenesearch.errors import SceneSearchError
from scenesearch.runtime.events import LOGGER

if TYPE_CHECKING:
    from typing import Protocol

    class Counts(Protocol):
        """The report of a run of ingest; its other counts are read by name."""

        total: int
        seen: int


SEARCHES = Counter("scenesearch_searches", "Searches by outcome.", ["outcome"])
SEARCH_SECONDS = Histogram(
    "scenesearch_search_seconds",
    "Time of a search: encoding the request, asking the store, all of it.",
    ["stage"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
PICTURES = Counter(
    "scenesearch_ingest_pictures", "Pictures that ingest has processed, by outcome.", ["outcome"]
)
RETRIES = Counter("scenesearch_ingest_retries", "Reads and requests that ingest had to repeat.")
QUEUE = Gauge("scenesearch_ingest_queue_pictures", "Pictures of the run not processed yet.")
REJECTS = Gauge("scenesearch_rejects", "Pictures in the table of rejects.", ["library"])
ENCODER_SECONDS = Counter("scenesearch_encoder_seconds", "Time inside the encoder.", ["tower"])
HTTP_REQUESTS = Counter(
    "scenesearch_http_requests", "Requests that `serve` answered.", ["route", "status"]
)
HTTP_SECONDS = Histogram(
    "scenesearch_http_request_seconds",
    "Time from a request to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
BUILD = Gauge("scenesearch_build_info", "Always 1; the version is the label.", ["version"])


class MetricsError(SceneSearchError):
    """Metrics cannot be served; the message is one sentence for the user."""


def serve(address: str) -> Callable[[], None]:
    """Serve metrics at `host:port` in a thread of this process; returns a function that ends it."""
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"))
    except OSError as error:
        raise MetricsError(
            f"SCENESEARCH_METRICS_ADDRESS: cannot listen at {address}: {error.strerror or error}"
        ) from None
    count_no_more = count_searches()

    def close() -> None:
        count_no_more()
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def count_searches() -> Callable[[], None]:
    """Count the searches of this process from now on; returns a function that ends it."""
    BUILD.labels(version("scenesearch")).set(1)
    counter = _SearchCounter()
    LOGGER.addHandler(counter)
    if LOGGER.getEffectiveLevel() > logging.INFO:
        LOGGER.setLevel(logging.INFO)
    return lambda: LOGGER.removeHandler(counter)


class _SearchCounter(logging.Handler):
    """Counts the searches that are logged."""

    def emit(self, record: logging.LogRecord) -> None:
        figures = record.__dict__
        if figures.get("event") == "search":
            SEARCHES.labels(figures["outcome"]).inc()
            if figures["outcome"] in ("found", "nothing"):
                for stage in ("encode", "search", "total"):
                    SEARCH_SECONDS.labels(stage).observe(figures[f"{stage}_ms"] / 1000)


class IngestMeter:
    """Adds the growing counts of one run after another to the counters."""

    def __init__(self) -> None:
        self._run: object = None
        self._counted: dict[str, int] = {}

    def __call__(self, counts: "Counts") -> None:
        if counts is not self._run:
            self._run, self._counted = counts, {}
        for outcome in ("written", "skipped", "rejected", "removed", "moved"):
            PICTURES.labels(outcome).inc(self._new(counts, outcome))
        RETRIES.inc(self._new(counts, "retries"))
        QUEUE.set(max(0, counts.total - counts.seen))

    def _new(self, counts: "Counts", name: str) -> int:
        value = int(getattr(counts, name))
        new = value - self._counted.get(name, 0)
        self._counted[name] = value
        return max(0, new)


class TimedEncoder:
    """An encoder whose processing time is counted."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def info(self) -> EncoderInfo:
        return self._encoder.info

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        return self._encoder.preprocess(image)

    def encode_pixels(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        with _timed("image"):
            return self._encoder.encode_pixels(pixels)

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        with _timed("image"):
            return self._encoder.encode_images(images)

    def encode_texts(self, texts: Sequence[str], *, documents: bool = False) -> NDArray[np.float32]:
        with _timed("text"):
            return self._encoder.encode_texts(texts, documents=documents)


@contextmanager
def _timed(tower: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        ENCODER_SECONDS.labels(tower).inc(time.perf_counter() - started)
