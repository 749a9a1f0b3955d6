"""The maps in a real browser: by likeness, by place, and as a filter.

Screenshots are left in out/page/, to be looked at.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Response, expect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import serving
from tests.browser.gallery_page import SLOW_MS, leave_shot, pictures, settle, visiting
from tests.unit.ui_world import Shot, build_library

pytestmark = pytest.mark.browser
expect.set_options(timeout=SLOW_MS)
expect.set_options(timeout=SLOW_MS)

MARKUP = "<b onclick=alert(1)>sea</b>"
PARIS, SYDNEY = (48.86, 2.35), (-33.87, 151.21)


def world() -> list[Shot]:
    """Forty red pictures of Paris, whose tag looks like markup, and twenty blue ones of Sydney."""
    return [
        *(
            Shot(
                f"red-{n:02}.png",
                (235, 3 * n, 20),
                payload={"location": around(PARIS, n), "tags": [MARKUP], "camera": "Kodak"},
            )
            for n in range(40)
        ),
        *(
            Shot(f"blue-{n:02}.png", (20, 3 * n, 235), payload={"location": around(SYDNEY, n)})
            for n in range(20)
        ),
        Shot("nowhere.png", (20, 200, 20)),
    ]


def around(place: tuple[float, float], number: int) -> dict[str, float]:
    return {"lat": place[0] + number % 7 / 10, "lon": place[1] + number // 7 / 10}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("map")
    build_library(data_dir, OnnxEncoder(tiny_encoder, threads=1), world())
    with serving(data_dir, tiny_encoder) as started:
        yield started.address


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Page]:
    """A page to which no answer is an error."""
    failures: list[str] = []
    with visiting(chromium, address, width=1440, height=1000) as page:
        page.on("response", lambda one: failures.append(one.url) if failed(one) else None)
        yield page
    assert failures == []


def failed(response: Response) -> bool:
    # Streamlit itself looks for its endpoints below each view's path first.
    return response.status >= 400 and "/_stcore/" not in response.url


def the_map(page: Page) -> Locator:
    return page.locator(".map canvas")


def open_map(
    page: Page, address: str, which: str = "By likeness"
) -> tuple[float, float, float, float]:
    """Where the map's canvas lies: left, top, width, height."""
    page.goto(f"{address}/map")
    page.get_by_role("radio", name=which).click()
    count = 61 if which == "By likeness" else 60
    page.locator(f"[data-points='{count}']").wait_for()
    settle(page)
    box = the_map(page).bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def drag(page: Page, *places: tuple[float, float]) -> None:
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def test_one_zooms_in_and_thumbnails_come(visit: Page, address: str) -> None:
    left, top, _, _ = open_map(visit, address)
    found = visit.evaluate(FIRST_MARK)
    visit.mouse.move(left + found[0], top + found[1])
    for zoom in (2, 4, 8):
        visit.mouse.wheel(0, -240)
        visit.locator(f"[data-zoom='{zoom}.00']").wait_for()
    visit.locator("[data-thumbs]").wait_for()
    visit.get_by_role("button", name="Zoom out").click()
    visit.locator("[data-zoom='4.00']").wait_for()
    leave_shot(visit, "map-near")
    visit.get_by_role("button", name="Show all").click()
    visit.locator("[data-zoom='1.00']").wait_for()


def test_a_lasso_shows_the_pictures_inside(visit: Page, address: str) -> None:
    left, top, width, height = open_map(visit, address)
    visit.get_by_role("button", name="Lasso").click()
    right, bottom = left + width - 5, top + height - 5
    drag(visit, (left + 5, top + 50), (right, top + 50), (right, bottom), (left + 5, bottom))
    expect(visit.get_by_text("61 of 61 pictures selected")).to_be_visible()
    expect(pictures(visit).first).to_be_visible()
    leave_shot(visit, "map-lasso")
    visit.get_by_role("button", name="Clear").click()
    expect(pictures(visit)).to_have_count(0)


def test_parts_are_reached_by_the_keyboard_and_their_names_are_no_markup(
    visit: Page, address: str
) -> None:
    open_map(visit, address)
    part = visit.locator(".parts button", has_text=MARKUP).first
    count = int(part.locator("span").inner_text())
    part.focus()
    visit.keyboard.press("Enter")
    expect(visit.get_by_text(f"{count} of 61 pictures selected")).to_be_visible()
    expect(part).to_have_attribute("aria-pressed", "true")
    expect(pictures(visit)).to_have_count(count)
    the_map(visit).focus()
    visit.keyboard.press("Escape")
    expect(pictures(visit)).to_have_count(0)
    visit.keyboard.press("+")
    visit.locator("[data-zoom='2.00']").wait_for()
    visit.keyboard.press("0")
    visit.keyboard.press("Enter")
    expect(visit.get_by_text("61 of 61 pictures selected")).to_be_visible()


