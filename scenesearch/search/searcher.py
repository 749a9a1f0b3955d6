"""A request in, an answer out: what page, command line, notebooks and evaluation ask alike.

The way of a request: its filters become conditions, its parts vectors and these one query vector;
what shows an excluded part is filtered out; the store ranks; a page is taken of what is relevant;
values are counted.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from scenesearch.encoder.base import Encoder
from scenesearch.encoder.text_cache import TextEmbeddingCache
from scenesearch.pictures.opening import ImageError, decode_image, out_of_memory
from scenesearch.runtime.events import log_query, log_search
from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.chance import Chances, Cuts, measure_chances
from scenesearch.search.collapse import Group
from scenesearch.search.contrast import measure_few
from scenesearch.search.facets import Facets, count_values
from scenesearch.search.grammar import parse
from scenesearch.search.live_collection import LiveCollection
from scenesearch.search.names import Example, seen
from scenesearch.search.paging import take_page
from scenesearch.search.presence import PresenceOf, all_here
from scenesearch.search.query_vector import PartVector, QueryVector, combine, weighted_sum
from scenesearch.search.relevance import (
    PARTIAL,
    Calibration,
    by_contrast,
    probability,
    read_calibration,
    read_picture_calibration,
)
from scenesearch.search.request import Like, Order, Part, QueryError, Request, Text, Upload
from scenesearch.search.retrieval import (
    MAX_RELEVANT,
    Candidate,
    Listed,
    Nearest,
    list_all,
    rank,
)
from scenesearch.search.text_match import A_WORD, LEAST_ODDS, LOOKED_AT, AskedWords
from scenesearch.store.ask import (
    Ask,
    Cosine,
    Diverse,
    Examples,
    Hybrid,
    Penalty,
    RankBy,
    Rescored,
    Written,
)
from scenesearch.store.base import ScoredPoint, VectorStore
from scenesearch.store.fields import PayloadField
from scenesearch.store.filters import Filter, Not, OneOf

MAX_UPLOAD_BYTES = 20 * 1024 * 1024

# A picture of at least this relevance to a subtracted part shows it. A single word describes a
# picture poorly and is rarely judged to fit, but of 375 pictures at least so relevant to one of 14
# words, 81 of 100 show it, by their captions (`python -m tests.figures subtraction`). That is
# before single words are stretched (`Calibration.stretched`).
_SHOWS_FROM = math.log(0.1 / 0.9)

# The same by contrast: where 'partial' begins.
_SHOWS_FROM_BY_CONTRAST = math.log(PARTIAL / (1 - PARTIAL))

# The alias is not resolved for this long after its collection was opened.
_ALIAS_FRESH_S = 2.0

# The request counts as much as this number of pictures called right. Over 330 requests with three
# or more relevant pictures among 1,000, with one of the first ten called right, recall@10 of the
# others is .461 without it, .456 with a weight of 1, .474 with 3, .481 with 5, .480 with 10; mAP is
# .316, .334, .335, .331, .327. Pictures called wrong are only left out: pushing away what is like
# them costs mAP (.509 to .466), for what a request finds wrongly is like what it wants
# (`python -m tests.figures feedback`).
_QUERY_WEIGHT = 5

# How many pictures the familiarity of a library to its encoder is measured on.
_FAMILIARITY_SAMPLE = 256

# How many pictures the default cut is measured on, the first time it is needed.
_CHANCE_SAMPLE = 1024

# The default cut where chance is not measured: for pictures as queries, and for encoders whose
# calibration has no background. Where something is found, its hits go down to here too; by
# contrast, to where 'partial' begins.
UNMEASURED_CUT = 0.05

# From this familiarity on, a notice names words that the encoder has not learned, up to five.
_FAMILIAR = 0.5
_NEW_WORDS_NAMED = 5

# Whole payloads that `every` reads at once.
_LISTED_PAGE = 1000


class Options(TypedDict, total=False):
    """What a request may say besides its text; see `Request`."""

    where: Filter
    scope: Filter
    k: int
    offset: int
    after: str | None
    min_relevance: float
    default_cut: bool
    sort: Order | None
    collapse: bool
    diversity: float | None
    hybrid: bool | None
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    facets: tuple[str, ...]
    exact: bool


class Searcher:
    """Searches one library; checks once that the encoder is the collection's own.

    `texts` keeps embeddings of texts beyond this searcher's life; uploads of more than
    `max_megapixels` are refused; `presence` says which folders of a library are away. Safe for
    threads. Raises CollectionMissing or EncoderMismatch when made, so that a page or a command
    fails before the first question.
    """

    def __init__(
        self,
        encoder: Encoder,
        store: VectorStore,
        library: str,
        *,
        texts: TextEmbeddingCache | None = None,
        max_megapixels: float = 100,
        presence: PresenceOf = all_here,
    ) -> None:
        if texts is not None and texts.fingerprint != encoder.info.fingerprint:
            raise ValueError("the text vectors are another encoder's")
        self.library = library
        self.texts = texts or TextEmbeddingCache(encoder)
        self._encoder = encoder
        self._store = store
        self._max_megapixels = max_megapixels
        self._live = LiveCollection(store, library, encoder.info, presence)
        declared = encoder.info.calibration
        self._picture_calibration = read_picture_calibration(declared)
        # What turns a cosine into the relevance of a hit, for pictures like this library's.
        self.calibration = self._among_own(
            read_calibration(declared, encoder.info.dimension, encoder.info.scale)
            if declared
            else by_contrast(measure_few(encoder))
        )
        self._cuts: dict[tuple[str, int], Cuts] = {}
        self._chances: dict[str, Chances] = {}

    def _among_own(self, calibration: Calibration) -> Calibration:
        """The calibration for pictures like this library's."""
        if calibration.training_texts is None and calibration.contrast is None:
            return calibration
        return calibration.among(self._sample(self.library, _FAMILIARITY_SAMPLE))

    def _sample(self, collection: str, size: int) -> NDArray[np.float32]:
        """Vectors of so many pictures, `(n, dimension)`. Points come in the order of their ids,
        which are hashes: the first ones are a random sample."""
        points = self._store.scroll(collection, payload=(), with_vectors=True, batch_size=size)
        vectors = [point.vector for point in islice(points, size) if point.vector is not None]
        return np.stack(vectors) if vectors else np.empty((0, self._encoder.info.dimension), "f4")

    @property
    def fields(self) -> tuple[PayloadField, ...]:
        """What can be filtered, sorted and counted by."""
        return self._live.spec.fields

    @property
    def hub_penalty(self) -> Penalty | None:
        """What a ranking by a description takes off the cosines of pictures that are near to every
        text; None where it takes nothing."""
        if self.calibration.contrast is not None:
            return self.calibration.surplus
        texts = self.calibration.training_texts
        return texts.hub_penalty if texts is not None and texts.hubness != 0 else None

    # The story of a request

    def parse(self, text: str, **options: Unpack[Options]) -> Request:
        """The request of a text, by the fields of this library; raises QueryError."""
        return replace(parse(text, self.fields), **options)

    def search(self, request: Request | str, **options: Unpack[Options]) -> SearchResult:
        """The page of the answer that the request asks for; a text is parsed first.

        Raises QueryError for what cannot be asked, StoreError for what the store cannot do.
        """
        with log_search(self.library, QueryError) as event:
            log_query(event, request)
            started = time.perf_counter()
            live = self._follow_alias()
            request = self.parse(request) if isinstance(request, str) else request
            request = replace(request, **options)
            request.check(live.spec)
            request = replace(request, hybrid=self._is_hybrid(request, live))

            conditions, filter_notices = live.conditions(request)
            examples = live.names.find(request.named_pictures, request.scope)
            parts = [self._vector_of(part, examples) for part in request.parts]
            encoded = time.perf_counter()
            request = self._with_cut(request, parts, live)
            where, excluded, exclusion_notices = _exclude(
                live, request, parts, examples, (*conditions, *request.scope)
            )
            nearest = self._with_written(live, request, self._nearest(live, request, parts, where))
            if nearest is not None and _is_written(request, nearest):
                request = replace(request, best_at_least=request.min_relevance)
            ranking, ranking_notices = rank(live, request, nearest, where)
            page = take_page(ranking, request, _wrong(live, request, nearest))
            empty_notices: list[str] = []
            if not (page.groups or page.partial or page.start):
                empty_notices = live.passed_by_none(request, conditions, filter_notices)
            facets, facet_notices = count_values(live, request, nearest, where)
            hits = _hits(live, page.groups, page.start, compared=nearest is not None)
            partial = _hits(live, [(one, ()) for one in page.partial], 0, compared=True)
            finished = time.perf_counter()

            event.hits = len(hits)
            event.encode_ms = (encoded - started) * 1000
            event.search_ms = (finished - encoded) * 1000
            return SearchResult(
                query=request.text or str(request),
                encoder=self._encoder.info.name,
                library=self.library,
                hits=hits,
                partial=partial,
                next=page.next,
                notices=(
                    *request.notices,
                    *filter_notices,
                    *self._new_words(request),
                    *exclusion_notices,
                    *ranking_notices,
                    *empty_notices,
                    *facet_notices,
                ),
                facets=facets,
                excluded=excluded,
                min_relevance=request.best_at_least or request.min_relevance,
                encode_ms=event.encode_ms,
                search_ms=event.search_ms,
                total_ms=(finished - started) * 1000,
            )

    def count_values(
        self, request: Request, **options: Unpack[Options]
    ) -> tuple[Facets, tuple[str, ...]]:
        """The counts of the request's facets in its whole answer, and notices; nothing is ranked
        for it. An empty request counts in the library."""
        live = self._follow_alias()
        request = replace(request, **options)
        request.check(live.spec, may_be_empty=True)
        request = replace(request, hybrid=self._is_hybrid(request, live))
        conditions, _ = live.conditions(request)
        examples = live.names.find(request.named_pictures, request.scope)
        parts = [self._vector_of(part, examples) for part in request.parts]
        request = self._with_cut(request, parts, live)
        where, _, _ = _exclude(live, request, parts, examples, (*conditions, *request.scope))
        nearest = self._with_written(live, request, self._nearest(live, request, parts, where))
        facets, notices = count_values(live, request, nearest, where)
        return facets, tuple(notices)

    def _with_cut(
        self, request: Request, parts: Sequence[PartVector], live: LiveCollection
    ) -> Request:
        """The request with the library's own least relevance, where it asks for that."""
        if not request.default_cut:
            return request
        cut = self._cut(parts, request, live)
        floor = UNMEASURED_CUT if self.calibration.contrast is None else PARTIAL
        return replace(request, best_at_least=cut, min_relevance=min(cut, floor))

    def _follow_alias(self) -> LiveCollection:
        """The collection that the library's name stands for, another one after a promote."""
        live = self._live
        if time.monotonic() - live.opened_at > _ALIAS_FRESH_S and (
            self._store.resolve(self.library) != live.name
        ):
            live = self._live = LiveCollection(
                self._store, self.library, self._encoder.info, live.presence_of
            )
        return live

    # What else can be asked

    def count(self, request: Request) -> int:
        """How many pictures pass the request's filters, whatever its words and pictures."""
        return self._store.count(self._live.name, where=self.conditions(request))

    def conditions(self, request: Request) -> Filter:
        """What pictures must pass, by the request's filters and its scope."""
        conditions, _ = self._live.conditions(request)
        return (*conditions, *request.scope)

    def every(self, request: Request) -> Iterator[Hit]:
        """All hits of a request that describes nothing, as `search` orders them. The library is
        listed once: page after page, it would be listed for each."""
        request.check(self._follow_alias().spec)
        live, candidates = self._listed(request)
        for start in range(0, len(candidates), _LISTED_PAGE):
            part = Listed(live, candidates[start : start + _LISTED_PAGE])
            groups: list[Group] = [(one, ()) for one in part.first(_LISTED_PAGE)]
            yield from _hits(live, groups, start, compared=False)

    def every_id(self, request: Request) -> list[str]:
        """The image ids of `every`, without reading whole payloads. A request without a filter
        means the whole library."""
        return [one.point.image_id for one in self._listed(request)[1]]

    def _listed(self, request: Request) -> tuple[LiveCollection, Sequence[Candidate]]:
        live = self._follow_alias()
        conditions, _ = live.conditions(request)
        return live, list_all(live, request, (*conditions, *request.scope)).candidates

    def passed_by_none(self, where: Filter) -> list[str]:
        """Why no picture passes the conditions, named by their fields' labels; nothing where one
        does."""
        return self._live.passed_by_none(Request(where=where), where)

    def ranking(self, request: Request) -> list[ScoredPoint]:
        """The `k` first by cosine with a description, in the order that `search` gives, without
        payload and whatever their relevance: what evaluation measures.

        Metrics sort by score, so the scores are sorted too: the highest goes to the first, even
        where that is not its own. Hybrid only when the request says so: captions are often the
        very queries.
        """
        live = self._live
        request.check(live.spec)
        conditions, _ = live.conditions(request)
        examples = live.names.find(request.named_pictures, request.scope)
        parts = [self._vector_of(part, examples) for part in request.parts]
        scoped = (*conditions, *request.scope)
        where, _, _ = _exclude(live, request, parts, examples, scoped)
        nearest = self._nearest(live, request, parts, where)
        if nearest is None:
            raise QueryError("nothing is described that pictures could be ranked by")
        points = self._store.search(live.name, replace(nearest.ask, limit=request.k, payload=()))
        scores = sorted((point.score for point in points), reverse=True)
        return [
            point if point.score == score else point._replace(score=score)
            for point, score in zip(points, scores, strict=True)
        ]

    def query_vector(self, request: Request) -> QueryVector:
        """What a request that asks for something is compared by, and what its cosines mean."""
        examples = self._live.names.find(request.named_pictures, request.scope)
        return combine([self._vector_of(part, examples) for part in request.parts])

    def image_id(self, name: str, scope: Filter = ()) -> str:
        """The id that is this name, or the one that ends with it, with or without its suffix.

        Raises QueryError when no id in the scope or several do.
        """
        return self._live.names.find([name], scope)[name].image_id

    # The default cut

    def default_cut(self) -> float:
        """What the best picture for a description must reach, where a request leaves it open, or
        nothing is found: at most one in ten things that the library does not show reach it. For a
        single word it may differ."""
        reached = self._by_chance(self._follow_alias())
        if reached is None:
            return UNMEASURED_CUT
        return _probability(self.calibration.stretched(reached.other))

    def _cut(self, parts: Sequence[PartVector], request: Request, live: LiveCollection) -> float:
        wanted = [part for part in parts if not part.excluded]
        of_words = bool(wanted) and len(request.descriptions) == len(wanted)
        if not of_words or request.hybrid:  # pictures, or words of captions, are compared too
            return UNMEASURED_CUT
        reached = self._by_chance(live)
        if reached is None:
            return UNMEASURED_CUT
        weights = [part.weight for part in wanted]
        calibrations = [part.calibration for part in wanted]
        stretched = [one.stretched(reached.of(one.is_word)) for one in calibrations]
        return _probability(float(np.average(stretched, weights=weights)))

    def _by_chance(self, live: LiveCollection) -> Cuts | None:
        """The log odds that chance reaches in one of ten requests, None where that is not measured.
        Measured once for each collection and number of pictures."""
        pictures = 0 if self.calibration.background is None else self._store.count(live.name)
        if pictures == 0:
            return None
        cuts = self._cuts.get((live.name, pictures))
        if cuts is None:
            chances = self._chances.get(live.name)
            if chances is None or pictures <= _CHANCE_SAMPLE:
                log_odds = self.calibration.of_background(self._sample(live.name, _CHANCE_SAMPLE))
                chances = measure_chances(log_odds, self.calibration.background_words)
                self._chances = {live.name: chances}
            cuts = chances.cuts(pictures)
            self._cuts = {(live.name, pictures): cuts}
        return cuts

    # The parts of a request

    def _is_hybrid(self, request: Request, live: LiveCollection) -> bool:
        if request.hybrid is not None:
            return request.hybrid
        if request.sort is not None or request.diversity is not None:
            return False
        return any(isinstance(part, Text) for part in request.parts) and live.is_captioned

    def _vector_of(self, part: Part, examples: dict[str, Example]) -> PartVector:
        match part:
            case Text():
                vector, weight = self._describe(part)
                return PartVector(vector, self.calibration.of(part.text), weight, part.excluded)
            case Like():
                vector = examples[part.image_id].vector
            case Upload():
                vector = self._uploaded(part)
        return PartVector(vector, self._picture_calibration, part.weight, part.excluded)

    def _describe(self, text: Text) -> tuple[NDArray[np.float32], float]:
        """The embedding of the description, with what its weighted phrases add or take away, and
        its weight among the parts: 'dog^2' has twice the weight of 'dog'."""
        whole = self.texts.embed(text.text)
        weighted = [phrase for phrase in text.phrases if phrase.weight != 1]
        if not weighted:
            return whole, 1.0
        vectors = [whole, *(self.texts.embed(phrase.text) for phrase in weighted)]
        return weighted_sum(vectors, [1.0, *(phrase.weight - 1 for phrase in weighted)])

    def _uploaded(self, upload: Upload) -> NDArray[np.float32]:
        if len(upload.data) > MAX_UPLOAD_BYTES:
            raise QueryError(
                f"{upload.name} has {len(upload.data) / 2**20:.0f} MiB, "
                f"a query picture at most {MAX_UPLOAD_BYTES // 2**20}"
            )
        try:
            picture = decode_image(
                upload.data,
                reduce_to=self._encoder.info.image.longest_side,
                max_megapixels=self._max_megapixels,
            )
            vector: NDArray[np.float32] = self._encoder.encode_images([picture.image])[0]
        except ImageError as error:
            raise QueryError(f"{upload.name}: {error}") from None
        except MemoryError:
            raise QueryError(f"{upload.name}: {out_of_memory()}") from None
        return vector

    def _new_words(self, request: Request) -> list[str]:
        """Says which words the encoder cannot know, where the pictures are like those it knows."""
        vocabulary = self.calibration.vocabulary
        if vocabulary is None or self.calibration.familiarity < _FAMILIAR:
            return []
        new = [word for part in request.descriptions for word in vocabulary.new_in(part.text)]
        if not new:
            return []
        words = ", ".join(f"'{word}'" for word in new[:_NEW_WORDS_NAMED])
        are = "is a word" if len(new) == 1 else "are words"
        return [f"{words} {are} that this search has not learned: it may find something else"]

    # The ranking

    def _nearest(
        self, live: LiveCollection, request: Request, parts: Sequence[PartVector], where: Filter
    ) -> Nearest | None:
        """The pictures nearest to the request; None where it only says what must not be seen.

        What is unlike something cannot be ranked: the pictures least like 'people' are no answer
        to '-people'. All that do not show them are.
        """
        if all(part.excluded for part in parts):
            return None
        query = combine(parts)
        rank_by = self._rank_by(live, request, query)
        ask = Ask(query.vector, 0, where, exact=request.exact, rank_by=rank_by)
        return Nearest(live, query, ask)

    def _with_written(
        self, live: LiveCollection, request: Request, nearest: Nearest | None
    ) -> Nearest | None:
        """The same with the pictures that the words of the request are written in, where it asks
        in words alone and for no other order."""
        in_words = [part for part in request.parts if not part.excluded]
        if (
            nearest is None
            or not live.has_text
            or len(in_words) != len(request.descriptions)
            or request.diversity
            or request.right
        ):
            return nearest
        asked = AskedWords.of(request)
        text = " ".join(asked.words)
        ask = replace(nearest.ask, limit=LOOKED_AT, payload=None, rank_by=Written(text))
        query = nearest.query
        found: list[Candidate] = []
        for point in live.store.search(live.name, ask):
            if added := asked.log_odds(point.payload):
                own = float(query.log_odds(np.array([point.score], np.float32))[0])
                relevance = _probability(max(own, LEAST_ODDS) + added)
                if added <= A_WORD and asked.is_a_word:
                    # What shows the thing, even in part, stays in front of its name.
                    relevance = max(_probability(own), min(relevance, PARTIAL))
                if request.default_cut and asked.are_written(point.payload):
                    # Found in any case, if need be as the last: 'invoice' shows nothing else.
                    relevance = max(relevance, request.min_relevance)
                found.append(Candidate(point, relevance, (-point.score, point.image_id)))
        best_first = sorted(found, key=lambda one: (-one.relevance, one.key))
        return replace(nearest, written=best_first)

    def _rank_by(self, live: LiveCollection, request: Request, query: QueryVector) -> RankBy:
        if request.right:
            found = seen(self._store, live.name, request.right, request.scope, with_vectors=True)
            vectors = [point.vector for point in found.values() if point.vector is not None]
            return Examples(right=vectors, weight=_QUERY_WEIGHT)
        if request.diversity:
            return Diverse(request.diversity)
        if request.hybrid and request.descriptions:
            return Hybrid(" ".join(part.text for part in request.descriptions))
        # Corrected for requests that are descriptions alone.
        if self.hub_penalty is not None and len(request.descriptions) == len(request.parts):
            penalty, share = self.hub_penalty, query.surplus_slope / query.slope
            if share == 0:
                return Rescored(penalty)
            return Rescored(lambda pictures: share * penalty(pictures))
        return Cosine()


