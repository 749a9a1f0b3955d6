"""A request in, an answer out: what page, command line, notebooks and evaluation ask alike.

The way of a request: its parts become vectors and one aim (`scenesearch.search.target`), its
filters conditions; the store ranks; relevance cuts; copies are collapsed; a page is taken.
"""

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.pictures.opening import ImageError, decode_image, out_of_memory
from scenesearch.runtime.events import log_query, log_search
from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.copies import Copies
from scenesearch.search.emptied import fields_of, passed_by_none
from scenesearch.search.grammar import conditions_of, folded, parse
from scenesearch.search.relevance import Calibration, read_calibration, read_picture_calibration
from scenesearch.search.request import (
    MAX_FILTERS,
    MAX_HITS,
    FieldFilter,
    Like,
    Order,
    Part,
    QueryError,
    Request,
    Upload,
    Words,
)
from scenesearch.search.target import Aim, AimPart, aim_of, mixed
from scenesearch.store.base import (
    RESCORED,
    Point,
    ScoredPoint,
    StoreError,
    VectorStore,
    check_encoder,
)
from scenesearch.store.conditions import declared_field, facet_field
from scenesearch.store.fields import PayloadField, by_name
from scenesearch.store.filters import Filter, Has, Not, OneOf

__all__ = ["Hit", "SearchResult", "Searcher", "conditions_in"]

MAX_UPLOAD_BYTES = 20 * 1024 * 1024

# So many pictures at most are sorted, counted by facets or left out as showing what is subtracted.
MAX_RELEVANT = 10_000

# From this relevance to a subtracted part on, a picture shows it. A word alone describes a picture
# poorly and is rarely judged to fit, but of 375 pictures at least so relevant to one of 14 words 81
# of 100 show it, by their captions (`python -m tests.figures subtraction`).
SHOWS_FROM = 0.1

# Values of a keyword field that a filter like 'camera:canon' is looked up among.
MAX_VALUES_LOOKED_UP = 50_000

# How long the library's name is believed to stand for the collection that it stood for.
_SETTLED_S = 2.0

# Fused and diverse rankings arrange so many of the nearest; behind them cosines fall.
_ARRANGED = 512

# Words count by themselves where this share of pictures has captions. Where half have them, the
# others fall behind (docs/search.md has the figures).
_DESCRIBED_FROM = 0.95

# The request counts as so many pictures called right. Of 330 requests with three or more relevant
# pictures among 1,000, one of the first ten called right: recall@10 of the others .461 without it,
# .456 with a weight of 1, .474 with 3, .481 with 5, .480 with 10; mAP .316, .334, .335, .331, .327.
# Pictures called wrong are only left out: to push their like away cost mAP (.509 to .466), for
# what a request finds wrongly is like what it wants (`python -m tests.figures feedback`).
_QUERY_WEIGHT = 5

# So many pictures tell how familiar a library is to its encoder.
_LOOKED_AT = 256

# From this familiarity on, words that the encoder has not learned are worth a notice, so many.
_FAMILIAR = 0.5
_NEW_WORDS_NAMED = 5

# Values of a field that are counted, the most frequent ones.
MAX_COUNTED = 100

# How long values are believed to be all: an ingest may add some.
_VALUES_FRESH_S = 5.0

# How long the picture that a name ends is believed to be the only one, and so many names are kept.
_NAMES_FRESH_S = 60.0
_MAX_NAMES = 1000

# Points at once where all that pass a filter are listed: each time the engine finds them anew.
_LISTED = 10_000

# More than the page, so that copies and a next page are seen without asking twice.
_SPARE = 16
_PARTIAL_SHOWN = 3

# Beyond so many hits, whole payloads are fetched for the page alone.
_FEW = 256


class Options(TypedDict, total=False):
    """What may be said of a request beside its text; see `Request`."""

    where: Filter
    k: int
    offset: int
    after: str | None
    min_relevance: float
    sort: Order | None
    collapse: bool
    diversity: float | None
    hybrid: bool | None
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    facets: tuple[str, ...]
    exact: bool


@dataclass(frozen=True)
class _Candidate:
    """A point on its way to be a hit; `key` orders the ranking, where cosines do not."""

    point: ScoredPoint
    relevance: float
    key: tuple[Any, ...]


