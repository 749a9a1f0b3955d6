"""How long one request takes, as somebody at the page waits for it: one text, ten hits."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.encoder.base import Encoder
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

MOST_QUERIES = 200
HITS = 10
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Milliseconds. `warm` has p50, p95 and p99 of "encode", "search" and "total" over `queries`
    requests; `cold` the same three of the first request, with a fresh encoder and a collection that
    was just opened (by a server: as it was)."""

    queries: int
    warm: Mapping[str, Mapping[str, float]]
    cold: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"queries": self.queries, "warm": dict(self.warm), "cold": dict(self.cold)}


def measure_latency(
    texts: Sequence[str],
    *,
    store: VectorStore,
    library: str,
    load_encoder: Callable[[], Encoder],
    where: Filter = (),
) -> Latency:
    """Asks at most 200 of the texts, evenly spread, one by one, after a first one that is cold.

    `load_encoder` gives an encoder that has done nothing yet; loading it counts as cold encoding.
    """
    rows = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), MOST_QUERIES)).astype(int))
    chosen = [texts[row] for row in rows]
    store.release(store.resolve(library))
    started = time.perf_counter()
    encoder = load_encoder()
    cold = _ask(encoder, store, library, where, chosen[0], started)
    warm = np.array([_ask(encoder, store, library, where, text) for text in chosen])
    columns = dict(zip(("encode", "search", "total"), warm.T, strict=True))
    return Latency(
        len(chosen),
        {
            part: {f"p{q}": float(np.percentile(values, q)) for q in _PERCENTILES}
            for part, values in columns.items()
        },
        dict(zip(("encode", "search", "total"), cold, strict=True)),
    )


def _ask(
    encoder: Encoder,
    store: VectorStore,
    library: str,
    where: Filter,
    text: str,
    started: float | None = None,
) -> tuple[float, float, float]:
    """Milliseconds of encoding, searching, and both."""
    started = time.perf_counter() if started is None else started
    (vector,) = encoder.encode_texts([text])
    encoded = time.perf_counter()
    store.search(library, vector, k=HITS, where=where)
    searched = time.perf_counter()
    return 1e3 * (encoded - started), 1e3 * (searched - encoded), 1e3 * (searched - started)
