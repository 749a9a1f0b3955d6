"""A library of an API server in the place of one of this machine: it is read, searched and marked
by the same calls, and neither a store nor an encoder is opened here."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, time
from importlib.metadata import version
from pathlib import PurePosixPath
from time import monotonic
from typing import Any, Unpack
from urllib.parse import quote

import numpy as np
from PIL.Image import Image

from scenesearch.pictures.originals import OriginalError, OriginalState
from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.facets import Facets
from scenesearch.search.grammar import parse, parse_where
from scenesearch.search.request import QueryError, Request, RequestFilter, Upload
from scenesearch.search.searcher import Options
from scenesearch.search.why import HeatMap, Why, WordEffect
from scenesearch.store.base import CollectionMissing, CollectionSpec, Point
from scenesearch.store.fields import BUILTIN_FIELDS, PayloadField, by_name, custom_fields
from scenesearch.store.filters import (
    AllOf,
    AnyOf,
    Condition,
    Filter,
    Has,
    HasWords,
    Not,
    OneOf,
    Range,
    Within,
)
from scenesearch.store.written import WrittenLine
from ui.api_client import ApiClient, ApiError, ApiMissingError, ApiVersionError

# For so long a library is taken to be as it was; the server does so too.
_FRESH_S = 2.0

# Of one request; the server takes a thousand ids, but an address of some kilobytes.
_MOST_LISTED = 1000
_MOST_ID_CHARACTERS = 6000

# Before all dates of pictures.
_LONG_AGO = datetime(1, 1, 2)

_SIGNS = {"at_least": ">=", "at_most": "<=", "above": ">", "below": "<"}


@dataclass(frozen=True)
class Description:
    """What the server says of the library, and of what it allows."""

    pictures: int
    encoder: str
    dimension: int
    fields: tuple[PayloadField, ...]
    min_relevance: float
    max_limit: int
    may_write: bool


class ApiLibrary:
    """One library of a server. Threads may share it."""

    def __init__(self, client: ApiClient, name: str) -> None:
        self.client = client
        self.name = name
        self._described: tuple[Description, float] | None = None
        self._away: set[str] = set()

    def describe(self) -> Description:
        """What is known of it, at most two seconds old; raises CollectionMissing."""
        # Without a lock: where the server does not answer, visitors must not wait in a row.
        kept = self._described
        if kept is None or monotonic() - kept[1] > _FRESH_S:
            kept = self._described = self._read(), monotonic()
        return kept[0]

    def _read(self) -> Description:
        there = self.client.get("/v1/libraries")
        with self.reading():
            self._check_version(str(there["version"]))
            libraries = {str(one["name"]): one for one in there["libraries"]}
        if self.name not in libraries:
            raise CollectionMissing(self.name, libraries, at=self.client.url)
        known = self.client.get("/v1/fields", {"library": self.name})
        with self.reading():
            mine = libraries[self.name]
            return Description(
                pictures=int(mine["pictures"]),
                encoder=str(mine["encoder"]),
                dimension=int(mine["dimension"]),
                fields=tuple(map(_field, known["fields"])),
                min_relevance=float(known["min_relevance"]),
                max_limit=int(there["max_limit"]),
                may_write=bool(there["may_write"]),
            )

    def _check_version(self, theirs: str) -> None:
        """Raise ApiVersionError where answers may mean something else."""
        ours = version("scenesearch")
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            raise ApiVersionError(
                f"the API server {self.client.url} is scenesearch {theirs}, this page is {ours}: "
                "run the same version of both"
            )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While an answer is read: one of another form is of another version."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self.client.not_understood(f"{type(error).__name__}: {error}") from None

    # --- pictures

    def pictures(
        self,
        filters: Sequence[RequestFilter],
        *,
        limit: int,
        ids: Sequence[str] = (),
        keys: Sequence[str] = (),
        after: str | None = None,
    ) -> tuple[list[Point], int, str | None]:
        """Pictures that pass the filters, how many do, and the cursor of those that follow."""
        asked = {
            "library": self.name,
            "where": " ".join(map(str, filters)),
            "limit": limit,
            "id": list(ids),
            "field": list(keys),
        }
        found = self.client.get("/v1/images", asked | ({"after": after} if after else {}))
        with self.reading():
            return [self._point(one) for one in found["images"]], found["pictures"], found["next"]

    def _point(self, image: Mapping[str, Any]) -> Point:
        payload = dict(image["payload"])
        self.note(str(image["path"]), offline=bool(image["offline"]))
        return Point(str(image["image_id"]), None, payload)

    def note(self, path: str, *, offline: bool) -> None:
        """Keep whether the original of this path is away, as an answer has just said."""
        (self._away.add if offline else self._away.discard)(path)

    def offline(self, path: str) -> bool:
        """Whether the original was away when an answer last told of the picture."""
        return path in self._away

    def thumbnail(self, image_id: str) -> bytes | None:
        """JPEG of at most 320 pixels a side; None where there is none."""
        try:
            return self.client.data(self.path_of(image_id, "thumbnail"), self._named).content
        except ApiMissingError:
            return None

    @property
    def _named(self) -> dict[str, str]:
        return {"library": self.name}

    @staticmethod
    def path_of(image_id: str, what: str) -> str:
        return f"/v1/images/{quote(image_id)}/{what}"

    def encoders(self) -> list[dict[str, Any]]:
        """The encoders of the server, each as a row of a table."""
        found = self.client.get("/v1/encoders")
        with self.reading():
            return [
                {
                    "encoder": str(one["name"]),
                    "dimension": one["dimension"],
                    "MB": one["mb"],
                    "libraries": ", ".join(one["libraries"]),
                }
                for one in found["encoders"]
            ]

    # --- marks

    def marks_of(self, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The pictures called right for the text, and those called wrong."""
        found = self.client.get("/v1/feedback", {"library": self.name, "q": text})
        with self.reading():
            return tuple(map(str, found["right"])), tuple(map(str, found["wrong"]))

    def mark(self, text: str, image_id: str, mark: str) -> None:
        """Call the picture right or wrong for the text, or none of both."""
        body = {"library": self.name, "text": text, "images": [image_id], "mark": mark}
        self.client.post("/v1/feedback", body)


