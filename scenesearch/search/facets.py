"""How often each value of a field is among the pictures of an answer."""

from collections import Counter
from collections.abc import Mapping

from scenesearch.search.live_collection import LiveCollection
from scenesearch.search.request import Request
from scenesearch.search.retrieval import MAX_RELEVANT, Nearest, enough
from scenesearch.store.filters import Filter

# How many values of a field are counted: the most frequent ones.
_MAX_COUNTED = 100

Facets = Mapping[str, tuple[tuple[str | int | bool, int], ...]]


def count_values(
    live: LiveCollection, request: Request, nearest: Nearest | None, where: Filter
) -> tuple[Facets, list[str]]:
    """The values of the request's facets, the most frequent first, and notices."""
    names = request.facets
    if not names:
        return {}, []
    if nearest is None or request.min_relevance == 0:  # all that pass the filters
        return {name: tuple(live.store.facet(live.name, name, where=where)) for name in names}, []
    # Counted here: the store takes seconds to count within ten thousand ids, and a tenth of that
    # to hand over their values.
    found, complete = nearest.relevant(request.min_relevance, names)
    if not enough(found, request):
        found, complete = [], True
    counts: dict[str, Counter[str | int | bool]] = {name: Counter() for name in names}
    for candidate in found:
        for name in names:
            value = candidate.point.payload.get(name)
            values = value if isinstance(value, list) else [value]
            counts[name].update({value for value in values if value is not None})
    notices = [] if complete else [f"counted are the {MAX_RELEVANT} most relevant pictures"]
    return {
        name: tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))[:_MAX_COUNTED]
        for name, counted in counts.items()
    }, notices
