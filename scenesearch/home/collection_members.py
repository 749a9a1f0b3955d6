"""The pictures of a saved collection, as they are now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from scenesearch.home.saved_collections import SavedCollection
from scenesearch.search.answer import Hit
from scenesearch.search.matches import matches
from scenesearch.search.request import QueryError, Request
from scenesearch.search.searcher import Searcher
from scenesearch.store.filters import Filter, Not, OneOf


@dataclass(frozen=True)
class Members:
    """The pictures of a collection in the searcher's library: first those added by hand, then what
    its request finds, best first, copies one by one.

    `min_relevance` holds where the collection has none of its own; None is the library's default.
    `parse` reads the request, where not all fields may be asked for. `scope` holds what whoever
    asks may see: other pictures are none of the collection's.
    """

    searcher: Searcher
    collection: SavedCollection
    min_relevance: float | None = None
    parse: Callable[[str], Request] | None = None
    scope: Filter = ()

    def __iter__(self) -> Iterator[Hit]:
        rank = 0
        for request in self._requests():
            for hit in matches(self.searcher, request):
                rank += 1
                yield replace(hit, rank=rank)

    def count(self) -> int:
        return sum(1 for _ in self)

    def page(self, k: int, after: str | None = None) -> tuple[list[Hit], str | None]:
        """The first `k`, or those that follow the cursor `after`; and the cursor of the page after
        them, None on the last. Raises QueryError for a cursor that is none of this collection."""
        parts = [self.by_hand(), self.found()]
        digit, _, at = (after or "0").partition(".")
        if digit not in ("0", "1"):
            raise QueryError("the cursor of the next page is damaged; ask again from the start")
        part, hits = int(digit), list[Hit]()
        while part < len(parts) and len(hits) < k:
            request = parts[part]
            if request is None:
                part += 1
                continue
            before = self._count_by_hand() if part else 0
            page = self.searcher.search(
                replace(request, k=k - len(hits), after=at or None, collapse=False)
            )
            hits += [replace(hit, rank=hit.rank + before) for hit in page.hits]
            at = page.next or ""
            part += not at
        more = part < len(parts) and parts[part] is not None
        return hits, f"{part}.{at}" if more else None

    def picture(self) -> Hit | None:
        """The picture that stands for it; None of an empty collection."""
        chosen = self.collection.picture
        asked = [self._only((chosen,))] if chosen else []
        for request in (*asked, *self._requests()):
            for hit in matches(self.searcher, request, limit=1):
                return hit
        return None

    def by_hand(self) -> Request | None:
        """The request for the pictures that were added; None where none were."""
        return self._only(self.collection.added) if self.collection.added else None

    def found(self) -> Request | None:
        """The request for all others; None where the collection has no request."""
        collection = self.collection
        if not collection.request:
            return None
        request = (self.parse or self.searcher.parse)(collection.request)
        known = tuple(dict.fromkeys((*collection.excluded, *collection.added)))
        where: Filter = (Not(OneOf("image_id", known)),) if known else ()
        cut = collection.min_relevance
        cut = self.min_relevance if cut is None else cut
        return replace(
            request,
            where=(*request.where, *where),
            scope=self.scope,
            min_relevance=cut or 0.0,
            default_cut=cut is None,
        )

    def _requests(self) -> Iterator[Request]:
        for request in (self.by_hand(), self.found()):
            if request is not None:
                yield request

    def _only(self, image_ids: tuple[str, ...]) -> Request:
        return Request(where=(OneOf("image_id", image_ids),), scope=self.scope)

    def _count_by_hand(self) -> int:
        request = self.by_hand()
        return 0 if request is None else self.searcher.count(request)
