"""The page in a real browser: what a visitor sees, types and clicks."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import serving
from tests.browser.gallery_page import (
    SLOW_MS,
    ask,
    boxes,
    details,
    expect_first,
    expect_painted,
    open_picture,
    opened,
    pictures,
    visiting,
)
from tests.unit.ui_world import Shot, build_library, reds
from ui.scripts import loader

pytestmark = pytest.mark.browser

MARKUP = (
    "<script>document.title='taken'</script> **bold** ![x](http://example.invalid/x.png) $x^2$ "
    ":red[red] :material/home: :smile: -> www.example.invalid <img src=x onerror=alert(1)>"
)
FIELD = "**worth** :smile: $x$"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[str]:
    """Thirty red pictures, a blue one with hostile words, a green one whose file is gone."""
    data_dir = tmp_path_factory.mktemp("data")
    hostile: dict[str, Any] = {
        "captions": [MARKUP],
        "tags": [MARKUP],
        "folder": [MARKUP],
        FIELD: 5,
    }
    folder = build_library(
        data_dir,
        OnnxEncoder(tiny_encoder, threads=1),
        [
            *reds(30),
            Shot("blue.png", (0, 0, 255), size=(48, 64), payload=hostile),
            Shot("green.png", (0, 255, 0)),
        ],
        custom={FIELD: "integer"},
    )
    (folder / "green.png").unlink()
    with serving(data_dir, tiny_encoder) as started:
        yield started.address


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Page]:
    """The page as it first appears."""
    with visiting(chromium, address) as page:
        page.goto(address)
        expect(page.get_by_text("32 pictures in this library")).to_be_visible(timeout=SLOW_MS)
        yield page


def test_a_visitor_asks_sees_pictures_filters_and_opens_one(visit: Page, tmp_path: Path) -> None:
    ask(visit, "red")
    expect(visit.get_by_text("30 found")).to_be_visible()
    expect_first(visit, "red-00.png")
    expect_painted(visit)
    assert "q=red" in visit.url

    visit.get_by_text("Exact dates and more").click()
    visit.get_by_role("group", name="Taken until").locator("[data-type=year]").click()
    visit.keyboard.type("20200103")
    visit.get_by_text("Narrow it down").click()  # closes the calendar
    expect(pictures(visit)).to_have_count(3)
    expect(visit.get_by_label("Describe a scene")).to_have_value("red")

    visit.screenshot(path=tmp_path / "answer.png")
    dialog = open_picture(visit, "red-01.png")
    expect(details(visit, dialog).get_by_text("64 × 48 pixels")).to_be_visible()
    with visit.expect_download() as download:
        dialog.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "red-01.png"
    visit.screenshot(path=tmp_path / "original.png")
    assert (tmp_path / "original.png").stat().st_size > 5_000


def test_what_is_being_typed_survives_a_filter(visit: Page) -> None:
    visit.get_by_label("Describe a scene").type("a red b")
    visit.get_by_role("checkbox", name="portrait").click()
    expect(pictures(visit)).to_have_count(1)
    expect(visit.get_by_label("Describe a scene")).to_have_value("a red b")


def test_a_shared_address_asks_the_same_question(chromium: Browser, address: str) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/?q=blue&where-orientation=portrait")
    expect(page.get_by_text("1 found")).to_be_visible(timeout=30_000)
    expect_first(page, MARKUP[:200])
    expect(page.get_by_label("Describe a scene")).to_have_value("blue")
    page.close()


def test_words_of_a_library_are_shown_as_they_are_written(visit: Page) -> None:
    ask(visit, "blue")
    expect(pictures(visit)).to_have_count(1)
    expect_first(visit, MARKUP[:200])
    pictures(visit).first.click()
    dialog = visit.get_by_role("dialog", name="Picture:")
    drawer = details(visit, dialog)
    expect(drawer.get_by_text(MARKUP, exact=True).first).to_be_visible()
    assert dialog.locator("b, strong, em, script, .katex, a[href*='example.invalid']").count() == 0
    assert visit.title() == "scenesearch"


def test_names_of_fields_and_their_values_are_no_markup_either(visit: Page) -> None:
    sidebar = visit.get_by_test_id("stSidebar")
    visit.get_by_text("Exact dates and more").click()
    worth = sidebar.get_by_test_id("stWidgetLabel").filter(has_text="worth")
    expect(worth).to_have_count(2)
    labels = {text.replace("\u2060", "").strip() for text in worth.all_inner_texts()}
    assert labels == {f"{FIELD} from", f"{FIELD} to"}
    tags = visit.get_by_role("group", name="Tags").locator(".text")
    expect(tags).to_have_text([MARKUP], use_inner_text=True)
    assert sidebar.locator("strong, .katex").count() == 0


def test_a_picture_whose_file_is_gone_has_a_placeholder_and_an_explanation(visit: Page) -> None:
    ask(visit, "green")
    expect(pictures(visit)).to_have_count(1)
    dialog = open_picture(visit, "green.png")
    expect(dialog.get_by_text("cannot be shown: no such file")).to_be_visible()


def test_nothing_that_matches_is_said_and_the_nearest_are_shown(visit: Page) -> None:
    ask(visit, "zeppelin")
    expect(visit.get_by_text("Nothing in this library matches")).to_be_visible()
    expect(visit.get_by_text("Less certain below")).to_be_visible()
    expect(pictures(visit)).to_have_count(3)


def test_on_a_phone_pictures_stand_side_by_side(chromium: Browser, address: str) -> None:
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{address}/?q=red")
    expect_first(page, "red-00.png")
    first, second = boxes(page)[:2]
    assert first["y"] == second["y"] and first["x"] < second["x"]
    assert first["y"] + first["height"] < 740
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


# --- the history -----------------------------------------------------------------------------


def test_back_and_forward_lead_from_request_to_request(visit: Page) -> None:
    ask(visit, "red")
    expect_first(visit, "red-00.png")
    ask(visit, "green")
    expect_first(visit, "green.png")
    visit.get_by_role("checkbox", name="portrait").click()
    expect(visit).to_have_url(re.compile("portrait"))
    expect(visit.get_by_text("Nothing in this library matches")).to_be_visible()
    visit.go_back()
    expect_first(visit, "green.png")
    visit.go_back()
    expect_first(visit, "red-00.png")
    expect(visit.get_by_label("Describe a scene")).to_have_value("red")
    visit.go_forward()
    expect_first(visit, "green.png")
    expect(visit.get_by_label("Describe a scene")).to_have_value("green")
    visit.go_back()
    visit.go_back()
    expect(visit.get_by_text("32 pictures in this library")).to_be_visible()
    assert "q=" not in visit.url


def test_the_answer_comes_while_one_types_and_no_key_is_lost(visit: Page) -> None:
    box = visit.get_by_label("Describe a scene")
    expect(pictures(visit).first).to_be_visible(timeout=SLOW_MS)
    before = visit.evaluate("history.length")
    box.click()
    box.press_sequentially("red", delay=120)
    expect(visit.get_by_text("30 found")).to_be_visible(timeout=SLOW_MS)
    box.press_sequentially(" sea with a blue boat", delay=120)
    expect(box).to_have_value("red sea with a blue boat")
    expect(box).to_be_focused()
    expect(visit.get_by_test_id("stStatusWidget")).to_have_count(0)
    visit.wait_for_timeout(1500)  # nothing is sent any more
    assert visit.evaluate("history.length") == before + 1
    visit.go_back()
    expect(box).to_have_value("", timeout=SLOW_MS)


def test_an_answer_is_drawn_that_overtakes_the_script_of_the_gallery(
    chromium: Browser, address: str
) -> None:
    page = chromium.new_page()
    page.route("**/scripts/*", lambda script: (page.wait_for_timeout(1000), script.continue_()))
    page.goto(address)
    expect(page.get_by_text("32 pictures in this library")).to_be_visible()
    ask(page, "red")
    expect_first(page, "red-00.png")
    page.unroute_all(behavior="wait")  # else the next test is told that this one ended
    page.close()


# Calls a component as Streamlit does: an outdated call is ended as soon as it has returned.
CALLS = """
async ([loader, order]) => {
  const file = new Blob([loader], { type: "text/javascript" });
  const { default: load } = await import(URL.createObjectURL(file));
  const parentElement = document.createElement("div");
  document.body.append(parentElement);
  await Promise.all(order.map(async (title) => {
    const end = await load({ parentElement, data: { base: "/", rows: [{ title, tiles: [] }] } });
    if (title === "earlier") end?.();
  }));
  await new Promise((done) => setTimeout(done, 300));
  return parentElement.textContent;
}
"""


@pytest.mark.parametrize("order", [("earlier", "later"), ("later", "earlier")])
def test_of_two_calls_of_a_component_the_later_stands_in_whatever_order_they_come(
    chromium: Browser, address: str, order: tuple[str, ...]
) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/_stcore/health")
    assert page.evaluate(CALLS, [loader("tiles"), order]) == "later"
    page.close()


def test_a_component_that_is_taken_down_before_it_is_mounted_stays_away(
    chromium: Browser, address: str
) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/_stcore/health")
    assert page.evaluate(CALLS, [loader("tiles"), ("earlier",)]) == ""
    page.close()


def test_a_filter_that_is_being_typed_waits_for_its_end(visit: Page) -> None:
    box = visit.get_by_label("Describe a scene")
    expect(pictures(visit).first).to_be_visible(timeout=SLOW_MS)
    box.click()
    box.press_sequentially('red "no', delay=20)
    visit.wait_for_timeout(1500)
    expect(visit.get_by_text("32 pictures in this library")).to_be_visible()
    box.press_sequentially(' parking"', delay=20)
    expect(visit.get_by_text("30 found")).to_be_visible(timeout=SLOW_MS)


def test_an_open_picture_is_an_address_of_its_own(visit: Page) -> None:
    ask(visit, "red")
    expect_first(visit, "red-00.png")
    open_picture(visit, "red-02.png")
    assert visit.url.endswith("?q=red#picture=red-02.png")
    visit.keyboard.press("ArrowRight")
    opened(visit, "red-03.png")
    visit.reload()
    opened(visit, "red-03.png")
    visit.keyboard.press("ArrowLeft")
    opened(visit, "red-02.png")
    visit.go_back()  # the answer without a picture
    expect(visit.get_by_role("dialog")).to_have_count(0)
    assert "picture" not in visit.url and "q=red" in visit.url
    visit.go_forward()
    opened(visit, "red-02.png")


def test_two_tabs_are_independent(chromium: Browser, address: str) -> None:
    context = chromium.new_context()
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        page.goto(address)
    ask(first, "red")
    expect_first(first, "red-00.png")
    ask(second, "green")
    expect_first(second, "green.png")
    first.reload()
    expect_first(first, "red-00.png")
    context.close()


def test_more_like_this_is_a_request_that_back_leaves(visit: Page) -> None:
    ask(visit, "red")
    expect_first(visit, "red-00.png")
    open_picture(visit, "red-00.png").get_by_role("button", name="More like this").click()
    expect(visit.get_by_label("Describe a scene")).to_have_value("like:red-00.png")
    expect_first(visit, "red-01.png")
    expect(visit.get_by_role("dialog")).to_have_count(0)
    assert "picture=" not in visit.url
    open_picture(visit, "red-01.png").get_by_role("button", name="Not this").click()
    expect(visit.get_by_label("Describe a scene")).to_have_value(
        "like:red-00.png - like:red-01.png"
    )


# --- the header ------------------------------------------------------------------------------


def test_the_header_stays_and_shares_the_address(chromium: Browser, address: str) -> None:
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{address}/?q=red")
    expect_first(page, "red-00.png")
    page.mouse.move(700, 500)
    page.mouse.wheel(0, 600)
    expect(page.get_by_label("Describe a scene")).to_be_in_viewport()
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_text("Address copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{address}/?q=red"
    context.close()


def test_three_tabs_lead_to_the_first_picture(chromium: Browser, address: str) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/?q=red")
    expect_first(page, "red-00.png")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the pictures")).to_be_focused()
    page.keyboard.press("Enter")
    expect(pictures(page).first).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    opened(page, "red-01.png")
    page.keyboard.press("Escape")
    expect(pictures(page).nth(1)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Describe a scene")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.get_by_label("Describe a scene")).to_have_value("a/b")
    page.close()


def test_the_first_heading_is_seen_only_before_a_request(visit: Page) -> None:
    heading = visit.get_by_role("heading", level=1, name="Describe a scene")
    box = heading.bounding_box()
    assert box is not None and box["height"] > 20
    ask(visit, "red")
    expect_first(visit, "red-00.png")
    expect(heading).to_have_count(1)
    assert visit.locator(".st-key-quiet-title").evaluate("it => it.clientHeight") <= 1


def test_the_page_follows_a_dark_system(chromium: Browser, address: str) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(address)
    expect(page.get_by_text("32 pictures in this library")).to_be_visible(timeout=30_000)
    background = page.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    assert sum(int(part) for part in background[4:-1].split(",")[:3]) < 150
    page.close()
