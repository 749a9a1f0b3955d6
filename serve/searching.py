"""From a request of the API to a request of the core, and its answer."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus

from scenesearch.search.grammar import parse_facet, parse_order, parse_where
from scenesearch.search.request import (
    MAX_PARTS,
    Like,
    Part,
    Phrase,
    QueryError,
    Request,
    RequestFilter,
    Text,
    Upload,
    field_filters,
)
from scenesearch.store.base import StoreError
from scenesearch.store.conditions import checked
from serve.keys import Caller
from serve.libraries import Libraries, OpenLibrary
from serve.models import PicturePart, SearchAnswer, SearchRequest, TextPart, UploadPart, Where
from serve.problems import Refused


def search(libraries: Libraries, caller: Caller, asked: SearchRequest) -> SearchAnswer:
    """The answer to a request, of the pictures that the caller may see."""
    most = libraries.installation.settings.api_max_limit
    if asked.limit > most:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"limit: {asked.limit} hits are asked for, this server gives at most {most}; the next "
            "ones come with `after`",
        )
    library = libraries.open(caller, asked.library)
    min_relevance = asked.min_relevance
    if min_relevance is None:
        min_relevance = libraries.installation.settings.min_relevance
    found = library.searcher.search(
        request_of(asked, library),
        scope=library.scope(caller),
        k=asked.limit,
        after=asked.after,
        min_relevance=min_relevance or 0.0,
        default_cut=min_relevance is None,
        collapse=True,
        diversity=asked.diversity,
        hybrid=asked.hybrid,
        right=tuple(asked.right),
        wrong=tuple(asked.wrong),
        facets=tuple(parse_facet(name, library.fields) for name in asked.facets),
    )
    return SearchAnswer.model_validate(found.to_json())


def request_of(asked: SearchRequest, library: OpenLibrary) -> Request:
    """What is looked for, and the filters; raises QueryError."""
    request = library.searcher.parse(asked.text)
    parts = (*request.parts, *map(_part, asked.parts))
    if len(parts) > MAX_PARTS:
        raise QueryError(f"the request has {len(parts)} parts, at most {MAX_PARTS} are taken")
    _check(request.filters, library)
    return replace(
        request,
        parts=parts,
        filters=(*request.filters, *filters_of(asked.where, library)),
        sort=None if asked.sort is None else parse_order(asked.sort, library.fields),
    )


def filters_of(where: Where, library: OpenLibrary) -> tuple[RequestFilter, ...]:
    """The filters that `where` asks for, in whichever form; raises QueryError."""
    given = where if isinstance(where, list) else [where]
    filters = parse_where(
        [
            one if isinstance(one, str) else one.model_dump(by_alias=True)
            for one in given
            if not isinstance(one, str) or one.strip()
        ],
        library.fields,
    )
    _check(filters, library)
    return filters


def _check(filters: Sequence[RequestFilter], library: OpenLibrary) -> None:
    """Raise QueryError for what the store would refuse: its other errors are the server's."""
    for one in field_filters(filters):
        if one.condition is not None:
            try:
                deque(checked((one.condition,), library.spec), maxlen=0)
            except StoreError as error:
                raise QueryError(f"{one}: {error}") from None


def _part(part: TextPart | PicturePart | UploadPart) -> Part:
    match part:
        case TextPart():
            words = " ".join(part.text.split())
            if not words:
                raise QueryError("a part of the request has no words")
            return Text((Phrase(words, part.weight),), part.exclude)
        case PicturePart():
            return Like(part.id, part.weight, part.exclude)
        case UploadPart():
            return Upload(part.data, weight=part.weight, excluded=part.exclude)
