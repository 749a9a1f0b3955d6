"""The page over an API server, in a real browser: pictures come through the page, the key stays."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from serve.keys import new_key
from tests.browser.conftest import serving
from tests.browser.gallery_page import (
    SLOW_MS,
    ask,
    details,
    expect_first,
    expect_painted,
    open_picture,
    scroll_to_the_end,
    visiting,
)
from tests.serve_process import Server, free_port, wait_for
from tests.unit.ui_world import LIBRARY, Shot, build_library, reds

pytestmark = pytest.mark.browser


KEY, ENTRY = new_key("page", ["write"])

# The page's process ends where it makes a session of an encoder, or opens a store.
OPENS_NOTHING = """
import os, onnxruntime, scenesearch.store.edge
def end(*_, **__): os._exit(70)
onnxruntime.InferenceSession = scenesearch.store.edge.EdgeStore.__init__ = end
"""


@dataclass(frozen=True)
class Pair:
    """A server, and a page that asks it."""

    server: Server
    address: str
    page_folder: Path

    def marks(self) -> Any:
        asked = self.server.client.get("/v1/feedback?q=red", headers=HEADERS)
        return asked.json()


HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[Pair]:
    data_dir, page_folder = (tmp_path_factory.mktemp(name) for name in ("server", "page"))
    blue = Shot("blue.png", (0, 0, 255), payload={"tags": ["sea"]})
    build_library(data_dir, OnnxEncoder(tiny_encoder, threads=1), [*reds(30), blue])
    server = Server(data_dir, port=free_port(), api_keys=f"[{ENTRY}]", library=LIBRARY)
    url = str(server.client.base_url)
    try:
        with serving(
            page_folder, tiny_encoder, prelude=OPENS_NOTHING, api_url=url, api_key=KEY
        ) as started:
            yield Pair(server, started.address, page_folder)
    finally:
        server.stop()


@pytest.fixture
def visit(chromium: Browser, pair: Pair) -> Iterator[Page]:
    """The page as it first appears; what a browser is sent never has the key."""
    told: list[str] = []
    with visiting(chromium, pair.address) as page:
        page.on(
            "websocket", lambda socket: socket.on("framereceived", lambda f: told.append(str(f)))
        )
        page.goto(pair.address)
        expect(page.get_by_text("31 pictures in this library")).to_be_visible(timeout=SLOW_MS)
        yield page
        told.append(page.content())
    assert not any(KEY in one for one in told)
    assert not (pair.page_folder / "edge").exists()


def test_a_visitor_asks_filters_and_scrolls(visit: Page) -> None:
    scroll_to_the_end(visit, 31)
    ask(visit, "red")
    expect_first(visit, "red-00.png")
    expect_painted(visit)
    ask(visit, "blue")
    expect_first(visit, "blue.png")
    visit.get_by_role("checkbox", name="sea").click()
    expect(visit).to_have_url(re.compile("where-tags=sea"))
    expect(visit.get_by_text("1 found")).to_be_visible(timeout=SLOW_MS)


def test_an_opened_picture_is_shown_saved_and_marked(visit: Page, pair: Pair) -> None:
    ask(visit, "red")
    expect_first(visit, "red-00.png")
    dialog = open_picture(visit, "red-01.png")
    drawer = details(visit, dialog)
    with visit.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    file = pair.server.data_dir / "pictures" / "red-01.png"
    assert download.value.path().read_bytes() == file.read_bytes()
    drawer.get_by_role("button", name="Show words and places").click()
    expect(drawer.get_by_text("The picture is red where it shows it.")).to_be_visible()
    dialog.get_by_role("button", name="Wrong").click()
    wait_for(lambda: pair.marks() == {"right": [], "wrong": ["red-01.png"]})


def test_a_picture_finds_pictures_like_it(visit: Page) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (0, 0, 250)).save(buffer, "PNG")
    visit.get_by_role("button", name="By picture").click()
    visit.locator('[class*="st-key-picture-"] input[type=file]').set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    expect_first(visit, "blue.png")


@pytest.mark.parametrize("title", ["Collections", "Map", "Evaluation", "Models"])
def test_what_is_done_on_the_server_is_said_where_one_looks_for_it(visit: Page, title: str) -> None:
    visit.goto(f"{visit.url.rstrip('/')}/{title.lower()}")
    expect(visit.get_by_role("heading", name=title)).to_be_visible(timeout=SLOW_MS)
    expect(visit.get_by_text("This page asks an API server.")).to_be_visible(timeout=SLOW_MS)


def test_the_page_is_back_when_its_server_is(visit: Page, pair: Pair) -> None:
    pair.server.stop()
    ask(visit, "red")
    expect(visit.get_by_text("The API server does not answer")).to_be_visible(timeout=SLOW_MS)
    pair.server.start()
    visit.get_by_role("button", name="Try again").click()
    expect_first(visit, "red-00.png")
