"""The tools of an assistant, asked by the official client, in this process and over HTTP."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from serve.app import make_app
from serve.assistant import make_assistant
from tests.unit.serve_world import (
    LIBRARY,
    KeyRing,
    colour_encoders,  # noqa: F401 - a fixture
    make_library,
    service_of,
)
from tests.unit.serve_world import folder as folder  # a fixture

pytestmark = pytest.mark.usefixtures("colour_encoders")

_T = TypeVar("_T")


def asked(
    folder: Path, ask: Callable[[Client], Awaitable[_T]], *, allow_write: bool = False, **more: Any
) -> _T:
    """What the client gets from an assistant over the library."""

    async def run() -> _T:
        service = service_of(folder, **more)
        try:
            async with Client(make_assistant(service, allow_write=allow_write)) as client:
                return await ask(client)
        finally:
            service.close()

    return asyncio.run(run())


def call(folder: Path, tool: str, allow_write: bool = False, **arguments: Any) -> Any:
    return asked(folder, lambda client: client.call_tool(tool, arguments), allow_write=allow_write)


def document(result: Any) -> Any:
    """The JSON of a tool's answer."""
    assert not result.is_error, result.content[0].text
    return json.loads(result.content[0].text)


def pictures(result: Any) -> list[Image.Image]:
    return [
        Image.open(BytesIO(base64.b64decode(one.data)))
        for one in result.content
        if one.type == "image"
    ]


async def over_http(
    folder: Path, ring: KeyRing, name: str, ask: Callable[[Client], Awaitable[_T]]
) -> _T:
    """The same at /mcp, with a key."""
    app = make_app(service_of(folder, ring.keys))
    async with app.router.lifespan_context(app):
        http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="http://localhost",
            headers=ring.headers(name) if name else {},
        )
        async with (
            http,
            Client(streamable_http_client("http://localhost/mcp", http_client=http)) as client,
        ):
            return await ask(client)


def test_without_permission_to_write_all_tools_only_read(folder: Path) -> None:
    found = asked(folder, lambda client: client.list_tools()).tools
    assert {tool.name for tool in found} == {
        *("search_pictures", "similar_pictures", "describe_picture"),
        *("count", "list_libraries", "list_fields"),
    }
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in found)
    described = {tool.name: json.dumps(tool.input_schema) for tool in found}
    assert "(camera:canon or camera:nikon) -tag:draft" in described["search_pictures"]


def test_a_few_pictures_are_shown_one_by_one(folder: Path) -> None:
    found = call(folder, "search_pictures", text="green", limit=1)
    (hit,) = document(found)["hits"]
    assert (hit["rank"], hit["image_id"]) == (1, "private/green.png")
    (shown,) = pictures(found)
    red, green, blue = shown.convert("RGB").getpixel((10, 10))
    assert green > red and green > blue


def test_many_pictures_are_shown_on_one_sheet(folder: Path) -> None:
    found = call(folder, "search_pictures", where="width:>0 (tag:sea or tag:wall or tag:secret)")
    assert [hit["rank"] for hit in document(found)["hits"]] == [1, 2, 3, 4]
    (sheet,) = pictures(found)
    assert sheet.width > 4 * 320


def test_where_nothing_matches_the_nearest_are_named_and_none_is_shown(folder: Path) -> None:
    found = call(folder, "search_pictures", text="yellow", where="tag:sea")
    assert document(found)["hits"] == []
    assert pictures(found) == []


def test_a_picture_is_described_with_what_each_word_adds(folder: Path) -> None:
    found = call(folder, "describe_picture", image_id="public/red.png", text="red boat")
    known = document(found)
    assert known["tags"] == ["wall"]
    assert [one["word"] for one in known["why"]["words"]] == ["red", "boat"]
    assert len(pictures(found)) == 1


def test_pictures_like_one_are_found(folder: Path) -> None:
    found = call(folder, "similar_pictures", image_id="public/red.png", limit=1)
    assert [hit["image_id"] for hit in document(found)["hits"]] == ["private/red.png"]


def test_what_there_is_is_counted_and_listed(folder: Path) -> None:
    assert document(call(folder, "count", where="tag:wall")) == {"library": LIBRARY, "pictures": 2}
    assert document(call(folder, "count"))["pictures"] == 4
    assert document(call(folder, "list_libraries")) == [{"name": LIBRARY, "pictures": 4}]
    assert "camera" in {one["name"] for one in document(call(folder, "list_fields"))}


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search_pictures", {"where": "colour:red"}, "this library has no field 'colour'"),
        ("search_pictures", {}, "the query is empty"),
        ("search_pictures", {"text": "red", "library": "trips"}, "no library 'trips'"),
        ("search_pictures", {"text": "red", "limit": 1000}, "20"),
        ("describe_picture", {"image_id": "nowhere.png"}, "has no picture nowhere.png"),
        ("count", {"where": "price:much"}, "'much' is not a whole number"),
    ],
)
def test_a_mistake_is_told_to_the_model_in_one_sentence(
    folder: Path, tool: str, arguments: dict[str, Any], said: str
) -> None:
    result = call(folder, tool, **arguments)
    assert result.is_error
    assert said in result.content[0].text


