"""What the gallery fetches beside Streamlit's websocket: portions of answers, details of pictures,
and their bytes.

`AccessMiddleware` stands before it. All work runs in threads, so that the event loop goes on; what
a picture may show is decided here as for the views: `ui.access`, and only originals of folders that
were ingested here.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from scenesearch.errors import SceneSearchError
from scenesearch.pictures.file_names import safe_name
from scenesearch.pictures.opening import ImageError
from scenesearch.pictures.originals import Original, OriginalError
from scenesearch.search.request import QueryError
from scenesearch.store.base import CollectionMissing
from ui.access import shows_paths, shows_places
from ui.api_client import ApiMissingError
from ui.gallery.answers import MOST_AT_ONCE, PORTION, Answer, answers
from ui.gallery.details import details, problem_of, reasons
from ui.gallery.items import items, version_of
from ui.gallery.listing import Listing
from ui.pictures import Picture, copy_without_metadata, full, placeholder, view, webp
from ui.resources import OpenLibrary, open_library, readable_store
from ui.settings import page_settings

# Threads that read, that decode an original each (some 100 MB), and that explain an answer.
_READERS, _DECODERS, _EXPLAINERS = 8, 2, 1

# Read and sent at a time.
_CHUNK_BYTES = 4 * 2**20

_MAX_ID = 4096
_HEIGHTS = (220, 440)

# An address with the picture's version never means anything else; others are asked for each time.
_FOR_EVER = "private, max-age=31536000, immutable"
_EACH_TIME = "private, no-cache"

# No page of another site may show these, nor learn by trying whether there is such a picture.
_SAME_ORIGIN = {"Cross-Origin-Resource-Policy": "same-origin"}

T = TypeVar("T")


class _RefusedError(Exception):
    """What is answered instead: a status and one sentence."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def gallery_app(base: str = "") -> Starlette:
    """The routes below `<base>/gallery/`."""
    service = _Service()
    paths: dict[str, Callable[[Request], Any]] = {
        "thumb": service.thumb,
        "view": service.view,
        "full": service.full,
        "download": service.download,
        "items": service.items,
        "shape": service.shape,
        "place": service.place,
        "details": service.details,
        "why": service.why,
    }
    routes = [Route(f"{base}/gallery/{name}", answer) for name, answer in paths.items()]
    return Starlette(
        routes=routes, exception_handlers={_RefusedError: _refusal, 404: _nothing_here}
    )


async def _refusal(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, _RefusedError) else HTTPStatus.BAD_REQUEST
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return _json({"error": str(error)}, status, headers)


async def _nothing_here(_: Request, error: Exception) -> Response:
    return _json({"error": "there is nothing at this address"}, HTTPStatus.NOT_FOUND)


