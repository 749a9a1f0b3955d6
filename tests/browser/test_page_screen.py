"""Journeys over the screen in a real browser: the menu, filters with their counts, the timeline,
the home before a request, a phone.

Screenshots are left in out/page/, to be looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.home.saved_collections import SavedCollection, save_collection
from tests.browser.conftest import serving
from tests.browser.gallery_page import SHIFT, SLOW_MS, leave_shot, settle, visiting
from tests.unit.ui_world import LIBRARY, Shot, build_library, reds

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("screen")
    cameras = ("Canon", "Nikon", "<b>Leica</b>", "Sony", "Fuji", "Olympus", "Pentax")
    shots = [
        replace(
            shot,
            payload={
                **shot.payload,
                "camera": cameras[min(number % 8, 6)],
                "rating": float(number % 5 + 1),
                "taken": f"{2010 + number // 3}-{number % 12 + 1:02}-15T12:00:00+00:00",
            },
        )
        for number, shot in enumerate(reds(30))
    ]
    blue = {"camera": "Minolta", "captions": ["a <b>blue</b> sea"]}
    shots.append(Shot("blue.png", (0, 0, 255), payload=blue))
    build_library(data_dir, OnnxEncoder(tiny_encoder, threads=1), shots)
    saved = data_dir / "libraries" / LIBRARY / "saved-requests.json"
    save_collection(saved, SavedCollection("Red ones", "red"))
    with serving(data_dir, tiny_encoder) as started:
        yield started.address


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Page]:
    with visiting(chromium, address, width=1440) as page:
        yield page


# --- the menu --------------------------------------------------------------------------------


def test_what_looks_after_the_library_is_in_a_menu_of_its_own(visit: Page, address: str) -> None:
    visit.goto(address)
    expect(visit.get_by_text("31 pictures in this library")).to_be_visible()
    expect(visit.get_by_text("Evaluation", exact=True)).to_have_count(0)
    visit.get_by_text("Manage", exact=True).click()
    leave_shot(visit, "manage")
    visit.get_by_text("Left out", exact=True).click()
    expect(visit).to_have_url(f"{address}/left-out")
    expect(visit.get_by_text("Nothing was left out")).to_be_visible()


def test_the_address_of_the_view_that_was_split_leads_to_the_contents(
    visit: Page, address: str
) -> None:
    visit.goto(f"{address}/library")
    expect(visit.get_by_role("heading", name="Contents")).to_be_visible()
    expect(visit).to_have_url(re.compile("/contents$"))


# --- filters ---------------------------------------------------------------------------------


def panel(page: Page) -> Locator:
    return page.get_by_test_id("stSidebar").locator(".panel")


def counts(page: Page, field: str) -> dict[str, str]:
    """The values of the field that are in sight, with their counts, once they are the answer's."""
    expect(panel(page)).not_to_have_class("panel pending")
    rows = panel(page).get_by_role("group", name=field, exact=True).get_by_role("listitem").all()
    return {row.locator(".text").inner_text(): row.locator(".count").inner_text() for row in rows}


def found(page: Page, count: int) -> None:
    expect(page.get_by_text(f"{count} picture", exact=False).first).to_be_visible()


def test_values_have_their_counts_in_the_answer_and_narrow_it(visit: Page, address: str) -> None:
    visit.goto(f"{address}/?q=red")
    expect(panel(visit).get_by_role("group", name="Camera", exact=True)).to_be_visible()
    expect(panel(visit).locator(".count").first).to_have_text(re.compile("[0-9]"))
    assert counts(visit, "Camera") == {
        "Pentax": "6", "<b>Leica</b>": "4", "Canon": "4", "Fuji": "4", "Nikon": "4",
    }  # fmt: skip
    leave_shot(visit, "filters")
    panel(visit).get_by_role("checkbox", name="Canon").click()
    expect(visit).to_have_url(re.compile("where-camera=Canon"))
    expect(visit.get_by_text("4 found")).to_be_visible()
    # The others can still be added, with what they would add; the chosen one is on top.
    settle(visit)
    assert list(counts(visit, "Camera").items())[:2] == [("Canon", "4"), ("Pentax", "6")]
    expect(panel(visit).get_by_role("checkbox", name="Canon")).to_be_focused()
    panel(visit).get_by_role("button", name="Clear Camera").click()
    expect(visit).not_to_have_url(re.compile("where-camera"))


