"""A browser gets the style sheet with the document, not after it."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ui.first_paint import StyledPage
from ui.style import STYLE

PAGE = "<html><head></head><body><div id=root></div></body></html>"
BROWSER = {"Accept": "text/html,*/*"}


async def document(request: Request) -> Response:
    if request.headers.get("if-none-match") == "old":
        return Response(status_code=304)
    return HTMLResponse(PAGE, headers={"ETag": "old"})


async def in_parts(_: Request) -> Response:
    def parts() -> Iterator[bytes]:
        yield PAGE[:40].encode()
        yield PAGE[40:].encode()

    return StreamingResponse(parts(), media_type="text/html")


async def data(_: Request) -> Response:
    return JSONResponse({"body": "</body>"}, headers={"ETag": "old"})


@pytest.fixture
def visitor() -> TestClient:
    routes = [Route("/", document), Route("/parts", in_parts), Route("/data", data)]
    return TestClient(StyledPage(Starlette(routes=routes)))


@pytest.mark.parametrize("path", ["/", "/parts"])
def test_a_document_ends_with_the_style_sheet(visitor: TestClient, path: str) -> None:
    # Kept by the browser from a version with another style sheet.
    answer = visitor.get(path, headers=BROWSER | {"If-None-Match": "old"})
    assert answer.text == PAGE.replace("</body>", f"{STYLE}</body>")
    assert "etag" not in answer.headers


def test_anything_else_is_passed_on_as_it_is(visitor: TestClient) -> None:
    answer = visitor.get("/data", headers=BROWSER)
    assert (answer.json(), answer.headers["etag"]) == ({"body": "</body>"}, "old")
    assert visitor.get("/").text == PAGE  # no browser
    assert visitor.get("/", headers={"If-None-Match": "old"}).status_code == 304