# The n first of a ranking.
_Fetch = Callable[[int], list[_Candidate]]

# A candidate and the ids of its near-duplicates.
_Group = tuple[_Candidate, tuple[str, ...]]


def conditions_in(
    store: VectorStore, library: str, filters: Sequence[FieldFilter]
) -> tuple[Filter, tuple[str, ...]]:
    """The filters as conditions, with keywords looked up among the library's values; notices: how
    the filters were understood, and which of them no picture passes."""
    fields = store.describe(library).fields
    where, told = conditions_of(filters, fields, lambda field: _values_of(store, library, field))
    named = list(zip(map(str, filters), where, strict=True))
    return where, (*told, *passed_by_none(store, library, fields, named, told))


def _values_of(store: VectorStore, library: str, field: str) -> list[str]:
    return [str(value) for value, _ in store.facet(library, field, limit=MAX_VALUES_LOOKED_UP)]


class Searcher:
    """Searches one library; checks once that the encoder is the collection's own.

    `texts` keeps embeddings of texts beyond this searcher's life; uploads of more than
    `max_megapixels` are refused. Safe for threads. Raises CollectionMissing or EncoderMismatch
    when made, so that a page or a command fails before the first question.
    """

    def __init__(
        self,
        encoder: Encoder,
        store: VectorStore,
        library: str,
        *,
        texts: TextEmbeddingCache | None = None,
        max_megapixels: float = 100,
    ) -> None:
        if texts is not None and texts.fingerprint != encoder.info.fingerprint:
            raise ValueError("the text vectors kept are another encoder's")
        self.library = library
        self._encoder = encoder
        self.texts = texts or TextEmbeddingCache(encoder)
        self._store = store
        self._settle()
        self._max_megapixels = max_megapixels
        self._known_values: dict[str, tuple[list[str], float]] = {}
        self._known_names: dict[tuple[str, str], tuple[str, float]] = {}
        self._calibration = self._among_own(
            read_calibration(encoder.info.calibration, encoder.info.dimension)
        )
        self._pictures = read_picture_calibration(encoder.info.calibration)

    @property
    def calibration(self) -> Calibration:
        """What turns a cosine into the relevance of a hit, for pictures like this library's."""
        return self._calibration

    def _among_own(self, calibration: Calibration) -> Calibration:
        """The calibration for pictures like this library's; point ids are hashes, so that the
        first ones are no kind of their own."""
        if calibration.known is None:
            return calibration
        points = self._store.scroll(
            self.library, payload=(), with_vectors=True, batch_size=_LOOKED_AT
        )
        vectors = [p.vector for p in islice(points, _LOOKED_AT) if p.vector is not None]
        return calibration.among(np.stack(vectors)) if vectors else calibration

    def parse(self, text: str, **options: Unpack[Options]) -> Request:
        """The request of a text, by the fields of this library; raises QueryError."""
        return replace(parse(text, self.fields), **options)

    def search(self, request: Request | str, **options: Unpack[Options]) -> SearchResult:
        """The page of the answer that the request asks for; a text is parsed first.

        Raises QueryError for what cannot be asked, StoreError for what the store cannot do.
        """
        with log_search(self.library, QueryError) as told:
            log_query(told, request)
            result = self._search(request, options)
            told.hits = len(result.hits)
            told.encode_ms, told.search_ms = result.encode_ms, result.search_ms
            return result

    def _search(self, request: Request | str, options: Options) -> SearchResult:
        started = time.perf_counter()
        self._follow()
        request = parse(request, self.fields) if isinstance(request, str) else request
        request = replace(request, **options)
        self._check(request)
        request = replace(request, hybrid=self._hybrid(request))
        asked, told = conditions_of(request.filters, self.fields, self._values)
        notices = [*request.notices, *told]
        notices += self._new_words(request)
        parts = [self._part(part) for part in request.parts]
        encoded = time.perf_counter()
        where, excluded = self._without_excluded(request, parts, (*request.where, *asked), notices)
        # What nothing is like cannot be ranked: the pictures least like 'people' are no answer to
        # '-people', all that do not show them are.
        aim = aim_of(parts) if any(not part.excluded for part in parts) else None
        fetch = self._ranking(request, aim, where, notices)
        page, start, partial, more = _page(
            fetch,
            request,
            self._cursor(request),
            self._arranged(request),
            self._called_wrong(request, aim) if request.collapse and request.wrong else (),
        )
        if not page and not partial and not start:
            notices += self._emptied(request, asked, told)
        hits = self._hits(page, start, compared=aim is not None)
        facets = self._counts(request, aim, where, notices) if request.facets else {}
        finished = time.perf_counter()
        return SearchResult(
            query=request.text or str(request),
            encoder=self._encoder.info.name,
            library=self.library,
            hits=hits,
            partial=self._hits([(found, ()) for found in partial], 0, compared=True),
            next=_written_cursor(request, start + len(page), page[-1][0]) if more else None,
            notices=tuple(notices),
            facets=facets,
            excluded=excluded,
            encode_ms=(encoded - started) * 1000,
            search_ms=(finished - encoded) * 1000,
            total_ms=(finished - started) * 1000,
        )

    def count(self, request: Request) -> int:
        """How many pictures pass the request's filters; words and pictures are not looked at."""
        where, _ = conditions_of(request.filters, self.fields, self._values)
        return self._store.count(self._collection, where=(*request.where, *where))

    def passed_by_none(self, where: Filter) -> list[str]:
        """Which of the conditions no picture passes, named by their fields' labels."""
        return self._emptied(Request(where=where), (), ())

    def _emptied(self, request: Request, asked: Filter, told: Sequence[str]) -> list[str]:
        """The filters that leave nothing; `asked` are the conditions of those that were written."""
        labels = {field.name: field.label for field in self.fields}
        named = list(zip(map(str, request.filters), asked, strict=True))
        named += [(labels[fields_of(one)[0]], one) for one in request.where if fields_of(one)]
        return passed_by_none(self._store, self._collection, self.fields, named, told)

    def _follow(self) -> None:
        """Go along when the library's name is given to another collection, by a promote."""
        moved = time.monotonic() - self._settled_at > _SETTLED_S and (
            self._store.resolve(self.library) != self._collection
        )
        if moved:
            self._settle()

    def _settle(self) -> None:
        """Take the collection that the library's name stands for now.

        It is asked by its own name from here on: an alias that moves between encoding and search
        would have another encoder's vectors compared. Raises EncoderMismatch.
        """
        info = self._encoder.info
        collection = self._store.resolve(self.library)
        spec = self._store.describe(collection)
        check_encoder(spec, name=info.name, fingerprint=info.fingerprint, dimension=info.dimension)
        self.fields: tuple[PayloadField, ...] = spec.fields
        self._spec, self._collection = spec, collection
        self._settled_at = time.monotonic()

    def ranking(self, request: Request) -> list[ScoredPoint]:
        """The `k` first by cosine, without payload and whatever their relevance.

        What evaluation measures: the order that `search` gives, before anything is cut off, kept by
        whoever sorts by score: the highest cosine goes to the first, whosever it is. Hybrid
        only when that is asked for: captions are often the very queries.
        """
        self._check(request)
        where, _ = conditions_of(request.filters, self.fields, self._values)
        parts = [self._part(part) for part in request.parts]
        where, _ = self._without_excluded(request, parts, (*request.where, *where), [])
        points = self._nearest(request, aim_of(parts), where, request.k, payload=())
        scores = sorted((point.score for point in points), reverse=True)
        return [
            point if point.score == score else ScoredPoint(point.image_id, score, point.payload)
            for point, score in zip(points, scores, strict=True)
        ]

    @property
    def hub_penalty(self) -> Callable[[NDArray[np.float32]], NDArray[np.float64]] | None:
        """What a ranking by a description takes off the cosines of pictures that are near to any
        text, `(n, dimension)` -> `(n,)`; None where it takes nothing."""
        known = self._calibration.known
        return known.hub_penalty if known is not None and known.hubness != 0 else None

    def aim(self, request: Request) -> Aim:
        """Where a request that asks for something looks, and what its cosines mean."""
        return aim_of([self._part(part) for part in request.parts])

    # What is asked

    def _hybrid(self, request: Request) -> bool:
        if request.hybrid is not None:
            return request.hybrid
        if request.sort is not None or request.diversity is not None:
            return False
        return any(isinstance(part, Words) for part in request.parts) and self._described

    @cached_property
    def _described(self) -> bool:
        """Whether nearly every picture has a caption, and so words help."""
        if not self._spec.words or "captions" not in by_name(self.fields):
            return False
        described = self._store.count(self._collection, where=(Has("captions"),))
        return described > 0 and described >= _DESCRIBED_FROM * self._store.count(self._collection)

    def _check(self, request: Request) -> None:
        if not (request.parts or request.filters or request.where):
            raise QueryError("the query is empty: describe a scene in words")
        if len(request.where) > MAX_FILTERS:
            raise QueryError(f"{len(request.where)} conditions are given, at most {MAX_FILTERS}")
        if not 1 <= request.k <= MAX_HITS:
            raise QueryError(f"{request.k} pictures are asked for; 1 to {MAX_HITS} can be")
        if not 0 <= request.offset <= MAX_HITS:
            raise QueryError(
                f"offset {request.offset}: 0 to {MAX_HITS} pictures can be passed over"
            )
        if request.offset and request.after is not None:
            raise QueryError("a page begins at an offset or after a cursor, not both")
        if not 0 <= request.min_relevance <= 1:
            raise QueryError(f"min_relevance {request.min_relevance} is not between 0 and 1")
        if request.diversity is not None and not 0 <= request.diversity <= 1:
            raise QueryError(f"diversity {request.diversity} is not between 0 and 1")
        if request.sort is not None and (request.diversity is not None or request.hybrid):
            raise QueryError("an answer is sorted by a field, diverse or hybrid: one of them")
        try:
            if request.sort and declared_field(request.sort.field, self._spec).type == "geo":
                raise QueryError(f"{request.sort.field} is a place and has no order to sort by")
            for name in request.facets:
                facet_field(name, self._spec)
        except StoreError as error:
            raise QueryError(str(error)) from None

    def _values(self, field: str) -> list[str]:
        values, read_at = self._known_values.get(field, ([], -_VALUES_FRESH_S))
        if time.monotonic() - read_at >= _VALUES_FRESH_S:
            values = _values_of(self._store, self._collection, field)
            self._known_values[field] = values, time.monotonic()
        return values

    def _new_words(self, request: Request) -> list[str]:
        """Says which words the encoder cannot know, where the pictures are like those it knows."""
        vocabulary = self._calibration.known.vocabulary if self._calibration.known else None
        if vocabulary is None or self._calibration.familiarity < _FAMILIAR:
            return []
        wanted = (part for part in request.parts if isinstance(part, Words) and not part.excluded)
        new = [word for part in wanted for word in vocabulary.new_in(part.text)][:_NEW_WORDS_NAMED]
        if not new:
            return []
        words = ", ".join(f"'{word}'" for word in new)
        name = self._encoder.info.name
        return [f"{name} learned from no description with {words}: it may find something else"]

    def _part(self, part: Part) -> AimPart:
        match part:
            case Words():
                vector, weight = self._words(part)
                return AimPart(vector, self._calibration.of(part.text), weight, part.excluded)
            case Like():
                vector = self._picture_of(part.image_id)
            case Upload():
                vector = self._uploaded(part)
        return AimPart(vector, self._pictures, part.weight, part.excluded)

    def _words(self, words: Words) -> tuple[NDArray[np.float32], float]:
        """The embedding of the description, with what its weighted phrases add or take away, and
        what it weighs beside other parts: 'dog^2' twice as much as 'dog'."""
        whole = self.texts.embed(words.text)
        weighted = [phrase for phrase in words.phrases if phrase.weight != 1]
        if not weighted:
            return whole, 1.0
        vectors = [whole, *(self.texts.embed(phrase.text) for phrase in weighted)]
        return mixed(vectors, [1.0, *(phrase.weight - 1 for phrase in weighted)])

    def _picture_of(self, name: str) -> NDArray[np.float32]:
        image_id = self.image_id(name)
        point = self._store.retrieve(self._collection, [image_id], with_vectors=True).get(image_id)
        if point is None or point.vector is None:
            raise QueryError(f"like:{name}: the picture has just been removed")
        return point.vector

    def image_id(self, name: str) -> str:
        """The id that is this name, or the one that ends with it, with or without its suffix.

        Raises QueryError when no id or several do.
        """
        key = self._collection, name
        known, read_at = self._known_names.get(key, (name, 0.0))
        try:
            there = self._store.retrieve(self._collection, [name, known])
        except StoreError:  # no id at all, as half a character is
            raise QueryError(f"like:{name!r} cannot name a picture") from None
        if name in there:
            return name
        if known in there and time.monotonic() - read_at < _NAMES_FRESH_S:
            return known
        wanted = f"/{folded(name).lstrip('/')}"
        found = [
            point.image_id
            for point in self._store.scroll(self._collection, payload=(), batch_size=_LISTED)
            if _ends_with(point.image_id, wanted)
        ]
        if len(found) == 1:
            if len(self._known_names) >= _MAX_NAMES:
                self._known_names.clear()
            self._known_names[key] = found[0], time.monotonic()
            return found[0]
        if found:
            listed = ", ".join(sorted(found)[:3])
            raise QueryError(
                f"like:{name} may be {len(found)} pictures: {listed}; write more of it"
            )
        raise QueryError(f"like:{name}: library {self.library} has no such picture")

    def _uploaded(self, upload: Upload) -> NDArray[np.float32]:
        if len(upload.data) > MAX_UPLOAD_BYTES:
            raise QueryError(
                f"{upload.name} has {len(upload.data) / 2**20:.0f} MiB, "
                f"a query picture at most {MAX_UPLOAD_BYTES // 2**20}"
            )
        try:
            picture = decode_image(
                upload.data,
                reduce_to=max(self._encoder.info.image_size),
                max_megapixels=self._max_megapixels,
            )
            vector: NDArray[np.float32] = self._encoder.encode_images([picture.image])[0]
        except ImageError as error:
            raise QueryError(f"{upload.name}: {error}") from None
        except MemoryError:
            raise QueryError(f"{upload.name}: {out_of_memory()}") from None
        return vector

    def _without_excluded(
        self, request: Request, parts: Sequence[AimPart], where: Filter, notices: list[str]
    ) -> tuple[Filter, int]:
        """The filter that also leaves out what confidently shows a subtracted part, and how many.

        Pictures of the library that the request names are left out too: they are known.
        """
        known = {self.image_id(part.image_id) for part in request.parts if isinstance(part, Like)}
        showing: set[str] = set()
        for part in parts:
            if part.excluded:
                aim = aim_of([replace(part, excluded=False)])
                found, complete = self._relevant(aim, where, SHOWS_FROM, payload=())
                showing.update(candidate.point.image_id for candidate in found)
                if not complete:
                    notices.append(
                        f"only the {MAX_RELEVANT} pictures that most show what is subtracted "
                        "are left out"
                    )
        left_out = showing | known | set(request.wrong)
        if not left_out:
            return where, 0
        return (*where, Not(OneOf("image_id", tuple(sorted(left_out))))), len(showing - known)

    def _called_wrong(self, request: Request, aim: Aim | None) -> list[ScoredPoint]:
        """The pictures that were called wrong, as they would be found: so are their copies."""
        found = self._store.retrieve(self._collection, request.wrong, with_vectors=True)
        return [
            ScoredPoint(
                point.image_id,
                0.0 if aim is None or point.vector is None else float(point.vector @ aim.vector),
                point.payload,
            )
            for point in found.values()
        ]

    # Rankings

    def _ranking(
        self, request: Request, aim: Aim | None, where: Filter, notices: list[str]
    ) -> _Fetch:
        if aim is None:
            keys = self._browsed(request.sort, where)
            return self._whole(
                lambda n: [_Candidate(ScoredPoint(key[-1], 0.0, {}), 1.0, key) for key in keys[:n]]
            )
        if request.sort is not None:
            payload = (request.sort.field,)
            found, complete = self._answering(request, aim, where, payload=payload)
            if not complete:
                notices.append(f"sorted are the {MAX_RELEVANT} most relevant pictures")
            field = by_name(self.fields)[request.sort.field]
            keyed = [
                replace(candidate, key=_sort_key(candidate.point, field, request.sort))
                for candidate in found
            ]
            ordered = sorted(keyed, key=lambda candidate: candidate.key)
            return self._whole(lambda n: ordered[:n])

        def nearest(n: int) -> list[_Candidate]:
            payload = None if n <= _FEW else ("sha256", "phash")
            points = self._nearest(request, aim, where, n, payload=payload)
            return _candidates(points, aim, by_place=self._corrects(request))

        return nearest

    def _nearest(
        self,
        request: Request,
        aim: Aim,
        where: Filter,
        n: int,
        *,
        payload: Sequence[str] | None,
    ) -> list[ScoredPoint]:
        if request.right:
            found = self._store.retrieve(self._collection, request.right, with_vectors=True)
            vectors = [point.vector for point in found.values() if point.vector is not None]
            return self._store.recommend(
                self._collection,
                aim.vector,
                right=vectors,
                weight=_QUERY_WEIGHT,
                k=n,
                where=where,
                payload=payload,
            )
        if request.diversity:
            return self._store.search_diverse(
                self._collection,
                aim.vector,
                k=n,
                where=where,
                payload=payload,
                diversity=request.diversity,
            )
        words = " ".join(
            part.text for part in request.parts if isinstance(part, Words) and not part.excluded
        )
        if request.hybrid and words:
            return self._store.search_hybrid(
                self._collection,
                aim.vector,
                words,
                k=n,
                where=where,
                payload=payload,
                exact=request.exact,
            )
        penalty = self.hub_penalty
        if penalty is not None and self._corrects(request):
            return self._store.search_rescored(
                self._collection,
                aim.vector,
                penalty,
                k=n,
                where=where,
                payload=payload,
                exact=request.exact,
            )
        return self._store.search(
            self._collection, aim.vector, k=n, where=where, payload=payload, exact=request.exact
        )

    def _corrects(self, request: Request) -> bool:
        """Whether the nearest are ranked again for hubness: of descriptions in words alone."""
        return (
            self.hub_penalty is not None
            and bool(request.parts)
            and all(isinstance(part, Words) and not part.excluded for part in request.parts)
            and not (request.diversity or request.hybrid or request.right)
        )

    def _arranged(self, request: Request) -> int:
        """So many of the first are in no order of cosines."""
        if request.diversity or request.hybrid or request.right:
            return _ARRANGED
        return RESCORED if self._corrects(request) and request.sort is None else 0

    def _answering(
        self, request: Request, aim: Aim, where: Filter, *, payload: Sequence[str]
    ) -> tuple[list[_Candidate], bool]:
        """All that the request finds relevant enough, and whether these are all there are."""
        corrected = request if self._corrects(request) else None
        return self._relevant(
            aim, where, request.min_relevance, payload=payload, corrected=corrected
        )

    def _relevant(
        self,
        aim: Aim,
        where: Filter,
        at_least: float,
        *,
        payload: Sequence[str],
        corrected: Request | None = None,
    ) -> tuple[list[_Candidate], bool]:
        """All at least so relevant, best first, and whether these are all there are; ranked for
        hubness as the request's answer is, where one is given."""
        n = _FEW
        while True:
            points = (
                self._nearest(corrected, aim, where, n, payload=payload)
                if corrected
                else self._store.search(
                    self._collection, aim.vector, k=n, where=where, payload=payload
                )
            )
            found = _candidates(points, aim, by_place=corrected is not None)
            below = bool(found) and found[-1].relevance < at_least
            if below or len(found) < n or n >= MAX_RELEVANT:
                kept = [candidate for candidate in found if candidate.relevance >= at_least]
                return kept, below or len(found) < n
            n = min(4 * n, MAX_RELEVANT)

    def _whole(self, bare: _Fetch) -> _Fetch:
        """The same ranking with whole payloads."""

        def first(n: int) -> list[_Candidate]:
            candidates = bare(n)
            wanted = [candidate.point.image_id for candidate in candidates]
            whole = self._store.retrieve(self._collection, wanted)
            return [
                replace(candidate, point=point._replace(payload=whole[point.image_id].payload))
                for candidate in candidates
                if (point := candidate.point).image_id in whole  # not removed meanwhile
            ]

        return first

    def _browsed(self, sort: Order | None, where: Filter) -> list[tuple[Any, ...]]:
        """Keys of all that passes the filters, in order: by the field or by image id."""
        field = by_name(self.fields)[sort.field] if sort else None
        points = self._store.scroll(
            self._collection,
            where=where,
            payload=(field.name,) if field else (),
            batch_size=_LISTED,
        )
        if field is None or sort is None:
            return sorted((point.image_id,) for point in points)
        return sorted(_sort_key(point, field, sort) for point in points)

    def _counts(
        self, request: Request, aim: Aim | None, where: Filter, notices: list[str]
    ) -> dict[str, tuple[tuple[str | int | bool, int], ...]]:
        """Values of the fields among the pictures of the answer, most frequent first."""
        names = request.facets
        if aim is None or request.min_relevance == 0:  # all that passes the filters
            return {
                name: tuple(self._store.facet(self._collection, name, where=where))
                for name in names
            }
        # Counted here: the store takes seconds to count within ten thousand ids, and one tenth of
        # that to hand over their values.
        found, complete = self._answering(request, aim, where, payload=names)
        if not complete:
            notices.append(f"counted are the {MAX_RELEVANT} most relevant pictures")
        counts: dict[str, Counter[str | int | bool]] = {name: Counter() for name in names}
        for candidate in found:
            for name in names:
                value = candidate.point.payload.get(name)
                values = value if isinstance(value, list) else [value]
                counts[name].update({value for value in values if value is not None})
        return {
            name: tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))[:MAX_COUNTED]
            for name, counted in counts.items()
        }

    # Hits

    def _cursor(self, request: Request) -> "_Cursor | None":
        return None if request.after is None else _read_cursor(request)

    def _hits(self, page: Sequence[_Group], start: int, *, compared: bool) -> tuple[Hit, ...]:
        payloads: dict[str, Mapping[str, Any]] = {
            found.point.image_id: found.point.payload for found, _ in page
        }
        bare = [image_id for image_id, payload in payloads.items() if "path" not in payload]
        if bare:
            whole = self._store.retrieve(self._collection, bare)
            payloads |= {image_id: point.payload for image_id, point in whole.items()}
        return tuple(
            Hit(
                rank=rank,
                image_id=found.point.image_id,
                path=str(payloads[found.point.image_id].get("path", "")),
                score=found.point.score if compared else None,
                relevance=found.relevance if compared else None,
                payload=payloads[found.point.image_id],
                copies=copies,
            )
            for rank, (found, copies) in enumerate(page, start=start + 1)
        )