def test_a_value_is_found_within_its_field(visit: Page, address: str) -> None:
    visit.goto(address)
    visit.get_by_role("button", name=re.compile("Show all 8 of Camera")).click()
    visit.get_by_label("Find in Camera").fill("olym")
    field = panel(visit).get_by_role("group", name="Camera", exact=True)
    expect(field.get_by_role("listitem")).to_have_count(1)
    visit.get_by_label("Find in Camera").press("Enter")
    expect(visit).to_have_url(re.compile("where-camera=Olympus"))
    expect(visit.get_by_text("pictures fit the filters")).to_be_visible()


def test_a_range_is_brushed_on_the_timeline_and_refined_by_day(visit: Page, address: str) -> None:
    visit.goto(f"{address}/?q=red")
    bars = panel(visit).locator(".bar")
    expect(bars).to_have_count(10)  # years
    settle(visit)
    first, last = bars.nth(2).bounding_box(), bars.nth(3).bounding_box()
    assert first is not None and last is not None
    visit.mouse.move(first["x"] + 2, first["y"] + 30)
    visit.mouse.down()
    visit.mouse.move(last["x"] + 4, last["y"] + 30, steps=4)
    leave_shot(visit, "brush")
    visit.mouse.up()
    expect(visit).to_have_url(re.compile("where-taken-from=2012-01-01"))
    expect(visit).to_have_url(re.compile("where-taken-until=2013-12-31"))
    expect(visit.get_by_text("6 found")).to_be_visible()
    expect(visit.get_by_role("group", name="Taken from")).to_be_visible()
    panel(visit).get_by_role("button", name="Clear Taken").click()
    expect(visit).not_to_have_url(re.compile("where-taken"))


def test_the_timeline_and_the_stars_are_reached_by_keys(visit: Page, address: str) -> None:
    visit.goto(f"{address}/?q=red")
    expect(panel(visit).locator(".bar")).to_have_count(10)
    settle(visit)
    panel(visit).locator(".bar").first.focus()
    visit.keyboard.press("ArrowRight")
    visit.keyboard.press("Shift+ArrowRight")
    visit.keyboard.press("Enter")
    expect(visit).to_have_url(re.compile("where-taken-from=2011-01-01"))
    expect(visit).to_have_url(re.compile("where-taken-until=2012-12-31"))
    panel(visit).get_by_role("button", name="At least 4 stars").press("Enter")
    expect(visit).to_have_url(re.compile("where-rating-from=4"))
    expect(visit.get_by_text("3 found")).to_be_visible()


def test_an_address_of_before_filters_as_it_did(visit: Page, address: str) -> None:
    visit.goto(
        f"{address}/?q=red&where-camera=Canon&where-camera=Nikon&where-taken-until=2012-12-31"
    )
    expect(panel(visit).get_by_role("checkbox", name="Nikon")).to_be_checked()
    expect(visit.get_by_text("3 found")).to_be_visible()


# --- home ------------------------------------------------------------------------------------


def tile(page: Page, text: str) -> Locator:
    return page.get_by_test_id("stMain").get_by_role("button", name=text, exact=True)


