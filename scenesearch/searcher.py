"""Words in, hits out: encode the text, ask the store, judge the relevance."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.encoder.base import Encoder
from scenesearch.query import QueryError
from scenesearch.relevance import read_calibration
from scenesearch.store.base import VectorStore, check_encoder
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter

# Longer texts would cost memory and time for words the context length cuts anyway.
MAX_QUERY_CHARACTERS = 10_000


@dataclass(frozen=True)
class Hit:
    """One picture of an answer; `score` is a cosine, `relevance` a probability."""

    rank: int
    image_id: str
    path: str
    score: float
    relevance: float
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """Hits in order, with what was asked and how long each part took.

    `nearest` is the best hit below the relevance asked for: what there is when `hits` is empty.
    """

    query: str
    encoder: str
    library: str
    hits: tuple[Hit, ...]
    nearest: Hit | None
    encode_ms: float
    search_ms: float
    total_ms: float

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch search --json`."""
        return {
            "query": self.query,
            "encoder": self.encoder,
            "library": self.library,
            "hits": [
                {
                    "rank": hit.rank,
                    "image_id": hit.image_id,
                    "path": hit.path,
                    "score": hit.score,
                    "relevance": hit.relevance,
                    "payload": dict(hit.payload),
                }
                for hit in self.hits
            ],
            "timing_ms": {
                "encode": self.encode_ms,
                "search": self.search_ms,
                "total": self.total_ms,
            },
        }


class Searcher:
    """Searches one library; checks once that the encoder is the collection's own.

    Raises CollectionMissing or EncoderMismatch when made, so that a page or a command fails
    before the first question.
    """

    def __init__(self, encoder: Encoder, store: VectorStore, library: str) -> None:
        spec = store.describe(library)
        check_encoder(
            spec,
            name=encoder.info.name,
            fingerprint=encoder.info.fingerprint,
            dimension=encoder.info.dimension,
        )
        self.library = library
        self.fields: tuple[PayloadField, ...] = spec.fields
        self._encoder = encoder
        self._store = store
        self._calibration = read_calibration(encoder.info.calibration, encoder.info.dimension)

    def search(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        where: Filter = (),
        min_relevance: float = 0.0,
        exact: bool = False,
    ) -> SearchResult:
        """The k best pictures after `offset` that fit the filter and are relevant enough.

        Raises QueryError for an empty or absurdly long text.
        """
        text = text.strip()
        if not text:
            raise QueryError("the query is empty: describe a scene in words")
        if len(text) > MAX_QUERY_CHARACTERS:
            raise QueryError(
                f"the query has {len(text)} characters, at most {MAX_QUERY_CHARACTERS} are read"
            )
        started = time.perf_counter()
        (vector,) = self._encoder.encode_texts([text])
        encoded = time.perf_counter()
        points = self._store.search(
            self.library, vector, k=k, offset=offset, where=where, exact=exact
        )
        searched = time.perf_counter()
        scores = np.array([point.score for point in points], np.float32)
        candidates = [
            Hit(
                rank=offset + position,
                image_id=point.image_id,
                path=str(point.payload.get("path", "")),
                score=point.score,
                relevance=float(relevance),
                payload=point.payload,
            )
            for position, (point, relevance) in enumerate(
                zip(points, self._calibration.relevance(scores, vector), strict=True), start=1
            )
        ]
        hits = tuple(hit for hit in candidates if hit.relevance >= min_relevance)
        below = candidates[len(hits) :]
        finished = time.perf_counter()
        return SearchResult(
            query=text,
            encoder=self._encoder.info.name,
            library=self.library,
            hits=hits,
            nearest=below[0] if below else None,
            encode_ms=(encoded - started) * 1000,
            search_ms=(searched - encoded) * 1000,
            total_ms=(finished - started) * 1000,
        )