def shows_from(calibration: Calibration) -> float:
    """The relevance from which a picture confidently shows a subtracted part."""
    from_ = _SHOWS_FROM if calibration.contrast is None else _SHOWS_FROM_BY_CONTRAST
    return _probability(calibration.stretched(from_))


def _probability(log_odds: float) -> float:
    return float(probability(np.array(log_odds)))


def _exclude(
    live: LiveCollection,
    request: Request,
    parts: Sequence[PartVector],
    examples: dict[str, Example],
    where: Filter,
) -> tuple[Filter, int, list[str]]:
    """The filter that also leaves out what confidently shows an excluded part; how many these
    are; notices.

    The examples that the request names are left out too: whoever asks knows them.
    """
    named = {point.image_id for point in examples.values()}
    showing: set[str] = set()
    notices: list[str] = []
    for part in parts:
        if part.excluded:
            query = combine([replace(part, excluded=False)])
            nearest = Nearest(live, query, Ask(query.vector, 0, where))
            found, complete = nearest.relevant(shows_from(part.calibration))
            showing.update(candidate.point.image_id for candidate in found)
            if not complete:
                notices.append(
                    f"only the {MAX_RELEVANT} pictures that most show what is subtracted "
                    "are left out"
                )
    left_out = showing | named | set(request.wrong)
    if left_out:
        where = (*where, Not(OneOf("image_id", tuple(sorted(left_out)))))
    return where, len(showing - named), notices