def _json(
    content: dict[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
) -> Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(
        text.encode("utf-8", "replace"),
        status,
        {"Cache-Control": "private, no-store", **_SAME_ORIGIN, **(headers or {})},
        "application/json",
    )


class _Service:
    def __init__(self) -> None:
        self._readers = CapacityLimiter(_READERS)
        self._decoders = CapacityLimiter(_DECODERS)
        self._explainers = CapacityLimiter(_EXPLAINERS)

    async def _run(self, threads: CapacityLimiter, work: Callable[[], T]) -> T:
        """Do it in one of these threads; what goes wrong becomes an answer."""
        try:
            return await anyio.to_thread.run_sync(work, limiter=threads)
        except (CollectionMissing, ApiMissingError):
            raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such picture") from None
        except QueryError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from None
        except (ImageError, OriginalError) as error:
            said = problem_of(error, tells=shows_paths(page_settings()))
            raise _RefusedError(HTTPStatus.NOT_FOUND, said) from None
        except SceneSearchError as error:
            said = str(error) if shows_paths(page_settings()) else "this cannot be read now"
            raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, said) from None

    # Bytes

    async def thumb(self, request: Request) -> Response:
        height = _number(request, "h", _HEIGHTS[0], at_most=_HEIGHTS[-1])

        def read() -> tuple[Picture, bytes | None]:
            picture = _picture(request)
            return picture, picture.kept_thumbnail()

        picture, jpeg = await self._run(self._readers, read)
        if jpeg is None:
            jpeg = await self._run(self._decoders, picture.thumbnail)
        if jpeg == placeholder():  # it may be there the next time
            return _bytes(jpeg, "image/jpeg", _EACH_TIME)
        cached = _caching(request, picture)
        if height > _HEIGHTS[0]:  # a thumbnail has no more pixels than this
            return _bytes(jpeg, "image/jpeg", cached)
        small = await self._run(self._readers, partial(webp, jpeg, height))
        return _bytes(small, "image/webp", cached)

    async def view(self, request: Request) -> Response:
        return await self._decoded(request, view)

    async def full(self, request: Request) -> Response:
        return await self._decoded(request, full)

    async def _decoded(self, request: Request, make: Callable[[Original], bytes]) -> Response:
        picture = await self._run(self._readers, partial(_picture, request))
        data = await self._run(self._decoders, lambda: make(picture.original))
        return _bytes(data, "image/jpeg", _caching(request, picture))

    async def download(self, request: Request) -> Response:
        """The original, or a copy without its metadata, which says where it was taken."""
        picture = await self._run(self._readers, partial(_picture, request))
        original = picture.original
        name = safe_name(original.name)
        if not shows_places(page_settings()):
            data = await self._run(self._decoders, partial(copy_without_metadata, original))
            return _bytes(data, "image/jpeg", _EACH_TIME, _attached(f"{PurePath(name).stem}.jpg"))
        size = (await self._run(self._readers, original.state)).size_bytes
        first = await self._part(original, 0, size)
        return StreamingResponse(
            self._parts(original, first, size),
            headers={
                "Content-Length": str(size),
                "Cache-Control": _EACH_TIME,
                **_SAME_ORIGIN,
                **_attached(name),
            },
            media_type="application/octet-stream",
        )

    async def _part(self, original: Original, at: int, size: int) -> bytes:
        length = min(_CHUNK_BYTES, size - at)
        return await self._run(self._readers, partial(original.read, at, length))

    async def _parts(self, original: Original, first: bytes, size: int) -> AsyncIterator[bytes]:
        """The bytes, a part at a time. An error ends the connection: the browser sees that less
        came than was said."""
        yield first
        with suppress(_RefusedError):
            for at in range(_CHUNK_BYTES, size, _CHUNK_BYTES):
                yield await self._part(original, at, size)

    # Words

    async def items(self, request: Request) -> Response:
        """The next portion of an answer."""
        answer = _answer(request)
        limit = _number(request, "limit", PORTION, at_most=MOST_AT_ONCE)

        def read() -> dict[str, Any]:
            with open_library() as opened:
                return portion(opened, answer, request.query_params.get("after"), limit)

        return _json(await self._run(self._readers, read))

    async def shape(self, request: Request) -> Response:
        """Where all pictures of a listing lie."""
        answer = _listing(request)

        def read() -> dict[str, Any]:
            with open_library() as opened:
                return answer.shape(opened).told()

        return _json(await self._run(self._readers, read))

    async def place(self, request: Request) -> Response:
        """Where in a listing a picture stands, null if it is not in it."""
        answer, image_id = _listing(request), request.query_params.get("id", "")
        return _json({"at": await self._run(self._readers, partial(answer.place, image_id))})

    async def details(self, request: Request) -> Response:
        return _json(await self._run(self._readers, partial(_with_library, request, details)))

    async def why(self, request: Request) -> Response:
        def explain(opened: OpenLibrary, picture: Picture, answer: Answer | None) -> dict[str, Any]:
            return reasons(opened, picture, answer.request if answer is not None else None)

        return _json(await self._run(self._explainers, partial(_with_library, request, explain)))


def portion(
    opened: OpenLibrary, answer: Answer, after: str | None, limit: int = PORTION
) -> dict[str, Any]:
    """Pictures of the answer and the cursor of those that follow, as the gallery takes them."""
    known = answer.nearest
    found = answer.portion(opened, after, limit)
    of_portion = items(opened, answer, found.ids, start=found.start)
    told: dict[str, Any] = {"items": of_portion, "next": found.next}
    if known is None and answer.nearest is not None:
        told["nearest"] = answer.nearest
    return told


def _with_library(
    request: Request, tell: Callable[[OpenLibrary, Picture, Answer | None], dict[str, Any]]
) -> dict[str, Any]:
    answer = answers().get(request.query_params.get("answer", ""))
    with open_library() as opened:
        return tell(opened, _picture(request), answer)


def _answer(request: Request) -> Answer:
    answer = answers().get(request.query_params.get("answer", ""))
    if answer is None:
        raise _RefusedError(HTTPStatus.GONE, "this answer was forgotten: ask again")
    return answer


def _listing(request: Request) -> Listing:
    answer = _answer(request)
    if not isinstance(answer, Listing):
        raise _RefusedError(HTTPStatus.NOT_FOUND, "this answer is known as far as it was read")
    return answer


def _picture(request: Request) -> Picture:
    """The picture that the address names; refused where the library has none."""
    image_id = request.query_params.get("id", "")
    library = page_settings().library
    if 0 < len(image_id) <= _MAX_ID:
        with readable_store() as store:
            point = store.retrieve(library, [image_id]).get(image_id)
        if point is not None:
            return Picture(image_id, point.payload)
    raise _RefusedError(HTTPStatus.NOT_FOUND, "there is no such picture")


def _number(request: Request, name: str, usual: int, *, at_most: int) -> int:
    given = request.query_params.get(name, "")
    if not given:
        return usual
    if given.isascii() and given.isdigit() and len(given) < 9 and 0 < int(given) <= at_most:
        return int(given)
    raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{name}: a number from 1 to {at_most} is meant")


def _caching(request: Request, picture: Picture) -> str:
    asked = request.query_params.get("v", "")
    return _FOR_EVER if asked and asked == version_of(picture) else _EACH_TIME


def _bytes(
    data: bytes, media_type: str, cached: str, headers: dict[str, str] | None = None
) -> Response:
    told = {"Cache-Control": cached, **_SAME_ORIGIN, **(headers or {})}
    return Response(data, headers=told, media_type=media_type)


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
