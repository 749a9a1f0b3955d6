"""What there is: `/v1/libraries`, `/v1/fields`, `/v1/encoders`, and whether the server works."""

from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scenesearch.encoder.registry import list_encoders
from scenesearch.errors import SceneSearchError
from scenesearch.runtime.events import LOGGER
from scenesearch.search.grammar import parse_facet
from scenesearch.search.request import QueryError, Request
from scenesearch.store.fields import PayloadField, by_name
from scenesearch.store.filters import Has
from serve.changes import is_writable
from serve.keys import LOCAL, Caller
from serve.libraries import Libraries
from serve.models import (
    MAX_LISTED,
    EncoderInfo,
    EncodersAnswer,
    FacetCount,
    FieldInfo,
    FieldName,
    FieldsAnswer,
    Health,
    LibrariesAnswer,
    LibraryInfo,
    LibraryName,
    ValuesAnswer,
)
from serve.problems import Refused, come_back
from serve.service import Admin, Here, Reader

router = APIRouter(tags=["what there is"])

_ORDERED = ["has", ":", ":>", ":>=", ":<", ":<=", ".."]
_OPERATORS = {
    "keyword": ["has", ":", "="],
    "text": ["has", ":"],
    "boolean": ["has", ":"],
    "integer": _ORDERED,
    "float": _ORDERED,
    "datetime": _ORDERED,
    "geo": ["has", "near", "within"],
}
_COUNTABLE = ("keyword", "integer", "boolean")


@router.get("/v1/libraries")
async def libraries(caller: Reader, here: Here) -> LibrariesAnswer:
    """The libraries that the key may see, with the number of pictures that it may see."""
    may_write = caller.may("write") and not here.settings.api_read_only
    return await here.workers.run(_libraries, here.libraries, caller, may_write=may_write)


@router.get("/v1/fields")
async def fields(caller: Reader, here: Here, library: LibraryName | None = None) -> FieldsAnswer:
    """What pictures can be filtered, sorted and counted by, with types and operators."""
    return await here.workers.run(_fields, here.libraries, caller, library)


@router.get("/v1/values")
async def values(
    caller: Reader,
    here: Here,
    field: FieldName,
    library: LibraryName | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
) -> ValuesAnswer:
    """What a countable field holds, to filter by: the most frequent values first."""

    def look() -> ValuesAnswer:
        opened = here.libraries.open(caller, library)
        name = parse_facet(field, opened.fields)
        Request(facets=(name,), where=(Has(name),)).check(opened.spec)
        if by_name(opened.fields)[name].type == "datetime":
            raise QueryError(f"{name} is a date: /v1/search counts its months or years, as a facet")
        scope = opened.scope(caller)
        counted = opened.store.facet(opened.collection, name, where=scope, limit=limit)
        counts = [FacetCount(value=value, count=count) for value, count in counted]
        return ValuesAnswer(library=opened.name, field=name, values=counts)

    return await here.workers.run(look)


@router.get("/v1/encoders")
async def encoders(caller: Reader, here: Here) -> EncodersAnswer:
    """The encoders of this server, and which libraries use them."""
    return await here.workers.run(_encoders, here.libraries, caller)


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz")
async def readyz(here: Here) -> Health:
    """Store, encoder and library answer; while the server is being stopped they do not."""
    if here.is_stopping:
        raise come_back(HTTPStatus.SERVICE_UNAVAILABLE, "the server is being stopped")
    try:
        missing = await here.workers.run(_check_ready, here.libraries)
    except SceneSearchError as error:
        LOGGER.warning("not ready: %s", error, extra={"event": "ready"})
        # Everybody may ask this: the log alone names what is there.
        raise come_back(
            HTTPStatus.SERVICE_UNAVAILABLE, "store, encoder or library do not answer"
        ) from None
    if missing is not None:
        LOGGER.warning("not ready: there is no library %s", missing, extra={"event": "ready"})
        raise come_back(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"this server is for library {missing!r}, which does not exist yet",
        )
    return Health()


@router.get("/metrics", response_class=Response)
async def metrics(caller: Admin) -> Response:
    """Figures for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _libraries(libraries: Libraries, caller: Caller, *, may_write: bool) -> LibrariesAnswer:
    found: list[LibraryInfo] = []
    for name, spec in libraries.described(caller):
        # Without a filter no encoder is loaded for it.
        scope = libraries.open(caller, name).scope(caller) if caller.where else ()
        pictures = libraries.store.count(name, where=scope)
        found.append(
            LibraryInfo(
                name=name,
                pictures=pictures,
                encoder=spec.encoder,
                dimension=spec.dimension,
                default=name == libraries.default,
            )
        )
    return LibrariesAnswer(
        libraries=found,
        version=version("scenesearch"),
        max_limit=libraries.installation.settings.api_max_limit,
        may_write=may_write,
    )


def _fields(libraries: Libraries, caller: Caller, asked: str | None) -> FieldsAnswer:
    opened = libraries.open(caller, asked)
    given = libraries.installation.settings.min_relevance
    return FieldsAnswer(
        library=opened.name,
        fields=[_field(one) for one in opened.fields],
        min_relevance=opened.searcher.default_cut() if given is None else given,
    )


def _field(field: PayloadField) -> FieldInfo:
    return FieldInfo(
        name=field.name,
        type=field.type,
        label=field.label,
        help=field.help,
        multiple=field.multiple,
        hierarchical=field.hierarchical,
        operators=_OPERATORS[field.type],
        sortable=field.type != "geo",
        countable=field.type in _COUNTABLE,
        writable=is_writable(field),
    )


def _encoders(libraries: Libraries, caller: Caller) -> EncodersAnswer:
    users: dict[str, list[str]] = {}
    for name, spec in libraries.described(caller):
        users.setdefault(spec.fingerprint, []).append(name)
    return EncodersAnswer(
        encoders=[
            EncoderInfo(
                name=entry.name,
                place=entry.place,
                dimension=entry.info.dimension if entry.info else None,
                mb=entry.megabytes,
                libraries=users.get(entry.info.fingerprint, []) if entry.info else [],
                broken=entry.info is None,
            )
            for entry in list_encoders(libraries.installation.settings.models_dir)
        ]
    )


def _check_ready(libraries: Libraries) -> str | None:
    """Ask all that must answer; returns the name of a library that is not there."""
    libraries.store.health()
    for name in libraries.named or (libraries.default,):
        try:
            opened = libraries.open(LOCAL, name)
        except Refused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise
            return name
        opened.encoder.encode_texts(["ready"])
        libraries.store.count(opened.collection)
    return None