def _field(told: Mapping[str, Any]) -> PayloadField:
    """The field with the page's own widget for it."""
    name, kind = str(told["name"]), told["type"]
    usual = by_name((*BUILTIN_FIELDS, *custom_fields({name: kind})))[name]
    return PayloadField(
        name,
        kind,
        label=str(told["label"]),
        help=str(told["help"]),
        multiple=bool(told["multiple"]),
        hierarchical=bool(told["hierarchical"]),
        widget=usual.widget if usual.type == kind else "none",
    )


# --- filters -----------------------------------------------------------------------------------


def as_written(where: Filter, fields: Sequence[PayloadField]) -> tuple[RequestFilter, ...]:
    """Conditions of the page's widgets as filters that have a written form."""
    return parse_where([_tree(one) for one in where], fields)


def _tree(condition: Condition) -> dict[str, Any]:
    """The condition as `--where` takes it from programs."""
    match condition:
        case OneOf(field=name, values=values):
            return {"field": name, "operator": "=", "value": list(values)}
        case HasWords(field=name, words=words):
            return {"field": name, "value": words}
        case Has(field=name):
            return {"field": "has", "value": name}
        case Within(field=name):
            box = [condition.south, condition.west, condition.north, condition.east]
            return {"field": name, "value": box}
        case Range(field=name):
            ends = [
                {"field": name, "operator": sign, "value": _written_end(end)}
                for bound, sign in _SIGNS.items()
                if (end := getattr(condition, bound)) is not None
            ]
            return {"and": ends}
        case Not(condition=inner):
            return {"not": _tree(inner)}
        case AllOf(conditions=conditions):
            return {"and": [_tree(one) for one in conditions]}
        case AnyOf(conditions=conditions):
            return {"or": [_tree(one) for one in conditions]}
    raise QueryError(f"a server cannot be asked for {type(condition).__name__}")


def _written_end(end: float | datetime) -> float | str:
    """The page's dates are whole days."""
    if not isinstance(end, datetime):
        return end
    return (end.date() if end.time() == time.min else end).isoformat()


# --- reading -----------------------------------------------------------------------------------