# --- rankings --------------------------------------------------------------------------------


def _candidates(
    points: Sequence[ScoredPoint], aim: Aim, *, by_place: bool = False
) -> list[_Candidate]:
    """The points with their relevance; `by_place` the highest one goes to the first.

    So relevance falls from hit to hit where hubness has changed the order of cosines, and is no
    less true for it: on the judged pairs AUROC, Brier score and, of the ten first hits, the
    calibration error are better so (docs/evaluation.md).
    """
    relevance = aim.relevance(np.array([point.score for point in points], np.float32))
    if by_place:
        relevance = np.sort(relevance)[::-1]
    return [
        _Candidate(point, float(probability), (-point.score, point.image_id))
        for point, probability in zip(points, relevance, strict=True)
    ]


def _sort_key(point: Point | ScoredPoint, field: PayloadField, order: Order) -> tuple[Any, ...]:
    """Orders by the field's value, those without one last, ties by image id; plain JSON values."""
    value = point.payload.get(field.name)
    value = (value[0] if value else None) if isinstance(value, list) else value
    if field.type == "datetime" and value is not None:
        try:
            value = datetime.fromisoformat(str(value)).timestamp()
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


def _page(
    fetch: _Fetch,
    request: Request,
    cursor: "_Cursor | None",
    arranged: int,
    called_wrong: Sequence[ScoredPoint],
) -> tuple[list[_Group], int, list[_Candidate], bool]:
    """Hits of the page with their copies, how many come before them, what is partial, and whether
    there are more. The first `arranged` are in no order of cosines."""
    start = cursor.seen if cursor else request.offset
    n = start + request.k + _SPARE
    if arranged == RESCORED:  # no dearer than fewer
        n = max(n, RESCORED)
    while True:
        found = fetch(n)
        kept = [candidate for candidate in found if candidate.relevance >= request.min_relevance]
        groups = _collapsed(kept, called_wrong) if request.collapse else _alone(kept)
        first = _first_after(groups, cursor, bool(arranged)) if cursor else request.offset
        page = groups[first : first + request.k]
        more = len(groups) > first + request.k
        falling = len(found) >= arranged
        below = bool(found) and falling and found[-1].relevance < request.min_relevance
        if more or below or len(found) < n:
            partial = [] if groups or start else found[:_PARTIAL_SHOWN]
            return page, start, partial, more
        n *= 4


