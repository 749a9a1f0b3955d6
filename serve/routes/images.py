"""`/v1/images`: what is known of pictures, their bytes, and changes."""

import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import islice
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse

from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.search.presence import Presence
from scenesearch.search.request import QueryError, Request
from scenesearch.search.why import why
from scenesearch.store.base import Point, StoreError
from scenesearch.store.filters import OneOf
from scenesearch.store.payload import key_path
from serve.changes import change, remove
from serve.keys import Caller
from serve.libraries import OpenLibrary
from serve.models import (
    MAX_LISTED,
    FieldName,
    ImageAnswer,
    ImageChange,
    ImageId,
    ImagesAnswer,
    LibraryName,
    WhyAnswer,
)
from serve.models import Text as QueryText
from serve.pictures import CHUNK_BYTES, OpenOriginal, byte_range, open_original, thumbnail
from serve.problems import come_back, not_found
from serve.routes.search import etag_matches
from serve.searching import filters_of
from serve.service import Here, Reader, Service, Writer

router = APIRouter(tags=["pictures"])

Id = Annotated[ImageId, InPath(description="The id of the picture, with its slashes.")]

_BYTES = {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
_UNCHANGED = {"description": "The picture has not changed."}

# A thumbnail belongs to a content, but the right to see it may end.
_CACHED = {"Cache-Control": "private, max-age=3600", "Vary": "Authorization"}


@router.get(
    "/v1/images/{image_id:path}/thumbnail",
    response_class=Response,
    responses={200: _BYTES, 304: _UNCHANGED},
)
async def image_thumbnail(
    image_id: Id,
    caller: Reader,
    here: Here,
    library: LibraryName | None = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A JPEG of at most 320 pixels a side."""

    def read() -> tuple[str, bytes | None]:
        opened = here.libraries.open(caller, library)
        point = opened.picture(image_id, opened.scope(caller))
        etag = f'"{point.payload.get("sha256", "")}"'
        return etag, None if etag_matches(if_none_match, etag) else thumbnail(opened, point)

    etag, data = await here.workers.run(read)
    headers = {"ETag": etag, **_CACHED}
    if data is None:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="image/jpeg", headers=headers)


@router.get(
    "/v1/images/{image_id:path}/original",
    response_class=Response,
    responses={
        200: _BYTES,
        206: {"description": "The part that Range asks for.", **_BYTES},
        304: _UNCHANGED,
    },
)
async def image_original(
    image_id: Id,
    caller: Reader,
    here: Here,
    library: LibraryName | None = None,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The file of the picture as it is, or a part of it. Only files below folders that were
    ingested here are opened."""

    def look() -> OpenOriginal:
        opened = here.libraries.open(caller, library)
        return open_original(opened, opened.picture(image_id, opened.scope(caller)))

    found = await here.workers.run(look)
    name = quote(found.original.name.encode("utf-8", "replace"), safe="")
    headers = {
        "ETag": found.etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"{'inline' if found.is_shown else 'attachment'}; "
        f"filename*=UTF-8''{name}",
        **_CACHED,
    }
    if etag_matches(if_none_match, found.etag):
        return Response(status_code=304, headers=headers)
    part = None
    if if_range is None or if_range == found.etag:
        part = byte_range(range_, found.size_bytes)
    start, length = part or (0, found.size_bytes)
    headers["Content-Length"] = str(length)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{found.size_bytes}"
    return StreamingResponse(
        _chunks(here, found, start, length),
        status_code=200 if part is None else 206,
        media_type=found.media_type,
        headers=headers,
    )


async def _chunks(
    here: Service, found: OpenOriginal, start: int, length: int
) -> AsyncIterator[bytes]:
    """The bytes, a part at a time. An error ends the connection: the client sees that less came
    than was said."""
    for at in range(start, start + length, CHUNK_BYTES):
        size = min(CHUNK_BYTES, start + length - at)
        yield await here.workers.run(found.original.read, at, size)


@router.get("/v1/images/{image_id:path}/why")
async def image_why(
    image_id: Id,
    caller: Reader,
    here: Here,
    q: Annotated[QueryText, Query(min_length=1, description="The text it was found by.")],
    library: LibraryName | None = None,
    heat: Annotated[bool, Query(description="Also where in the picture; takes seconds.")] = False,
) -> WhyAnswer:
    """What each word of a text adds to the relevance of the picture, and where it is seen."""
    opened = await here.workers.run(here.libraries.open, caller, library)
    return await here.workers.run(_why, opened, caller, image_id, q, heat=heat)


@router.get("/v1/images/{image_id:path}")
async def image(
    image_id: Id, caller: Reader, here: Here, library: LibraryName | None = None
) -> ImageAnswer:
    """What the library knows of a picture."""

    def look() -> ImageAnswer:
        opened = here.libraries.open(caller, library)
        point = opened.picture(image_id, opened.scope(caller))
        return _answer(opened, point, opened.installation.presence(opened.name))

    return await here.workers.run(look)


@router.get("/v1/images")
async def images(
    caller: Reader,
    here: Here,
    library: LibraryName | None = None,
    where: Annotated[QueryText, Query(description="Filters in the grammar of --where.")] = "",
    id_: Annotated[
        list[ImageId],
        Query(alias="id", max_length=MAX_LISTED, description="Only these, if they are there."),
    ] = [],  # noqa: B006 - FastAPI copies it
    field: Annotated[
        list[FieldName],
        Query(max_length=100, description="The keys of the payload to give; left out: all."),
    ] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=0, le=MAX_LISTED, description="0 only counts.")] = 100,
    after: Annotated[
        ImageId | None, Query(description="`next` of the list before: the last one's id.")
    ] = None,
) -> ImagesAnswer:
    """The pictures of a library, or those that pass a filter, in an order that stays."""

    def look() -> ImagesAnswer:
        opened = here.libraries.open(caller, library)
        request = Request(filters=filters_of(where, opened), scope=opened.scope(caller))
        named = (OneOf("image_id", tuple(id_)),) if id_ else ()
        passing = (*opened.searcher.conditions(request), *named)
        keys = _keys_of(field) if field else None
        points = opened.store.scroll(
            opened.collection, where=passing, payload=keys, batch_size=limit + 1, after=after
        )
        found = list(islice(points, limit + 1)) if limit else []
        shown = found[:limit]
        presence = opened.installation.presence(opened.name)
        return ImagesAnswer(
            library=opened.name,
            pictures=opened.store.count(opened.collection, where=passing),
            images=[_answer(opened, point, presence, field) for point in shown],
            next=shown[-1].image_id if len(found) > limit > 0 else None,
        )

    return await here.workers.run(look)


