"""Latency of one request as a visitor of the page makes it: one text, ten hits."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.encoder.base import Encoder
from scenesearch.evaluation.sampling import spread_evenly
from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

MOST_QUERIES = 200
HITS = 10
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Latency:
    """Milliseconds for "encode", "search" and "total". `warm` has their p50, p95 and p99 over
    `queries` requests; `cold` those of the first request. The cold total includes loading the
    encoder and opening the collection (a server has it open already)."""

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
    """Asks at most 200 of the texts, evenly spread, one by one, after a cold first request.

    `load_encoder` must return an encoder that has done nothing yet.
    """
    # A text asked twice would not be encoded again, and would look faster than it is.
    chosen = list(dict.fromkeys(texts[row] for row in spread_evenly(len(texts), MOST_QUERIES)))
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