def _alone(candidates: Sequence[_Candidate]) -> list[_Group]:
    return [(candidate, ()) for candidate in candidates]


def _collapsed(
    candidates: Sequence[_Candidate], called_wrong: Sequence[ScoredPoint]
) -> list[_Group]:
    copies = Copies()
    for position, point in enumerate(called_wrong, start=-len(called_wrong)):
        copies.first_of(position, point.payload, point.score)
    groups: dict[int, list[str]] = {}
    for position, candidate in enumerate(candidates):
        point = candidate.point
        first = copies.first_of(position, point.payload, point.score)
        if first == position:
            groups[position] = []
        elif first >= 0:  # no copy of what was called wrong
            groups[first].append(point.image_id)
    return [(candidates[first], tuple(others)) for first, others in groups.items()]


# --- cursors ---------------------------------------------------------------------------------


_DAMAGED = "the cursor of the next page is damaged; ask again from the start"


@dataclass(frozen=True)
class _Cursor:
    """The last hit of the page before: how many there were, and its place in the ranking."""

    seen: int
    key: tuple[Any, ...]


def _first_after(groups: Sequence[_Group], cursor: _Cursor, arranged: bool) -> int:
    """Where the next page begins. Pictures that came since and rank before it stay out of it."""
    # By its name, for scores may differ in their last bits from one request to the next.
    last = cursor.key[-1]
    for position, (candidate, _) in enumerate(groups):
        if candidate.point.image_id == last:
            return position + 1
    if arranged:  # its order is no order of keys
        return cursor.seen
    keys = (position for position, (found, _) in enumerate(groups) if found.key > cursor.key)
    try:
        return next(keys, len(groups))
    except TypeError:  # a key that no answer has given
        raise QueryError(_DAMAGED) from None