def test_a_click_opens_the_picture_below_it(visit: Page, address: str) -> None:
    left, top, _, _ = open_map(visit, address)
    found = visit.evaluate(FIRST_MARK)
    visit.mouse.move(left + found[0], top + found[1])
    expect(visit.locator(".map .hover")).to_contain_text(".png")
    visit.mouse.click(left + found[0], top + found[1])
    expect(visit.get_by_role("dialog")).to_be_visible()
    assert "#picture=" in visit.url
    visit.keyboard.press("Escape")
    expect(visit.get_by_role("dialog")).to_have_count(0)
    expect(visit.get_by_text("The pictures around it")).to_be_visible()
    the_map(visit).scroll_into_view_if_needed()  # the closed picture has the focus
    at = the_map(visit).bounding_box()
    assert at is not None
    visit.mouse.click(at["x"] + found[0], at["y"] + found[1])  # the gallery is there now
    expect(visit.get_by_role("dialog")).to_be_visible()
    visit.go_back()
    expect(visit.get_by_role("dialog")).to_have_count(0)


# Where something blue lies on the map.
FIRST_MARK = """
() => {
  const find = (root) => root.querySelector(".map canvas") ?? [...root.querySelectorAll("*")]
    .map((one) => one.shadowRoot && find(one.shadowRoot)).find(Boolean);
  const canvas = find(document), pen = canvas.getContext("2d");
  const share = canvas.width / canvas.clientWidth;
  const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const at = 4 * (y * canvas.width + x);
      if (data[at + 2] - data[at] > 90) return [x / share + 1, y / share + 1];
    }
  }
}
"""


def test_pictures_lie_where_they_were_taken_and_counts_split(visit: Page, address: str) -> None:
    left, top, width, height = open_map(visit, address, "By place")
    leave_shot(visit, "map-places")
    visit.get_by_role("button", name="Box").click()
    drag(visit, (left + width / 2, top + height / 2), (left + width - 5, top + height - 5))
    expect(visit.get_by_text("20 of 60 pictures selected")).to_be_visible()
    expect(pictures(visit)).to_have_count(20)
    visit.get_by_role("button", name="Move").click()
    visit.get_by_role("button", name="Clear").click()
    expect(pictures(visit)).to_have_count(0)
    found = visit.evaluate(FIRST_MARK)
    visit.mouse.click(left + found[0], top + found[1] + 2)
    visit.wait_for_timeout(500)
    expect(visit.locator("[data-zoom='1.00']")).to_have_count(0)
    visit.locator("[data-thumbs]").wait_for()
    leave_shot(visit, "map-places-near")


def test_a_box_on_a_small_map_filters_the_answer(visit: Page, address: str) -> None:
    visit.goto(f"{address}/?q=red")
    settle(visit)
    visit.get_by_text("Place on a map").click()
    visit.locator(".small [data-points='60']").wait_for()
    settle(visit)
    box = visit.locator(".map.small canvas").bounding_box()
    assert box is not None
    visit.locator(".map.small").scroll_into_view_if_needed()
    box = visit.locator(".map.small canvas").bounding_box()
    assert box is not None
    drag(
        visit,
        (box["x"] + box["width"] / 2, box["y"] + 40),
        (box["x"] + box["width"] - 3, box["y"] + box["height"] - 3),
    )
    expect(visit.locator(".small .said")).to_have_text("20 of 60 pictures selected")
    visit.wait_for_url("**where-location=*")
    settle(visit)
    leave_shot(visit, "map-filter")
    visit.get_by_role("button", name="Clear filters").click()
    expect(visit.locator(".small .said")).to_have_text("60 pictures by place")


@pytest.mark.parametrize("which", ["By likeness", "By place"])
def test_the_maps_have_no_fault_that_axe_finds(visit: Page, address: str, which: str) -> None:
    open_map(visit, address, which)
    found = Axe().run(visit)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [1440, 768, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_map_fits_every_screen(
    chromium: Browser, address: str, width: int, scheme: str
) -> None:
    page = chromium.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.set_default_timeout(SLOW_MS)
    left, _, wide, _ = open_map(page, address)
    assert left >= 0 and left + wide <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    leave_shot(page, f"map-{width}-{scheme}")
    page.close()
