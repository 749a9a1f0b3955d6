"""Rankings: candidates for hits, as many of the first as are asked for.

`Nearest` asks the store for the pictures nearest to a query. `Listed` is an order that is known as
a whole: by a field of the payload, or by image id where nothing is compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from scenesearch.search.live_collection import LiveCollection
from scenesearch.search.names import LISTED
from scenesearch.search.query_vector import QueryVector
from scenesearch.search.request import Order, Request
from scenesearch.store.ask import RESCORED, Ask, Cosine, Rescored
from scenesearch.store.base import Point, ScoredPoint
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter

# The most pictures that are sorted, counted by facets, or left out for what they show.
MAX_RELEVANT = 10_000

# How many of the nearest fused and diverse rankings reorder; behind them cosines fall.
_REORDERED = 512

# Up to this many hits come with whole payloads. If there are more, those of the page are fetched.
_FEW = 256


class Candidate(NamedTuple):
    """A picture that may become a hit; `key` orders the ranking where cosines do not."""

    point: ScoredPoint
    relevance: float
    key: tuple[Any, ...]


@dataclass(frozen=True)
class Nearest:
    """The pictures nearest to a query, ranked as `ask` says; its limit and payload are not used.

    Those `written`, best first, have a relevance of their own, because of the text in them. Each
    comes before the first picture that is less relevant.
    """

    live: LiveCollection
    query: QueryVector
    ask: Ask
    written: Sequence[Candidate] = ()

    @property
    def reordered(self) -> int:
        """The number of first pictures that are not in the order of their cosines."""
        match self.ask.rank_by:
            case Cosine():
                return len(self.written)
            case Rescored():
                return RESCORED
        return _REORDERED

    def first(self, n: int, payload: Sequence[str] | None = None) -> list[Candidate]:
        """The n first, with the payload of these keys, by default the whole one if n is small."""
        if payload is None and n > _FEW:
            payload = ("sha256", "phash")
        # As many more as may come to stand further in front.
        nearest = self._nearest(n + len(self.written), payload)
        if not self.written:
            return nearest
        promoted = {one.point.image_id for one in self.written}
        others = (one for one in nearest if one.point.image_id not in promoted)
        merged: list[Candidate] = []
        waiting = list(self.written)
        for one in others:
            while waiting and waiting[0].relevance >= one.relevance:
                merged.append(waiting.pop(0))
            merged.append(one)
        return [*merged, *waiting][:n]

    def _nearest(self, n: int, payload: Sequence[str] | None) -> list[Candidate]:
        """The n first whatever is written in pictures, with the payload of these keys, None for the
        whole one.

        Where hubness has changed the order of cosines, the highest relevance goes to the first
        place, and so on. So relevance falls from hit to hit and is no less true: on the judged
        pairs AUROC, Brier score and, for the first ten hits, the calibration error are better
        (docs/evaluation.md). Where pictures have a surplus, the relevance of those ranked again is
        that of their worth, and no lower than that of the next by cosine.
        """
        by_worth = isinstance(self.ask.rank_by, Rescored) and self.query.surplus_slope > 0
        limit = max(n, RESCORED + 1) if by_worth else n
        ask = replace(self.ask, limit=limit, payload=payload)
        points = self.live.store.search(self.live.name, ask)
        scores = [
            point.worth if by_worth and point.worth is not None else point.score for point in points
        ]
        relevance = self.query.relevance(np.array(scores, np.float32))
        if by_worth:
            relevance = np.maximum.accumulate(relevance[::-1])[::-1]
        elif isinstance(self.ask.rank_by, Rescored):
            relevance = np.sort(relevance)[::-1]
        return [
            Candidate(point, float(probability), (-point.score, point.image_id))
            for point, probability in zip(points[:n], relevance[:n], strict=True)
        ]

    def relevant(
        self, at_least: float, payload: Sequence[str] = ()
    ) -> tuple[list[Candidate], bool]:
        """All that are so relevant by cosine, best first, and whether there are no more."""
        rank_by = self.ask.rank_by if isinstance(self.ask.rank_by, Rescored) else Cosine()
        ask = replace(self.ask, rank_by=rank_by, min_cosine=self.query.cosine_of(at_least))
        found = replace(self, ask=ask).first(MAX_RELEVANT, payload)
        relevant = [one for one in found if one.relevance >= at_least]
        return relevant, len(found) < MAX_RELEVANT


@dataclass(frozen=True)
class Listed:
    """Candidates in an order that is known; they get their payloads when they are asked for."""

    live: LiveCollection
    candidates: Sequence[Candidate]
    reordered = 0

    def first(self, n: int) -> list[Candidate]:
        candidates = self.candidates[:n]
        image_ids = [one.point.image_id for one in candidates]
        whole = self.live.store.retrieve(self.live.name, image_ids)
        return [
            one._replace(point=one.point._replace(payload=whole[one.point.image_id].payload))
            for one in candidates
            if one.point.image_id in whole  # not removed meanwhile
        ]


Ranking = Nearest | Listed


def enough(found: Sequence[Candidate], request: Request) -> bool:
    """Whether the best of these nearest pictures is no chance find."""
    return max((one.relevance for one in found), default=0.0) >= request.best_at_least


def rank(
    live: LiveCollection, request: Request, nearest: Nearest | None, where: Filter
) -> tuple[Ranking, list[str]]:
    """The order of the answer, and notices: the nearest first, or by a field; where nothing is
    compared, all that pass the filter, by a field or by image id."""
    if nearest is None:
        return list_all(live, request, where), []
    order = request.sort
    payload = (order.field,) if order else ()
    if order is None:
        return nearest, []
    found, complete = nearest.relevant(request.min_relevance, payload)
    if not enough(found, request):
        return nearest, []  # which says what is nearest
    keyed = [one._replace(key=_sort_key(one.point, order, live.fields)) for one in found]
    notices = [] if complete else [f"sorted are the {MAX_RELEVANT} most relevant pictures"]
    return Listed(live, sorted(keyed, key=lambda candidate: candidate.key)), notices


def list_all(live: LiveCollection, request: Request, where: Filter) -> Listed:
    """All that pass the filter, by the field that the request sorts by, else by image id."""
    order = request.sort
    payload = (order.field,) if order else ()
    points = live.store.scroll(live.name, where=where, payload=payload, batch_size=LISTED)
    keys = sorted(_sort_key(point, order, live.fields) for point in points)
    return Listed(live, [Candidate(ScoredPoint(key[-1], 0.0, {}), 1.0, key) for key in keys])


def _sort_key(
    point: Point | ScoredPoint, order: Order | None, fields: Mapping[str, PayloadField]
) -> tuple[Any, ...]:
    """By the field's value, those without one last, ties by image id; plain JSON values."""
    if order is None:
        return (point.image_id,)
    value = point.payload.get(order.field)
    value = (value[0] if value else None) if isinstance(value, list) else value
    if fields[order.field].type == "datetime" and value is not None:
        try:
            moment = datetime.fromisoformat(str(value))
            # Without a time zone it counts as UTC, as in filters; local time has hours twice.
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, OSError):
            value = None
    if value is None:
        return (1, 0, point.image_id)
    if isinstance(value, str):
        # Descending, letters count backwards and an end comes after them.
        letters = [ord(letter) for letter in value.casefold()]
        text = [-letter for letter in letters] + [1] if order.descending else letters
        return (0, text, point.image_id)
    return (0, -value if order.descending else value, point.image_id)
