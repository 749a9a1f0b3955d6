"""How long one request takes, as somebody at the page waits for it: one text, ten hits."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.encoder.base import Encoder
from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

MOST_QUERIES = 200
HITS = 10
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Milliseconds. `warm` has p50, p95 and p99 of "encode", "search" and "total" over `queries`
    requests; `cold` the same three of the first request, its total with loading the encoder and
    opening the collection (by a server: as it was)."""

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

    `load_encoder` gives an encoder that has done nothing yet; loading it, and opening the
    collection, count to the cold total.
    """
    rows = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), MOST_QUERIES)).astype(int))
    # A text asked twice is not encoded again, and would look quicker than it is.
    chosen = list(dict.fromkeys(texts[row] for row in rows))
    store.release(store.resolve(library))
    started = time.perf_counter()
    encoder = load_encoder()
    first = _ask(Searcher(encoder, store, library), chosen[0], where)
    total = 1e3 * (time.perf_counter() - started)
    searcher = Searcher(encoder, store, library)
    warm = np.array([_ask(searcher, text, where) for text in chosen])
    columns = dict(zip(("encode", "search", "total"), warm.T, strict=True))
    return Latency(
        len(chosen),
        {
            part: {f"p{q}": float(np.percentile(values, q)) for q in _PERCENTILES}
            for part, values in columns.items()
        },
        {"encode": first[0], "search": first[1], "total": total},
    )


def _ask(searcher: Searcher, text: str, where: Filter) -> tuple[float, float, float]:
    """Milliseconds of encoding, searching, and both."""
    found = searcher.search(Request((Text((Phrase(text),)),), where=where, k=HITS))
    return found.encode_ms, found.search_ms, found.total_ms
