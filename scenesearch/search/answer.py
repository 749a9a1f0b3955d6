"""What an answer says: hits in order, how relevant, what was understood, what was nearly found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scenesearch.search.relevance import Band, band

# How many hits are shown where an answer is printed.
_PRINTED = 10


@dataclass(frozen=True, repr=False)
class Hit:
    """One picture of an answer; `score` is its cosine, `relevance` a probability (0-1).

    Where the nearest are ranked again for hubness, the highest relevance goes to the first hit, and
    so on: relevance falls from hit to hit, cosines need not. `duplicates` are the ids of
    near-duplicates that this hit stands for; `offline` says that its original is on a disk that is
    away. With filters alone, or when the request only says
    what must not be seen, nothing is compared: score and relevance are None.
    """

    rank: int
    image_id: str
    path: str
    score: float | None
    relevance: float | None
    payload: Mapping[str, Any]
    duplicates: tuple[str, ...] = ()
    offline: bool = False

    @property
    def band(self) -> Band | None:
        """The relevance in a word: strong, partial or weak."""
        return None if self.relevance is None else band(self.relevance)

    @property
    def likeness(self) -> str:
        """'88% strong', or '' where nothing was compared."""
        return "" if self.relevance is None else f"{self.relevance:.0%} {self.band}"

    def __repr__(self) -> str:
        return f"<Hit {self._line().lstrip()}>"

    def _line(self) -> str:
        away = "  (offline)" if self.offline else ""
        copies = f"{away}  (and {len(self.duplicates)} like it)" if self.duplicates else away
        likeness = "" if self.relevance is None else f"{self.relevance:>4.0%} {self.band:<7}  "
        return f"{self.rank:>3}  {likeness}{_printable(self.image_id)}{copies}"

    def to_json(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "image_id": self.image_id,
            "path": self.path,
            "score": self.score,
            "relevance": self.relevance,
            "band": self.band,
            "copies": list(self.duplicates),
            "offline": self.offline,
            "payload": dict(self.payload),
        }


@dataclass(frozen=True, repr=False)
class SearchResult:
    """Hits in order, with the request and how long each part took.

    Where nothing in the library matches, there are no hits, and `partial` holds the best pictures
    below the relevance asked for. `next` is the cursor of the page after this one, None on the
    last. `notices` say how the request was understood, where that may surprise. `excluded` counts
    the pictures that were left out because they show what was subtracted. `min_relevance` is what
    the best picture had to reach.
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
    min_relevance: float = 0.0
    encode_ms: float = 0.0
    search_ms: float = 0.0
    total_ms: float = 0.0

    @property
    def nearest(self) -> Hit | None:
        """The best hit below the relevance asked for, when there is none above it."""
        return self.partial[0] if self.partial else None

    @property
    def counted(self) -> str:
        """'1 picture', '12 pictures': how many hits there are."""
        return f"{len(self.hits)} picture{'' if len(self.hits) == 1 else 's'}"

    def __repr__(self) -> str:
        """A line that counts, one a hit up to ten, and the notices."""
        more = ", more on the next page" if self.next is not None else ""
        lines = [f"{self.counted} of library {self.library} for {self.query!r}{more}"]
        lines += [hit._line() for hit in self.hits[:_PRINTED]]
        if len(self.hits) > _PRINTED:
            lines.append(f"  … and {len(self.hits) - _PRINTED} more")
        if self.nearest is not None:
            lines.append(f"the nearest:{self.nearest._line()}")
        return "\n".join([*lines, *map(_printable, self.notices)])

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
            "min_relevance": self.min_relevance,
            "timing_ms": {
                "encode": self.encode_ms,
                "search": self.search_ms,
                "total": self.total_ms,
            },
        }


def _printable(text: str) -> str:
    """The text, written with escapes where it holds control characters: it may be a stranger's."""
    return text if text.isprintable() else repr(text)