def _is_written(request: Request, nearest: Nearest) -> bool:
    """Whether all words of the request stand in a picture: then there is something to be found."""
    asked = AskedWords.of(request)
    return any(asked.are_written(one.point.payload) for one in nearest.written)


def _wrong(live: LiveCollection, request: Request, nearest: Nearest | None) -> list[ScoredPoint]:
    """The pictures called wrong, scored as if they were found, so that their duplicates are
    known."""
    if not (request.collapse and request.wrong):
        return []
    found = seen(live.store, live.name, request.wrong, request.scope, with_vectors=True)
    return [
        ScoredPoint(
            point.image_id,
            float(point.vector @ nearest.query.vector)
            if nearest is not None and point.vector is not None
            else 0.0,
            point.payload,
        )
        for point in found.values()
    ]


def _hits(
    live: LiveCollection, groups: Sequence[Group], start: int, *, compared: bool
) -> tuple[Hit, ...]:
    payloads = {found.point.image_id: found.point.payload for found, _ in groups}
    bare = [image_id for image_id, payload in payloads.items() if "path" not in payload]
    if bare:
        whole = live.store.retrieve(live.name, bare)
        payloads |= {image_id: point.payload for image_id, point in whole.items()}
    presence = live.presence()
    return tuple(
        Hit(
            rank=rank,
            image_id=found.point.image_id,
            path=str(payloads[found.point.image_id].get("path", "")),
            score=found.point.score if compared else None,
            relevance=found.relevance if compared else None,
            payload=payloads[found.point.image_id],
            duplicates=duplicates,
            offline=presence.offline(str(payloads[found.point.image_id].get("path", ""))),
        )
        for rank, (found, duplicates) in enumerate(groups, start=start + 1)
    )
