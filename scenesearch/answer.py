"""What an answer says: hits in order, how relevant, what was understood, what was nearly found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scenesearch.relevance import Band, band


@dataclass(frozen=True)
class Hit:
    """One picture of an answer; `score` is its cosine, `relevance` a probability.

    Where the nearest are ranked again for hubness, the highest relevance of them belongs to the
    first place, and so on: relevance falls from hit to hit, cosines need not.
    `copies` are ids of near-duplicates for which this hit stands. Where the request asks for no
    words or pictures nothing is compared: a hit passes the filters, its relevance is 1 and its
    score 0.
    """

    rank: int
    image_id: str
    path: str
    score: float
    relevance: float
    payload: Mapping[str, Any]
    copies: tuple[str, ...] = ()

    @property
    def band(self) -> Band:
        """The relevance in a word: strong, partial or weak."""
        return band(self.relevance)

    def to_json(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "image_id": self.image_id,
            "path": self.path,
            "score": self.score,
            "relevance": self.relevance,
            "band": self.band,
            "copies": list(self.copies),
            "payload": dict(self.payload),
        }


@dataclass(frozen=True)
class SearchResult:
    """Hits in order, with what was asked and how long each part took.

    Without hits nothing in the library matches, and `partial` holds the best that there is below
    the relevance asked for. `next` is the cursor of the page after this one, None on the last.
    `notices` say how the request was understood where that may surprise. `excluded` counts
    pictures left out because they show what was subtracted. `compared` is False where the request
    wants no words or pictures, so that relevances say nothing.
    """

    query: str
    encoder: str
    library: str
    hits: tuple[Hit, ...]
    partial: tuple[Hit, ...] = ()
    next: str | None = None
    notices: tuple[str, ...] = ()
    facets: Mapping[str, tuple[tuple[str | int | bool, int], ...]] = field(default_factory=dict)
    excluded: int = 0
    compared: bool = True
    encode_ms: float = 0.0
    search_ms: float = 0.0
    total_ms: float = 0.0

    @property
    def nearest(self) -> Hit | None:
        """The best hit below the relevance asked for, when there is none above it."""
        return self.partial[0] if self.partial else None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON shape of `scenesearch search --json`."""
        return {
            "query": self.query,
            "encoder": self.encoder,
            "library": self.library,
            "hits": [hit.to_json() for hit in self.hits],
            "partial": [hit.to_json() for hit in self.partial],
            "next": self.next,
            "notices": list(self.notices),
            "facets": {
                name: [{"value": value, "count": count} for value, count in counts]
                for name, counts in self.facets.items()
            },
            "excluded": self.excluded,
            "timing_ms": {
                "encode": self.encode_ms,
                "search": self.search_ms,
                "total": self.total_ms,
            },
        }
