"""In a real browser: faults are told in words, a login lasts, and a tick moves no picture."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import serving
from tests.browser.gallery_page import boxes, expect_first, open_picture, tick
from tests.unit.ui_world import Shot, build_library, reds
from ui.access import hash_password

pytestmark = pytest.mark.browser

WORD = "open sesame"
# One of the tests adds some.
FOUND = re.compile(r"^\d+ found$")
IN_THIS_LIBRARY = re.compile(r"\d+ pictures in this library")
VIEWS = {
    "": "search",
    "contents": "contents",
    "map": "map",
    "evaluation": "evaluation",
    "models": "models",
}

# A file named `broken` in the data folder names the function that fails from now on.
BREAKS = """
import importlib, os, pathlib
broken = pathlib.Path(os.environ["SCENESEARCH_DATA_DIR"]) / "broken"
def breakable(place):
    module, _, name = place.rpartition(".")
    module = importlib.import_module(module)
    real = getattr(module, name)
    def maybe(*given, **named):
        if broken.exists() and broken.read_text() == place:
            raise ZeroDivisionError("/srv/secret is not for visitors")
        return real(*given, **named)
    setattr(module, name, maybe)
for place in (
    "ui.views.search.ask_in_header", "ui.views.contents._contents", "ui.views.gallery.act",
    "ui.views.map._draw", "ui.views.evaluation.collections_of", "ui.views.models._row",
    "ui.views.home.ask", "ui.views.progress._status",
    "ui.selection.table",
):
    breakable(place)
"""
INSIDE = {
    "": "ui.views.search.ask_in_header",
    "contents": "ui.views.contents._contents",
    "map": "ui.views.map._draw",
    "evaluation": "ui.views.evaluation.collections_of",
    "models": "ui.views.models._row",
}


class World:
    def __init__(self, address: str, data_dir: Path) -> None:
        self.address, self.data_dir = address, data_dir

    def break_(self, place: str) -> None:
        (self.data_dir / "broken").write_text(place)

    def mend(self) -> None:
        (self.data_dir / "broken").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[World]:
    data_dir = tmp_path_factory.mktemp("data")
    wall = Shot("wall.png", (225, 20, 20), payload={"captions": ["a big red wall"]})
    build_library(data_dir, OnnxEncoder(tiny_encoder, threads=1), [*reds(30), wall])
    with serving(
        data_dir, tiny_encoder, prelude=BREAKS, page_password=hash_password(WORD)
    ) as started:
        yield World(started.address, data_dir)


@pytest.fixture
def visitor(chromium: Browser, world: World) -> Iterator[BrowserContext]:
    """A browser that is logged in; what its page may not do by the policy fails."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    refused: list[str] = []
    context.on(
        "console",
        lambda told: refused.append(told.text) if "Content Security Policy" in told.text else None,
    )
    page = context.new_page()
    page.goto(world.address)
    page.get_by_label("Password").fill(WORD)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text(IN_THIS_LIBRARY)).to_be_visible(timeout=30_000)
    page.close()
    world.mend()
    yield context
    world.mend()
    context.close()
    assert refused == []


def expect_told(page: Page) -> None:
    expect(page.get_by_text("An error in the program")).to_be_visible(timeout=20_000)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_text("secret")).to_have_count(0)
    expect(page.get_by_text("Traceback")).to_have_count(0)
    expect(page.get_by_role("button", name="Try again")).to_have_count(1)


@pytest.mark.parametrize("view", VIEWS)
def test_a_fault_in_a_view_is_told_and_left_behind(
    view: str, visitor: BrowserContext, world: World
) -> None:
    world.break_(INSIDE[view])
    page = visitor.new_page()
    page.goto(f"{world.address}/{view}")
    expect_told(page)
    world.mend()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("An error in the program")).to_have_count(0)
    expect(page.get_by_role("heading").first).to_be_visible()


def test_a_fault_in_a_callback_is_told_and_left_behind(
    visitor: BrowserContext, world: World
) -> None:
    page = visitor.new_page()
    page.goto(world.address)
    example = page.get_by_role("button", name="a big red wall")
    expect(example).to_be_visible(timeout=20_000)
    world.break_("ui.views.home.ask")
    example.click()
    expect_told(page)
    world.mend()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text(IN_THIS_LIBRARY)).to_be_visible()


