"""One page of a ranking, and the cursor at which the next page begins."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scenesearch.search.collapse import Group, collapse
from scenesearch.search.request import MAX_HITS, QueryError, Request, Upload
from scenesearch.search.retrieval import Candidate, Nearest, Ranking, enough
from scenesearch.store.ask import RESCORED
from scenesearch.store.base import ScoredPoint

# More than the page, so that duplicates and a next page are seen without asking twice.
_SPARE = 16
_PARTIAL_SHOWN = 3

_DAMAGED = "the cursor of the next page is damaged; ask again from the start"


@dataclass(frozen=True)
class Page:
    """Hits with their duplicates, after `start` earlier ones; `next` is None on the last page.

    Where nothing is relevant enough, `partial` holds the best that there is.
    """

    groups: list[Group]
    start: int
    partial: list[Candidate]
    next: str | None


def take_page(ranking: Ranking, request: Request, wrong: Sequence[ScoredPoint]) -> Page:
    """The page that the request asks for; duplicates of `wrong` ones are not on it."""
    cursor = None if request.after is None else _read_cursor(request)
    start = cursor.seen if cursor else request.offset
    n = start + request.k + _SPARE
    if ranking.reordered == RESCORED:  # fewer would cost the same
        n = max(n, RESCORED)
    while True:
        found = ranking.first(n)
        relevant = [one for one in found if one.relevance >= request.min_relevance]
        nothing = isinstance(ranking, Nearest) and not enough(found, request)
        if nothing:
            relevant = []
        groups: list[Group] = [(one, ()) for one in relevant]
        if request.collapse:
            groups = collapse(relevant, wrong)
        first = _first_after(groups, cursor, ranking.reordered > 0) if cursor else start
        page = groups[first : first + request.k]
        more = len(groups) > first + request.k
        falling = bool(found) and len(found) >= ranking.reordered
        below = falling and found[-1].relevance < request.min_relevance
        if nothing or more or below or len(found) < n:
            partial = [] if groups or start else found[:_PARTIAL_SHOWN]
            cursor_after = _cursor_after(request, start + len(page), page[-1][0]) if more else None
            return Page(page, start, partial, cursor_after)
        n *= 4


@dataclass(frozen=True)
class _Cursor:
    """The last hit of the page before: how many there were, and its key in the ranking."""

    seen: int
    key: tuple[Any, ...]


def _first_after(groups: Sequence[Group], cursor: _Cursor, reordered: bool) -> int:
    """Where the next page begins. Pictures that came since and rank before it stay out of it."""
    # By the image id, for scores may differ in their last bits from one request to the next.
    last = cursor.key[-1]
    for position, (candidate, _) in enumerate(groups):
        if candidate.point.image_id == last:
            return position + 1
    if reordered:  # keys say nothing about the order
        return cursor.seen
    keys = (position for position, (found, _) in enumerate(groups) if found.key > cursor.key)
    try:
        return next(keys, len(groups))
    except TypeError:  # a key that no answer has given
        raise QueryError(_DAMAGED) from None


def _cursor_after(request: Request, seen: int, last: Candidate) -> str:
    document = [_fingerprint(request), seen, *last.key]
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def _read_cursor(request: Request) -> _Cursor:
    try:
        fingerprint, seen, *key = json.loads(base64.urlsafe_b64decode(request.after or ""))
        if not isinstance(seen, int) or not 0 <= seen <= 10 * MAX_HITS or not key:
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise QueryError(_DAMAGED) from None
    if fingerprint != _fingerprint(request):
        raise QueryError("the cursor belongs to another request; ask again from the start")
    return _Cursor(seen, tuple(key))


def _fingerprint(request: Request) -> str:
    """The same for all pages of an answer, another for another request."""
    ranked_by = (
        request.where,
        request.scope,
        request.sort,
        request.diversity,
        request.hybrid,
        request.collapse,
        request.right,
        request.wrong,
    )
    # The default cut moves as the library grows, and the next page is still one of the same answer.
    cut = None if request.default_cut else request.min_relevance
    digest = hashlib.sha256(f"{request}\n{ranked_by}\n{cut}".encode())
    for part in request.parts:
        if isinstance(part, Upload):
            digest.update(part.data)
    return digest.hexdigest()[:12]