class ApiStore:
    """What the page reads of a store, asked of the server. There is one library, under one name:
    the server says which collection is live."""

    def __init__(self, library: ApiLibrary) -> None:
        self.library = library

    def describe(self, name: str) -> CollectionSpec:
        known = self.library.describe()
        return CollectionSpec(self.library.name, known.encoder, "", known.dimension, known.fields)

    def resolve(self, name: str) -> str:
        return name

    def health(self) -> str:
        self.library.client.get("/healthz")
        return f"API server {self.library.client.url}"

    def count(self, name: str, *, where: Filter = ()) -> int:
        if not where:
            return self.library.describe().pictures
        return self.library.pictures(self._filters(where), limit=0)[1]

    def retrieve(self, name: str, image_ids: Sequence[str]) -> dict[str, Point]:
        found: dict[str, Point] = {}
        for some in _portions(image_ids):
            points, _, _ = self.library.pictures((), limit=len(some), ids=some)
            found |= {point.image_id: point for point in points}
        return found

    def scroll(
        self,
        name: str,
        *,
        where: Filter = (),
        payload: Sequence[str] | None = None,
        batch_size: int = _MOST_LISTED,
        after: str | None = None,
    ) -> Iterator[Point]:
        filters, limit = self._filters(where), min(batch_size, _MOST_LISTED)
        # Without any key the server gives all.
        keys = () if payload is None else tuple(payload) or ("image_id",)
        while True:
            points, _, after = self.library.pictures(filters, limit=limit, keys=keys, after=after)
            yield from points
            if after is None:
                return

    def facet(self, name: str, field: str, *, limit: int = 100) -> list[tuple[Any, int]]:
        asked = {"library": self.library.name, "field": field, "limit": limit}
        found = self.library.client.get("/v1/values", asked)
        with self.library.reading():
            return [(one["value"], one["count"]) for one in found["values"]]

    def _filters(self, where: Filter) -> tuple[RequestFilter, ...]:
        return as_written(where, self.library.describe().fields) if where else ()

    def close(self) -> None:
        self.library.client.close()


