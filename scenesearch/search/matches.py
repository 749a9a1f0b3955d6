"""Every picture that a request finds, page after page: for what is done to all of them."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from scenesearch.runtime.cancel import cancellable, check_cancelled
from scenesearch.search.answer import Hit
from scenesearch.search.request import MAX_HITS, Request
from scenesearch.search.searcher import Searcher


def matches(searcher: Searcher, request: Request, *, limit: int | None = None) -> Iterator[Hit]:
    """The hits of the request, copies one by one, best first; at most `limit` of them."""
    if not request.parts:
        yield from islice(cancellable(searcher.every(request)), limit)
        return
    left = limit
    after: str | None = None
    while left is None or left > 0:
        check_cancelled()
        k = MAX_HITS if left is None else min(left, MAX_HITS)
        page = searcher.search(replace(request, k=k, offset=0, after=after, collapse=False))
        yield from page.hits
        after = page.next
        if after is None:
            return
        if left is not None:
            left -= len(page.hits)