def test_a_fault_in_what_the_gallery_asks_for_is_told(
    visitor: BrowserContext, world: World
) -> None:
    page = visitor.new_page()
    page.goto(f"{world.address}/?q=red")
    expect_first(page, "a big red wall")
    world.break_("ui.views.gallery.act")
    open_picture(page, "a big red wall").get_by_role("button", name="Right", exact=True).click()
    page.keyboard.press("Escape")
    expect_told(page)


def test_a_fault_in_a_fragment_is_told(visitor: BrowserContext, world: World) -> None:
    page = visitor.new_page()
    page.goto(f"{world.address}/add")
    world.break_("ui.views.progress._status")
    page.locator(".st-key-upload input[type=file]").set_input_files(
        [str(file) for file in sorted((world.data_dir / "pictures").glob("red-0*.png"))]
    )
    expect(page.get_by_text("red-00.png")).to_be_visible()
    page.get_by_role("button", name="Add these").click()
    # The work may be over before its progress is drawn.
    told = page.get_by_text("An error in the program").or_(page.get_by_text("Done", exact=True))
    expect(told.first).to_be_visible(timeout=30_000)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_first_ingest_and_reloads_meanwhile_end_in_no_error(
    chromium: Browser, tmp_path: Path, tiny_encoder: Path
) -> None:
    page = chromium.new_page()
    with serving(tmp_path, tiny_encoder) as started:
        page.goto(started.address)
        page.get_by_role("button", name="Load the sample pictures").click()
        expect(page.get_by_role("button", name="Cancel")).to_have_count(1, timeout=30_000)
        for view in ("add", "map", "evaluation", "", "contents", "map"):
            page.goto(f"{started.address}/{view}")
            going_on = page.get_by_role("button", name="Cancel")
            over = page.get_by_text("Done", exact=True).or_(page.get_by_text("in this library"))
            expect(going_on.or_(over).first).to_be_visible(timeout=30_000)
            page.wait_for_timeout(1200)  # the progress is drawn again
            expect(page.get_by_test_id("stException")).to_have_count(0)
            expect(page.get_by_text("An error in the program")).to_have_count(0)
        page.close()


def test_a_download_that_fails_names_nothing(visitor: BrowserContext, world: World) -> None:
    page = visitor.new_page()
    page.goto(f"{world.address}/?q=red")
    tick_first(page)
    world.break_("ui.selection.table")
    page.get_by_role("button", name="Table (CSV)").click()
    page.wait_for_timeout(1000)
    expect(page.get_by_text("secret")).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


# --- the grid --------------------------------------------------------------------------------


def tick_first(page: Page) -> None:
    expect_first(page, "a big red wall")
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    tick(page, 0)
    expect(page.get_by_text("1 selected")).to_be_in_viewport()


@pytest.mark.parametrize("width", [1280, 360])
def test_the_first_tick_moves_no_picture(width: int, visitor: BrowserContext, world: World) -> None:
    page = visitor.new_page()
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(f"{world.address}/?q=red")
    expect_first(page, "a big red wall")
    page.wait_for_timeout(500)
    before = boxes(page)
    tick_first(page)
    page.wait_for_timeout(500)
    assert boxes(page) == before
    tick(page, 0)
    expect(page.get_by_text("1 selected")).to_have_count(0)
    page.wait_for_timeout(500)
    assert boxes(page) == before


# --- the login -------------------------------------------------------------------------------


def test_a_login_lasts_over_reloads_and_tabs_until_it_is_ended(
    visitor: BrowserContext, world: World
) -> None:
    first, second = visitor.new_page(), visitor.new_page()
    for page in (first, second):
        page.goto(f"{world.address}/?q=red")
        expect(page.get_by_text(FOUND)).to_be_visible(timeout=20_000)
    first.reload()
    expect(first.get_by_text(FOUND)).to_be_visible(timeout=20_000)
    first.get_by_role("link", name="Log out").click()
    expect(first.get_by_label("Password")).to_be_visible()
    second.reload()
    expect(second.get_by_label("Password")).to_be_visible()
    assert "q=red" in second.url


def test_a_stranger_is_asked_and_led_to_what_they_came_for(chromium: Browser, world: World) -> None:
    context = chromium.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{world.address}/?q=red")
    page.get_by_label("Password").fill("barley")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("This is not the password.")).to_be_visible()
    assert all(url == f"{world.address}/?q=red" for url in asked if not url.startswith("data:"))
    page.get_by_label("Password").fill(WORD)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text(FOUND)).to_be_visible(timeout=20_000)
    context.close()