async def resource(client: Client, name: str) -> bytes | None:
    """The bytes of a picture, None where it is refused."""
    try:
        read = await client.read_resource(f"scenesearch://{LIBRARY}/pictures/{name}")
    except MCPError:
        return None
    assert read.contents[0].mime_type == "image/jpeg"
    return base64.b64decode(read.contents[0].blob)  # type: ignore[union-attr]


def test_a_picture_is_a_resource(folder: Path) -> None:
    data = asked(folder, lambda client: resource(client, "public/red.png"))
    assert data is not None
    assert Image.open(BytesIO(data)).format == "JPEG"


@pytest.mark.parametrize(
    "name", ["public/nothing.png", "../../etc/passwd", "public/../private/green.png", "/etc/passwd"]
)
def test_a_resource_that_is_no_picture_of_the_library_is_refused(folder: Path, name: str) -> None:
    assert asked(folder, lambda client: resource(client, name)) is None


def test_with_permission_pictures_are_changed_and_removed(tmp_path: Path) -> None:
    make_library(tmp_path)
    changed = call(
        tmp_path, "change_picture", allow_write=True, image_id="public/red.png", tags=["new"]
    )
    assert document(changed)["tags"] == ["new"]
    assert document(call(tmp_path, "count", where="tag:new"))["pictures"] == 1
    call(tmp_path, "remove_picture", allow_write=True, image_id="public/red.png")
    assert document(call(tmp_path, "count"))["pictures"] == 3


def test_a_server_that_only_reads_has_no_tools_that_write(folder: Path) -> None:
    found = asked(
        folder, lambda client: client.list_tools(), allow_write=True, api_read_only=True
    ).tools
    assert "remove_picture" not in {tool.name for tool in found}


# --- over HTTP, with keys ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ring() -> KeyRing:
    ring = KeyRing()
    ring.add("reader")
    ring.add("site", "read", [LIBRARY], "folder:public/*")
    ring.add("other", "read", ["trips"])
    return ring


def test_over_http_a_key_sees_what_its_filter_lets_it(folder: Path, ring: KeyRing) -> None:
    async def ask(client: Client) -> list[Any]:
        tools = (
            ("count", {}),
            ("search_pictures", {"where": "width:>0"}),
            ("similar_pictures", {"image_id": "private/green.png"}),
            ("describe_picture", {"image_id": "private/green.png"}),
            ("list_libraries", {}),
        )
        return [await client.call_tool(name, arguments) for name, arguments in tools]

    counted, found, like, described, listed = asyncio.run(over_http(folder, ring, "site", ask))
    assert document(counted)["pictures"] == 2
    assert {hit["image_id"] for hit in document(found)["hits"]} == {
        "public/red.png",
        "public/blue.png",
    }
    assert like.is_error and "no such picture" in like.content[0].text
    assert described.is_error and "has no picture" in described.content[0].text
    assert document(listed) == [{"name": LIBRARY, "pictures": 2}]
    everything, *_ = asyncio.run(over_http(folder, ring, "reader", ask))
    assert document(everything)["pictures"] == 4


def test_over_http_a_library_that_a_key_may_not_see_is_not_there(
    folder: Path, ring: KeyRing
) -> None:
    async def ask(client: Client) -> Any:
        return await client.call_tool("count", {"library": LIBRARY})

    result = asyncio.run(over_http(folder, ring, "other", ask))
    assert result.is_error
    assert result.content[0].text.endswith(f"no library '{LIBRARY}'; there are: none")


def test_over_http_resources_are_inside_the_filter(folder: Path, ring: KeyRing) -> None:
    async def ask(client: Client) -> list[bool]:
        names = ("public/red.png", "private/green.png")
        return [await resource(client, name) is not None for name in names]

    assert asyncio.run(over_http(folder, ring, "site", ask)) == [True, False]


def test_over_http_nobody_without_a_key_is_answered(folder: Path, ring: KeyRing) -> None:
    async def ask(client: Client) -> Any:
        return await client.list_tools()

    with pytest.raises(BaseException):  # noqa: B017 - a group of errors of the client
        asyncio.run(over_http(folder, ring, "", ask))