def test_before_a_request_tiles_show_what_the_library_answers(visit: Page, address: str) -> None:
    visit.goto(address)
    blue = tile(visit, "a <b>blue</b> sea")
    expect(blue).to_be_visible()
    painted = "button => { const i = button.querySelector('img'); return i && i.naturalWidth > 0; }"
    expect(blue.locator("img")).to_have_attribute("src", re.compile("gallery/thumb.id=blue.png"))
    settle(visit)
    assert blue.evaluate(painted)
    leave_shot(visit, "home")
    blue.click()
    expect(visit).to_have_url(re.compile("q=a"))
    expect(visit.get_by_label("Describe a scene")).to_have_value("a <b>blue</b> sea")
    expect(visit.get_by_role("heading", name="Try")).to_have_count(0)


def test_a_collection_is_opened_by_its_tile(visit: Page, address: str) -> None:
    visit.goto(address)
    tile(visit, "Red ones").click()
    expect(visit).to_have_url(re.compile("/collections.*collection=Red"))
    expect(visit.get_by_role("heading", name="Red ones")).to_be_visible()


# --- a phone ---------------------------------------------------------------------------------


def test_a_phone_has_its_views_at_the_bottom_and_filters_behind_a_button(
    visit: Page, address: str
) -> None:
    visit.set_viewport_size({"width": 360, "height": 740})
    visit.goto(f"{address}/?q=red")
    bar = visit.locator(".st-key-bottom-bar")
    expect(bar.get_by_role("link")).to_have_count(4)
    expect(bar.get_by_role("link")).to_contain_text(["Search", "Collections", "Map", "Add"])
    settle(visit)
    box = bar.bounding_box()
    assert box is not None and box["y"] + box["height"] > 720 and box["height"] < 80
    leave_shot(visit, "phone-answer")
    # Nothing is counted for a panel that is out of sight.
    expect(panel(visit)).to_have_class("panel pending")
    visit.get_by_test_id("stExpandSidebarButton").click()
    expect(panel(visit)).to_have_class("panel")
    visit.wait_for_timeout(500)
    leave_shot(visit, "phone-filters")
    panel(visit).get_by_role("checkbox", name="Canon").click()
    expect(visit).to_have_url(re.compile("where-camera=Canon"))
    visit.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
    bar.get_by_role("link", name="Collections").click()
    expect(visit.get_by_role("heading", name="Collections", exact=True)).to_be_visible()
    assert visit.evaluate("document.documentElement.scrollWidth") <= 360


def test_on_a_desk_there_is_no_bar_at_the_bottom(visit: Page, address: str) -> None:
    visit.goto(address)
    expect(tile(visit, "Red ones")).to_be_visible()
    expect(visit.locator(".st-key-bottom-bar")).to_be_hidden()


# --- for everybody ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1440, 360])
def test_nothing_moves_by_itself_while_the_page_opens(
    visit: Page, address: str, width: int
) -> None:
    visit.set_viewport_size({"width": width, "height": 900})
    visit.goto(address)
    expect(tile(visit, "Red ones")).to_be_visible()
    settle(visit)
    assert visit.evaluate(SHIFT) < 0.05


@pytest.mark.parametrize("width", [1440, 768, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_screen_has_no_barrier_in_either_scheme(
    chromium: Browser, address: str, scheme: Literal["light", "dark"], width: int
) -> None:
    page = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.set_default_timeout(SLOW_MS)
    found = []
    for name, view in (("home", "/"), ("answer", "/?q=red&where-camera=Canon")):
        page.goto(f"{address}{view}")
        picture = page.locator('[class*="st-key-gallery"] [role="option"]').first
        expect(picture).to_be_visible(timeout=SLOW_MS)
        if width > 1000:
            expect(panel(page)).to_have_class("panel", timeout=SLOW_MS)
        leave_shot(page, f"{scheme}-{width}-{name}")
        for fault in Axe().run(page).response["violations"]:
            places = [node["html"][:160] for node in fault["nodes"][:2]]
            found.append(f"{view}: {fault['id']} ({fault['impact']}): {places}")
    page.close()
    assert not found, "\n".join(found)