def _written_cursor(request: Request, seen: int, last: _Candidate) -> str:
    document = [_identity(request), seen, *last.key]
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def _read_cursor(request: Request) -> _Cursor:
    try:
        identity, seen, *key = json.loads(base64.urlsafe_b64decode(request.after or ""))
        if not isinstance(seen, int) or not 0 <= seen <= 10 * MAX_HITS or not key:
            raise ValueError
    except (ValueError, TypeError):
        raise QueryError(_DAMAGED) from None
    if identity != _identity(request):
        raise QueryError("the cursor belongs to another request; ask again from the start")
    return _Cursor(seen, tuple(key))


def _identity(request: Request) -> str:
    """The same for all pages of an answer, another for another request."""
    uploads = [part.data for part in request.parts if isinstance(part, Upload)]
    order = (
        request.where,
        request.sort,
        request.diversity,
        request.hybrid,
        request.collapse,
        request.right,
        request.wrong,
    )
    digest = hashlib.sha256(f"{request}\n{order}\n{request.min_relevance}".encode())
    for data in uploads:
        digest.update(data)
    return digest.hexdigest()[:12]


def _ends_with(image_id: str, wanted: str) -> bool:
    """Whether the id, or it without its suffix, ends with the wanted parts of a path."""
    path = f"/{folded(image_id)}"
    stem, dot, _ = path.rpartition(".")
    return path.endswith(wanted) or bool(dot and stem.endswith(wanted))