def _keys_of(fields: Sequence[str]) -> tuple[str, ...]:
    """What is read of a payload to give these. Raises QueryError for what no key can be."""
    try:
        for field in fields:
            key_path(field)
    except StoreError as error:
        raise QueryError(f"field: {error}") from None
    return tuple(dict.fromkeys((*fields, "path")))


@router.patch("/v1/images/{image_id:path}")
async def image_change(
    image_id: Id,
    wanted: ImageChange,
    caller: Writer,
    here: Here,
    library: LibraryName | None = None,
) -> ImageAnswer:
    """Change captions, tags and custom fields. What the file itself says stays."""

    def do() -> ImageAnswer:
        opened = here.libraries.open(caller, library)
        point = change(opened, caller, image_id, wanted)
        return _answer(opened, point, opened.installation.presence(opened.name))

    return await here.workers.run(do)


@router.delete("/v1/images/{image_id:path}", status_code=204)
async def image_removal(
    image_id: Id, caller: Writer, here: Here, library: LibraryName | None = None
) -> None:
    """Remove a picture from the library. The file of an upload is deleted; any other stays, and
    the next ingest of its folder brings the picture back."""

    def do() -> None:
        opened = here.libraries.open(caller, library)
        remove(opened, caller, image_id)

    await here.workers.run(do)


def _answer(
    library: OpenLibrary, point: Point, presence: Presence, keys: Sequence[str] = ()
) -> ImageAnswer:
    """With `keys`, only those of the payload."""
    path = str(point.payload.get("path", ""))
    return ImageAnswer(
        image_id=point.image_id,
        library=library.name,
        path=path,
        offline=presence.offline(path),
        payload={name: value for name, value in point.payload.items() if not keys or name in keys},
    )


# Fifty pictures are encoded for one.
_examining = threading.Lock()


def _why(
    library: OpenLibrary, caller: Caller, image_id: str, text: str, *, heat: bool
) -> WhyAnswer:
    scope = library.scope(caller)
    request = replace(library.searcher.parse(text), scope=scope)
    if all(part.excluded for part in request.parts):
        raise QueryError("filters alone have no reasons: describe a scene in words")
    point = library.picture(image_id, scope, with_vector=True)
    if point.vector is None:
        raise not_found(f"library {library.name} has no vector of {image_id[:200]}")
    picture = None
    if heat:
        original = library.installation.originals.original(point.payload)
        most = library.installation.settings.max_megapixels
        try:
            picture = open_image(original, max_megapixels=most).image
        except ImageError as error:
            raise not_found(f"{image_id[:200]} cannot be opened: {error}") from None
    if picture is not None and not _examining.acquire(blocking=False):
        raise come_back(
            HTTPStatus.TOO_MANY_REQUESTS, "another picture is being examined; try again in a moment"
        )
    try:
        found = why(
            library.searcher,
            library.encoder,
            request,
            point.image_id,
            point.vector,
            picture,
            point.payload,
        )
    finally:
        if picture is not None:
            _examining.release()
    return WhyAnswer.model_validate(found.to_json())