def _portions(image_ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids in turn, so many at a time as an address takes."""
    some: list[str] = []
    characters = 0
    for image_id in dict.fromkeys(image_ids):
        length = len(quote(image_id)) + len("&id=")
        if some and (characters + length > _MOST_ID_CHARACTERS or len(some) == _MOST_LISTED):
            yield some
            some, characters = [], 0
        some.append(image_id)
        characters += length
    if some:
        yield some


# --- searching ---------------------------------------------------------------------------------


class ApiSearcher:
    """Answers requests as `Searcher` does, by asking the server."""

    def __init__(self, library: ApiLibrary) -> None:
        self._library = library

    @property
    def fields(self) -> tuple[PayloadField, ...]:
        return self._library.describe().fields

    def default_cut(self) -> float:
        return self._library.describe().min_relevance

    def search(self, request: Request | str, **options: Unpack[Options]) -> SearchResult:
        """As many hits as are asked for, in as many answers as the server needs for them."""
        request = parse(request, self.fields) if isinstance(request, str) else request
        request = replace(request, **options)
        most = self._library.describe().max_limit
        result = self._ask(request, min(request.k, most))
        while result.next is not None and (missing := request.k - len(result.hits)) > 0:
            more = self._ask(replace(request, after=result.next), min(missing, most))
            result = replace(result, hits=(*result.hits, *more.hits), next=more.next)
        return result

    def count_values(
        self, request: Request, **options: Unpack[Options]
    ) -> tuple[Facets, tuple[str, ...]]:
        """The counts of the request's facets in its whole answer, and notices. An empty request
        counts in the library."""
        request = replace(request, **options)
        if not request.is_empty:
            result = self._ask(request, 1)
            return result.facets, result.notices
        # The server answers no empty request: it lists values, and counts dates of what has one.
        fields, facets = by_name(self.fields), {}
        for name in request.facets:
            if fields[name].type == "datetime":
                dated = Request(where=(Range(name, at_least=_LONG_AGO),), facets=(name,))
                facets[name] = self._ask(dated, 1).facets[name]
            else:
                facets[name] = tuple(ApiStore(self._library).facet(self._library.name, name))
        return facets, ()

    def count(self, request: Request) -> int:
        filters = (*request.filters, *as_written(request.where, self.fields))
        return self._library.pictures(filters, limit=0)[1] if filters else self._all()

    def _all(self) -> int:
        return self._library.describe().pictures

    def passed_by_none(self, where: Filter) -> list[str]:
        if not where:
            return []
        result = self._ask(Request(where=where), 1)
        return [] if result.hits else list(result.notices)

    def why(self, request: Request, image_id: str, image: Image) -> Why:
        """What each word adds, and where in the picture it is seen; the server has the picture."""
        if any(isinstance(part, Upload) for part in request.parts):
            raise QueryError("the API server explains requests in words alone")
        asked = {"library": self._library.name, "q": self._text_of(request), "heat": True}
        found = self._library.client.get(self._library.path_of(image_id, "why"), asked)
        with self._library.reading():
            heat = None
            if found["heat"] is not None:
                left, top, right, bottom = found["heat_box"]
                cells = np.asarray(found["heat"], np.float32)
                heat = HeatMap(cells, (left, top, right, bottom))
            words = tuple(WordEffect(one["word"], one["effect"]) for one in found["words"])
            lines = tuple(
                WrittenLine(one["line"], tuple(one["box"]), one["confidence"])
                for one in found["text"]
            )
            return Why(image_id, found["relevance"], words, heat, found["more_words"], lines)

    def _text_of(self, request: Request) -> str:
        """The text that the server reads as the request's parts and filters, less uploads; as it
        was written where that is the same."""
        own = tuple(part for part in request.parts if not isinstance(part, Upload))
        with suppress(QueryError):  # of a field that the page hides
            read = parse(request.text, self.fields)
            if (read.parts, read.filters) == (own, request.filters):
                return request.text
        return str(replace(request, parts=own))

    def _ask(self, request: Request, limit: int) -> SearchResult:
        library, text = self._library, self._text_of(request)
        uploads = [part for part in request.parts if isinstance(part, Upload)]
        body = {
            "library": library.name,
            "text": text,
            "parts": [_upload(part) for part in uploads],
            "where": " ".join(map(str, as_written(request.where, self.fields))),
            "sort": None if request.sort is None else str(request.sort),
            "limit": limit,
            "after": request.after,
            "facets": list(request.facets),
            "diversity": request.diversity,
            "min_relevance": None if request.default_cut else request.min_relevance,
            "hybrid": request.hybrid,
            "right": list(request.right),
            "wrong": list(request.wrong),
        }
        found = library.client.post("/v1/search", body)
        with library.reading():
            notices = tuple(map(str, found["notices"]))
            unsaid = tuple(one for one in request.notices if one not in notices)
            return SearchResult(
                query=request.text or str(request),
                encoder=found["encoder"],
                library=library.name,
                hits=tuple(map(self._hit, found["hits"])),
                partial=tuple(map(self._hit, found["partial"])),
                next=found["next"],
                notices=(*unsaid, *notices),
                facets={
                    name: tuple((one["value"], one["count"]) for one in counts)
                    for name, counts in found["facets"].items()
                },
                excluded=found["excluded"],
                min_relevance=found["min_relevance"],
                encode_ms=found["timing_ms"]["encode"],
                search_ms=found["timing_ms"]["search"],
                total_ms=found["timing_ms"]["total"],
            )

    def _hit(self, told: Mapping[str, Any]) -> Hit:
        self._library.note(str(told["path"]), offline=bool(told["offline"]))
        return Hit(
            rank=told["rank"],
            image_id=told["image_id"],
            path=told["path"],
            score=told["score"],
            relevance=told["relevance"],
            payload=told["payload"],
            duplicates=tuple(told["copies"]),
            offline=told["offline"],
        )


def _upload(part: Upload) -> dict[str, Any]:
    data = base64.b64encode(part.data).decode()
    return {"data": data, "weight": part.weight, "exclude": part.excluded}


# --- originals ---------------------------------------------------------------------------------

_WHOLE_SIZE = re.compile(r"bytes \d+-\d+/(\d+)")


@dataclass(frozen=True)
class ApiOriginal:
    """The original of a picture, which the server opens; `path` is where it lies there."""

    library: ApiLibrary
    image_id: str
    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    def state(self) -> OriginalState:
        return OriginalState(self._part(0, 1)[1])

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        if length is not None:
            return self._part(start, length)[0]
        return self._get({} if not start else {"Range": f"bytes={start}-"})[0]

    def _part(self, start: int, length: int) -> tuple[bytes, int]:
        """So many bytes, and how many the file has."""
        return self._get({"Range": f"bytes={start}-{start + max(length, 1) - 1}"})

    def _get(self, headers: Mapping[str, str]) -> tuple[bytes, int]:
        asked = {"library": self.library.name}
        path = self.library.path_of(self.image_id, "original")
        try:
            response = self.library.client.data(path, asked, headers)
        except ApiMissingError as error:
            raise OriginalError(str(error)) from None
        except ApiError as error:
            raise OriginalError(str(error), transient=True) from None
        data = response.content
        whole = _WHOLE_SIZE.fullmatch(response.headers.get("Content-Range", ""))
        return data, int(whole[1]) if whole else len(data)
