"""How often each value of a field is among the pictures of an answer."""

from collections import Counter
from collections.abc import Mapping, Sequence

from scenesearch.search.retrieval import Nearest
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

# So many values of a field are counted, the most frequent ones.
MAX_COUNTED = 100

Facets = Mapping[str, tuple[tuple[str | int | bool, int], ...]]


def count_all(store: VectorStore, collection: str, names: Sequence[str], where: Filter) -> Facets:
    """The values of the fields among all that pass the filter, most frequent first."""
    return {name: tuple(store.facet(collection, name, where=where)) for name in names}


def count_relevant(nearest: Nearest, at_least: float, names: Sequence[str]) -> tuple[Facets, bool]:
    """The values of the fields among the pictures that are so relevant, most frequent first, and
    whether all of these were counted.

    Counted here: the store takes seconds to count within ten thousand ids, and a tenth of that to
    hand over their values.
    """
    found, complete = nearest.relevant(at_least, payload=names)
    counts: dict[str, Counter[str | int | bool]] = {name: Counter() for name in names}
    for candidate in found:
        for name in names:
            value = candidate.point.payload.get(name)
            values = value if isinstance(value, list) else [value]
            counts[name].update({value for value in values if value is not None})
    facets = {
        name: tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))[:MAX_COUNTED]
        for name, counted in counts.items()
    }
    return facets, complete
