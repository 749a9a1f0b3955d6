"""What a map fetches beside Streamlit's websocket: its points, their colours, which pictures they
are, and coastlines.

`AccessMiddleware` stands before it. Thumbnails are the gallery's.
"""

import json
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scenesearch.errors import SceneSearchError
from ui.map.shown import ShownMap, shown_maps
from ui.pictures import Picture
from ui.resources import readable_store
from ui.settings import page_settings

# Pictures that are named at once: more than thumbnails fit on a screen.
MOST_PICTURES = 200
_MAX_TITLE = 200

# A token never means another map.
_KEPT = {"Cache-Control": "private, max-age=31536000, immutable"}
_NOT_KEPT = {"Cache-Control": "private, no-store"}
# No page of another site may read these.
_SAME_ORIGIN = {"Cross-Origin-Resource-Policy": "same-origin"}


def map_app(base: str = "") -> Starlette:
    """The routes below `<base>/maps/`."""
    paths: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "points": _points,
        "colours": _colours,
        "pictures": _pictures,
        "land": _land,
    }
    return Starlette(routes=[Route(f"{base}/maps/{name}", get) for name, get in paths.items()])


async def _land(request: Request) -> Response:
    return _bytes(_coastlines())


@cache
def _coastlines() -> bytes:
    """As tests/coastline.py writes them."""
    return Path(__file__).with_name("land.bin").read_bytes()


async def _points(request: Request) -> Response:
    shown = _shown(request)
    return _bytes(shown.points) if shown else _refusal(HTTPStatus.GONE, "ask for the map again")


async def _colours(request: Request) -> Response:
    shown = _shown(request)
    codes = shown.colours.get(request.query_params.get("field", "")) if shown else None
    return _bytes(codes) if codes else _refusal(HTTPStatus.GONE, "ask for the colours again")


async def _pictures(request: Request) -> Response:
    """Id, title and version of some pictures of the map, by their numbers."""
    shown = _shown(request)
    if shown is None:
        return _refusal(HTTPStatus.GONE, "ask for the map again")
    given = request.query_params.get("n", "").split(",")
    if len(given) > MOST_PICTURES or not all(one.isascii() and one.isdigit() for one in given):
        return _refusal(HTTPStatus.BAD_REQUEST, f"n: at most {MOST_PICTURES} numbers are meant")
    # A number of more digits than this is none of the map's, whatever it says.
    numbers = [int(one) for one in given if len(one) < 10 and int(one) < len(shown.ids)]
    try:
        told = await anyio.to_thread.run_sync(_told, shown, numbers)
    except SceneSearchError:
        return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "this cannot be read now")
    return _json({"pictures": told})


def _told(shown: ShownMap, numbers: list[int]) -> list[dict[str, str | int]]:
    ids = {shown.ids[number]: number for number in numbers}
    with readable_store() as store:
        points = store.retrieve(page_settings().library, list(ids))
    return [
        {
            "n": ids[image_id],
            "id": image_id,
            "title": Picture(image_id, point.payload).title[:_MAX_TITLE],
            "v": str(point.payload.get("sha256", ""))[:16],
        }
        for image_id, point in points.items()
    ]


def _shown(request: Request) -> ShownMap | None:
    return shown_maps().get(request.query_params.get("map", ""))


def _bytes(data: bytes) -> Response:
    return Response(data, headers=_KEPT | _SAME_ORIGIN, media_type="application/octet-stream")


def _refusal(status: HTTPStatus, sentence: str) -> Response:
    return _json({"error": sentence}, status)


def _json(content: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    text = json.dumps(content, ensure_ascii=False)
    return Response(
        text.encode("utf-8", "replace"), status, _NOT_KEPT | _SAME_ORIGIN, "application/json"
    )
