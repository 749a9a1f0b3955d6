"""Answers of the page, kept by token, so that the browser asks for one portion after the other."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

import streamlit as st

from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.request import QueryError, Request, Upload
from scenesearch.store.filters import Filter
from ui.resources import OpenLibrary

# The pictures of one portion, and the most that may be asked for at once.
PORTION = 60
MOST_AT_ONCE = 240

# A search goes on with as many pictures again as are known, up to so many: each begins anew in the
# store, and an answer of 100,000 pictures must not begin 1,600 times.
_MOST_SEARCHED = 2_000

# What all answers together may take. A visitor whose answer was forgotten asks again.
_MOST_ANSWERS = 1_000
_MOST_BYTES = 128 * 2**20
_BYTES_A_PICTURE = 300

# Goes on with a search after a cursor, with so many pictures.
GoOn = Callable[[OpenLibrary, str, int], SearchResult]


class Found(NamedTuple):
    """How a picture was found: `score` for a card, `detail` in whole, '' where nothing was
    compared."""

    score: str = ""
    detail: str = ""


class Portion(NamedTuple):
    """Ids of pictures in order, and the cursor of those that follow, None at the end. `start` is
    the place of the first, where gaps must be seen."""

    ids: Sequence[str]
    next: str | None
    start: int | None = None


class Answer:
    """Pictures in order: those of these ids. Safe for threads.

    `request` is what they were found by; `total` their number, None where it is not known.
    `nearest` is the place of the first picture under the cut, None while none is known.
    """

    def __init__(self, ids: Sequence[str], *, request: Request | None = None) -> None:
        self.request = request
        self.total: int | None = len(ids)
        self.nearest: int | None = None
        self._ids = ids
        self._found: dict[str, Found] = {}

    @classmethod
    def of_hits(cls, hits: Sequence[Hit], request: Request | None = None) -> "Answer":
        """These hits alone."""
        answer = cls([one.image_id for one in hits], request=request)
        answer._found = {one.image_id: found_by(one) for one in hits}
        return answer

    @property
    def size_bytes(self) -> int:
        """About what it takes beside a list of ids, which visitors share."""
        parts = self.request.parts if self.request is not None else ()
        uploaded = sum(len(part.data) for part in parts if isinstance(part, Upload))
        return uploaded + _BYTES_A_PICTURE * len(self._found)

    def found(self, image_id: str) -> Found:
        """How the picture was found."""
        return self._found.get(image_id, Found())

    def portion(self, opened: OpenLibrary, after: str | None, limit: int) -> Portion:
        """The pictures behind a cursor; raises QueryError for one that none of its portions had."""
        start = _place(after)
        ids = self._ids[start : start + limit]
        end = start + len(ids)
        return Portion(ids, str(end) if end < len(self._ids) else None)


class SearchAnswer(Answer):
    """What a search finds, as far as it was asked for; it begins with `result`.

    `ranked` says that relevance falls from one picture to the next.
    """

    def __init__(
        self, request: Request, result: SearchResult, go_on: GoOn, *, ranked: bool
    ) -> None:
        self._known: list[str] = []
        super().__init__(self._known, request=request)
        self.total = None
        self._go_on = go_on
        self._cut = result.min_relevance if ranked else 0.0
        self._lock = threading.Lock()
        self._add(result)

    def portion(self, opened: OpenLibrary, after: str | None, limit: int) -> Portion:
        """The same; the search goes on where its pictures are not known yet."""
        end = _place(after) + limit
        with self._lock:
            while self._next is not None and len(self._known) < end:
                before = len(self._known)
                more = min(max(before, MOST_AT_ONCE), _MOST_SEARCHED)
                self._add(self._go_on(opened, self._next, more))
                if len(self._known) == before:
                    break  # the library holds fewer pictures than before
            found = super().portion(opened, after, limit)
            goes_on = self._next is not None and len(found.ids) == limit
            return found._replace(next=str(end)) if goes_on else found

    def _add(self, result: SearchResult) -> None:
        for hit in result.hits:
            if hit.image_id in self._found:  # moved down while the answer was read
                continue
            if self.nearest is None and hit.relevance is not None and hit.relevance < self._cut:
                self.nearest = len(self._known)
            self._found[hit.image_id] = found_by(hit)
            self._known.append(hit.image_id)
        self._next = result.next


class StoredAnswer(Answer):
    """All pictures that pass a filter, in the store's own order: nothing is kept of it."""

    def __init__(self, where: Filter, total: int) -> None:
        super().__init__(())
        self.total = total
        self._where = where

    def portion(self, opened: OpenLibrary, after: str | None, limit: int) -> Portion:
        """The pictures behind the one whose id is the cursor."""
        points = opened.store.scroll(
            opened.library, where=self._where, payload=(), batch_size=limit, after=after
        )
        ids = [point.image_id for point in islice(points, limit)]
        return Portion(ids, ids[-1] if len(ids) == limit else None)


def found_by(hit: Hit) -> Found:
    """What a card and the details say of a hit."""
    details: list[str] = []
    score = ""
    if hit.relevance is not None and hit.score is not None:
        score = f"{hit.relevance:.0%}"
        details = [f"{score} relevant", f"cosine {hit.score:.3f}"]
    if hit.duplicates:
        details.append(f"{len(hit.duplicates)} more like it")
    return Found(score, " · ".join(details))


def _place(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) < 9):
        raise QueryError("the cursor of the next portion is damaged; ask again from the start")
    return int(after)


class Answers:
    """The answers that were asked for last. Tokens cannot be guessed. Safe for threads."""

    def __init__(self, most: int = _MOST_ANSWERS, most_bytes: int = _MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, answer: Answer) -> str:
        """Keep it; returns its token."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[token] = answer
            # Answers grow while they are read: what they take is counted anew.
            size = sum(one.size_bytes for one in self._kept.values())
            while len(self._kept) > max(1, self._most) or (
                size > self._most_bytes and len(self._kept) > 1
            ):
                size -= self._kept.popitem(last=False)[1].size_bytes
        return token

    def get(self, token: str) -> Answer | None:
        """The answer of this token; None if it was forgotten, or never given."""
        with self._lock:
            answer = self._kept.get(token)
            if answer is not None:
                self._kept.move_to_end(token)
            return answer


@st.cache_resource(show_spinner=False)
def answers() -> Answers:
    """Those of all visitors of this process."""
    return Answers()
