"""The page in a real browser: what a visitor sees, types and clicks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import serving
from tests.unit.ui_world import Shot, build_library, reds

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
    """The page as it first appears; anything it fetches from elsewhere or reports fails."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    strangers: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: strangers.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    expect(page.get_by_text("32 pictures in this library")).to_be_visible(timeout=30_000)
    yield page
    page.close()
    allowed = (address, address.replace("http", "ws"), "data:", "blob:")
    assert [url for url in strangers if not url.startswith(allowed)] == []
    assert faults == []


def ask(page: Page, text: str) -> None:
    page.get_by_label("Describe a scene").fill(text)
    page.get_by_label("Describe a scene").press("Enter")


def pictures(page: Page) -> Any:
    return page.locator('[class*="st-key-grid"] img')


def test_a_visitor_asks_sees_pictures_filters_and_opens_one(visit: Page, tmp_path: Path) -> None:
    ask(visit, "red")
    expect(visit.get_by_text("Pictures 1–24, more on the next page")).to_be_visible()
    expect(pictures(visit)).to_have_count(24)
    # The grid of the library before the question has 24 pictures too: wait for the answer's.
    expect(pictures(visit).first).to_have_attribute("alt", "red-00.png")
    loaded = "all => all.every(image => image.complete && image.naturalWidth > 0)"
    grid = "[...document.querySelectorAll('[class*=st-key-grid] img')]"
    visit.wait_for_function(f"({loaded})({grid})")
    assert "q=red" in visit.url

    visit.get_by_role("group", name="Taken until").locator("[data-type=year]").click()
    visit.keyboard.type("20200103")
    visit.get_by_role("heading", name="Describe a scene").click()  # closes the calendar
    expect(pictures(visit)).to_have_count(3)
    expect(visit.get_by_label("Describe a scene")).to_have_value("red")

    visit.screenshot(path=tmp_path / "answer.png")
    visit.get_by_role("button", name="Open picture 2", exact=True).click()
    dialog = visit.get_by_role("dialog")
    expect(dialog.get_by_role("img", name="red-01.png")).to_be_visible()
    expect(dialog.get_by_text("Size: 64 × 48 pixels")).to_be_visible()
    with visit.expect_download() as download:
        dialog.get_by_role("button", name="Download the original").click()
    assert download.value.suggested_filename == "red-01.png"
    visit.screenshot(path=tmp_path / "original.png")
    assert (tmp_path / "original.png").stat().st_size > 5_000


def test_what_is_being_typed_survives_a_filter(visit: Page) -> None:
    visit.get_by_label("Describe a scene").type("a red b")
    visit.get_by_role("combobox", name="Shape").click()
    visit.get_by_role("option", name="portrait").click()
    expect(pictures(visit)).to_have_count(1)
    expect(visit.get_by_label("Describe a scene")).to_have_value("a red b")


def test_a_shared_address_asks_the_same_question(chromium: Browser, address: str) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/?q=blue&where-orientation=portrait")
    expect(page.get_by_text("1 picture · 1 searched")).to_be_visible(timeout=30_000)
    expect(page.get_by_label("Describe a scene")).to_have_value("blue")
    page.close()


def test_words_of_a_library_are_shown_as_they_are_written(visit: Page) -> None:
    ask(visit, "blue")
    expect(pictures(visit)).to_have_count(1)
    card = visit.locator(".st-key-card-1 .stText").first
    assert card.inner_text() == MARKUP
    assert card.locator("a, b, strong, em, img, script, .katex, code").count() == 0
    visit.get_by_role("button", name="Open picture 1", exact=True).click()
    dialog = visit.get_by_role("dialog")
    expect(dialog.get_by_text(MARKUP, exact=True)).to_be_visible()
    assert dialog.locator("strong, a[href*='example.invalid'], .katex").count() == 0
    assert visit.title() == "scenesearch"


def test_names_of_fields_and_their_values_are_no_markup_either(visit: Page) -> None:
    sidebar = visit.get_by_test_id("stSidebar")
    worth = sidebar.get_by_test_id("stWidgetLabel").filter(has_text="worth")
    expect(worth).to_have_count(2)
    labels = {text.replace("\u2060", "").strip() for text in worth.all_inner_texts()}
    assert labels == {f"{FIELD} from", f"{FIELD} to"}
    visit.get_by_role("combobox", name="Tags").click()
    expect(visit.get_by_role("option")).to_have_count(1)
    assert visit.get_by_role("option").all_inner_texts() == [MARKUP]
    assert sidebar.locator("strong, .katex").count() == 0


def test_a_picture_whose_file_is_gone_has_a_placeholder_and_an_explanation(visit: Page) -> None:
    ask(visit, "green")
    expect(pictures(visit)).to_have_count(1)
    visit.get_by_role("button", name="Open picture 1", exact=True).click()
    expect(visit.get_by_text("cannot be shown: no such file")).to_be_visible()


def test_nothing_that_matches_is_said(visit: Page) -> None:
    ask(visit, "zeppelin")
    expect(visit.get_by_text("Nothing in this library matches")).to_be_visible()
    visit.get_by_text("Show the nearest pictures anyway").click()
    expect(pictures(visit)).to_have_count(3)


def test_on_a_phone_two_pictures_stand_side_by_side(chromium: Browser, address: str) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/?q=red")
    expect(pictures(page)).to_have_count(24, timeout=30_000)
    boxes = [pictures(page).nth(number).bounding_box() for number in range(3)]
    assert boxes[0]["y"] == boxes[1]["y"] < boxes[2]["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_the_page_follows_a_dark_system(chromium: Browser, address: str) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(address)
    expect(page.get_by_text("32 pictures in this library")).to_be_visible(timeout=30_000)
    background = page.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    assert sum(int(part) for part in background[4:-1].split(",")[:3]) < 150
    page.close()
