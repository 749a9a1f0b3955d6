"""The gallery by itself, in a real browser: what it draws, and what keys, pointers and Back do.

Screenshots are left in out/gallery/, to be looked at.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.gallery_harness import (
    BROKEN,
    HOSTILE,
    WORDED,
    Harness,
    gallery_harness,
    picture_id,
)

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "out" / "gallery"
Open = Callable[..., Page]
# The open picture is there, decoded, not only its thumbnail.
ROOT = "document.querySelector('#host').shadowRoot"
SHOWN = f"() => {ROOT}.querySelector('.viewer').dataset.shown"


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with gallery_harness() as server:
        yield server


@pytest.fixture
def open_page(chromium: Browser, harness: Harness) -> Iterator[Open]:
    """Opens the page with a query; an error on the page fails the test."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []
    harness.failing = harness.forgotten = False

    def open_it(query: str = "n=200", width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{harness.address}/?{query}")
        page.wait_for_function("window.ready")
        page.set_default_timeout(10_000)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert errors == []


def tile(page: Page, index: int) -> Any:
    return page.locator(f'.tile[aria-posinset="{index + 1}"]')


def shown(page: Page, index: int) -> None:
    """Waits until this picture is open and drawn."""
    page.wait_for_function(f"({SHOWN})() === '{picture_id(index)}'")


def open_picture(page: Page, index: int) -> None:
    tile(page, index).click(position={"x": 60, "y": 60})
    shown(page, index)


def focused(page: Page) -> str:
    """The accessible name of what has the focus, or its tag."""
    return page.evaluate(
        "() => { let e = document.activeElement; while (e?.shadowRoot?.activeElement) "
        "e = e.shadowRoot.activeElement; return e.getAttribute('aria-posinset') ?? e.tagName; }"
    )


def boxes(page: Page) -> list[dict[str, float]]:
    """Of the tiles in the document, by index."""
    return page.evaluate(
        f"() => [...{ROOT}.querySelectorAll('.tile')].map(t => ({{"
        "index: t.index, left: t.offsetLeft, top: t.offsetTop, width: t.offsetWidth,"
        " height: t.offsetHeight})).sort((a, b) => a.index - b.index)"
    )


def scroll(page: Page, top: float) -> None:
    page.evaluate("top => { document.querySelector('main').scrollTop = top; }", top)
    page.wait_for_timeout(250)


def scroll_to_end(page: Page) -> None:
    """As far as there are pictures, which arrive as one scrolls."""
    page.wait_for_function(
        "() => { const main = document.querySelector('main'); main.scrollTop = 1e9;"
        f" return {ROOT}.querySelector('.foot').dataset.state === '' &&"
        " main.scrollTop + main.clientHeight >= main.scrollHeight - 1; }"
    )


def scroll_top(page: Page) -> float:
    return page.evaluate("() => document.querySelector('main').scrollTop")


def calls(page: Page, name: str) -> list[Any]:
    """What Streamlit was told under this name."""
    return [value for _, told, value in page.evaluate("window.calls") if told == name]


def told(page: Page, name: str, count: int = 1) -> Any:
    """The latest of at least `count` values told under this name."""
    page.wait_for_function(
        "([name, count]) => window.calls.filter(c => c[1] === name).length >= count",
        arg=[name, count],
    )
    return calls(page, name)[-1]


def selected(page: Page) -> list[str]:
    """The latest selection that was told, once it rests."""
    page.wait_for_timeout(300)
    return sorted(calls(page, "selected")[-1])


def address_of(page: Page) -> str:
    return page.evaluate("location.search + location.hash")


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "target"), [(1440, 220), (768, 199), (360, 120)])
def test_rows_are_as_wide_as_the_gallery_and_pictures_keep_their_proportions(
    open_page: Open, width: int, target: int
) -> None:
    page = open_page(width=width)
    room = page.evaluate("document.querySelector('#host').offsetWidth")
    sizes = {i["id"]: (i["w"], i["h"]) for i in page.evaluate("window.data.items")}
    rows: dict[float, list[dict[str, float]]] = {}
    for box in boxes(page):
        rows.setdefault(box["top"], []).append(box)

    for row in rows.values():
        assert abs(row[-1]["left"] + row[-1]["width"] - room) <= 1
        for left, right in pairwise(row):
            assert abs(right["left"] - left["left"] - left["width"] - 4) <= 1
        for box in row:
            w, h = sizes[picture_id(int(box["index"]))]
            assert box["width"] == pytest.approx(box["height"] * w / h, abs=2 + 0.5 * w / h)
    heights = [row[0]["height"] for row in rows.values()]
    assert target * 0.6 <= sum(heights) / len(heights) <= target * 1.4


def test_the_last_row_is_not_stretched(open_page: Open) -> None:
    page = open_page("n=6")
    last = boxes(page)[-1]
    assert last["index"] == 5
    assert last["height"] == 220
    assert last["left"] + last["width"] < page.evaluate(
        "document.querySelector('#host').offsetWidth"
    )


def test_a_tile_has_its_place_before_its_picture_comes(open_page: Open) -> None:
    page = open_page("n=40")
    before = boxes(page)
    background = tile(page, 0).evaluate("e => getComputedStyle(e).backgroundImage")
    page.wait_for_load_state("networkidle")
    assert before == boxes(page)
    assert background.startswith('url("data:image/bmp')
    assert page.evaluate("window.shifts") < 0.01


def test_thumbnails_are_as_large_as_the_screen_needs(open_page: Open, harness: Harness) -> None:
    harness.paths.clear()
    open_page("n=30").wait_for_load_state("networkidle")
    open_page("n=30", width=360, device_scale_factor=3).wait_for_load_state("networkidle")
    assert {path[-4:] for path in harness.asked("thumb")} == {"=220", "=440"}


@pytest.mark.parametrize("first", [60, 5])
def test_a_line_stands_before_what_is_less_certain(open_page: Open, first: int) -> None:
    page = open_page(f"n=60&answer=c12&first={first}")
    line = page.get_by_text("Less certain below")
    expect(line).to_be_visible()
    y = line.bounding_box()["y"]  # type: ignore[index]
    above, below = tile(page, 11).bounding_box(), tile(page, 12).bounding_box()
    assert above["y"] + above["height"] < y < below["y"]


def test_titles_are_shown_on_hover_or_always(open_page: Open) -> None:
    page = open_page("n=30")
    name = tile(page, 2).get_by_text("Morning fog over the hills, 3", exact=True)
    expect(name).to_have_count(0)
    tile(page, 2).hover()
    expect(name).to_be_visible()
    expect(tile(page, 2).get_by_text("94 %")).to_be_visible()

    page.evaluate("window.rerun({ captions: true })")
    page.mouse.move(0, 0)
    expect(name).to_be_visible()
    caption, picture = name.bounding_box(), tile(page, 2).locator("img").bounding_box()
    assert caption["y"] >= picture["y"] + picture["height"]


# --- endless -------------------------------------------------------------------------------------


def test_further_pictures_arrive_as_one_scrolls(open_page: Open, harness: Harness) -> None:
    page = open_page("n=300&first=60")
    harness.paths.clear()
    scroll_to_end(page)
    expect(tile(page, 299)).to_be_visible()
    assert harness.asked("items")[-1].startswith("/gallery/items?answer=an300&after=")


@pytest.mark.slow
def test_100000_pictures_are_a_few_hundred_nodes(open_page: Open) -> None:
    page = open_page("n=100000&first=100000&order=taken")
    high = page.evaluate("document.querySelector('main').scrollHeight")
    for share in (0.1, 0.5, 0.77, 1.0):
        scroll(page, high * share)
        page.wait_for_function(
            f"() => {ROOT}.elementFromPoint(700, 500)?.closest('.tile')?.firstChild.src"
        )
        seen = page.evaluate(
            "() => { const root = document.querySelector('#host').shadowRoot;"
            " const box = root.querySelector('.list').getBoundingClientRect();"
            " const at = root.elementFromPoint(700, 500)?.closest('.tile');"
            " return { nodes: root.querySelectorAll('*').length, index: at.index,"
            "  src: at.firstChild.getAttribute('src') }; }"
        )
        assert seen["nodes"] <= 400
        assert f"id={picture_id(seen['index'])}&" in seen["src"]
        assert seen["index"] == pytest.approx(100_000 * share, rel=0.02)
    expect(tile(page, 99_999)).to_be_visible()


def test_a_portion_that_fails_can_be_asked_for_again(open_page: Open, harness: Harness) -> None:
    harness.failing = True
    page = open_page("n=120&first=20")
    alert = page.get_by_text("More pictures could not be loaded.")
    expect(alert).to_be_visible()
    harness.failing = False
    page.get_by_role("button", name="Try again").click()
    expect(alert).to_have_count(0)
    scroll_to_end(page)
    expect(tile(page, 119)).to_be_visible()


def test_an_answer_that_the_server_forgot_is_reported_once(
    open_page: Open, harness: Harness
) -> None:
    harness.forgotten = True
    page = open_page("n=120&first=20")
    assert told(page, "lost") is True
    scroll(page, 2000)
    assert calls(page, "lost") == [True]


# --- the same answer, another answer -------------------------------------------------------------


def test_a_rerun_with_the_same_answer_changes_nothing(open_page: Open, harness: Harness) -> None:
    page = open_page("n=300&first=60")
    scroll(page, 2500)
    tile(page, 70).focus()
    page.wait_for_load_state("networkidle")
    before, top = boxes(page), scroll_top(page)
    page.evaluate(
        "() => { window.kept = document.querySelector('#host').shadowRoot.activeElement; }"
    )
    harness.paths.clear()
    page.evaluate("window.rerun()")
    assert (boxes(page), scroll_top(page)) == (before, top)
    assert page.evaluate("document.querySelector('#host').shadowRoot.activeElement === window.kept")
    assert harness.paths == []


def test_another_answer_begins_at_the_top_and_is_announced(open_page: Open) -> None:
    page = open_page("n=300")
    expect(page.locator(".live")).to_have_text("300 pictures found")
    scroll(page, 3000)
    page.evaluate("window.answer('?n=12&answer=b')")
    expect(page.locator(".live")).to_have_text("12 pictures found")
    assert scroll_top(page) == 0
    assert len(boxes(page)) == 12


def test_a_gallery_that_is_taken_down_and_mounted_again_is_where_it_was(open_page: Open) -> None:
    page = open_page("n=300&first=60")
    scroll(page, 1400)
    page.wait_for_timeout(900)
    page.evaluate("() => { window.unmount(); }")
    page.wait_for_function("!document.querySelector('#host').shadowRoot.querySelector('.gallery')")
    page.evaluate("window.rerun()")
    assert scroll_top(page) == 1400
    expect(tile(page, 50)).to_be_in_viewport()


def test_a_cleanup_that_a_later_call_overtook_takes_nothing_down(open_page: Open) -> None:
    page = open_page("n=20")
    page.evaluate("() => { window.rerun(); window.unmount(); window.rerun(); }")
    page.wait_for_timeout(100)
    expect(tile(page, 3)).to_be_visible()


def test_another_width_keeps_the_picture_at_the_top(open_page: Open) -> None:
    page = open_page("n=300&first=300")
    scroll(page, 6000)
    first = page.evaluate(f"() => {ROOT}.elementFromPoint(60, 10).closest('.tile').index")
    page.set_viewport_size({"width": 800, "height": 900})
    page.wait_for_timeout(300)
    expect(tile(page, first)).to_be_in_viewport()


# --- the open picture ----------------------------------------------------------------------------


def test_a_picture_opens_over_the_window_and_arrows_go_on(open_page: Open) -> None:
    page = open_page("n=200")
    open_picture(page, 3)
    dialog = page.get_by_role("dialog", name="Picture: Snow on the pass")
    page.keyboard.press("Escape")
    open_picture(page, 4)
    expect(dialog).to_be_visible()
    assert dialog.bounding_box() == {"x": 0, "y": 0, "width": 1440, "height": 900}
    expect(page.locator(".counter")).to_have_text("5")
    page.keyboard.press("ArrowLeft")
    shown(page, 3)
    page.get_by_role("button", name="Next picture").click()
    shown(page, 4)


def test_the_neighbours_are_there_before_they_are_wanted(open_page: Open, harness: Harness) -> None:
    page = open_page("n=200")
    harness.paths.clear()
    open_picture(page, 11)
    page.wait_for_load_state("networkidle")
    ids = {path.split("id=")[1].split("&")[0] for path in harness.asked("view")}
    assert ids == {picture_id(index) for index in (10, 11, 12, 13)}
    asked = len(harness.asked("view"))
    page.keyboard.press("ArrowRight")
    shown(page, 12)
    assert len([p for p in harness.asked("view")[asked:] if picture_id(12) in p]) == 0


def test_leafing_past_the_last_loaded_picture_loads_more(open_page: Open) -> None:
    page = open_page("n=90&first=20", height=400)
    open_picture(page, 0)
    for index in range(1, 45):
        page.keyboard.press("ArrowRight")
        shown(page, index)


def test_closing_returns_to_the_tile_of_the_picture_last_shown(open_page: Open) -> None:
    page = open_page("n=200&first=200")
    scroll(page, 700)
    open_picture(page, 30)
    page.keyboard.press("Escape")
    assert focused(page) == "31"
    assert scroll_top(page) == 700
    open_picture(page, 30)
    for index in range(31, 75):
        page.keyboard.press("ArrowRight")
        shown(page, index)
    page.keyboard.press("Escape")
    assert focused(page) == "75"
    expect(tile(page, 74)).to_be_in_viewport()


def test_zoom_shows_the_points_of_the_original(open_page: Open, harness: Harness) -> None:
    page = open_page("n=20")
    harness.paths.clear()
    open_picture(page, 0)
    assert harness.asked("full") == []
    stage = page.locator(".stage")
    stage.dblclick(position={"x": 500, "y": 300})
    full = page.locator(".full:not(.waiting)")
    expect(full).to_be_visible()
    assert full.evaluate("e => [e.naturalWidth, Math.round(e.getBoundingClientRect().width)]") == [
        4000,
        4000,
    ]
    expect(page.get_by_text("100 %")).to_be_visible()

    before = full.bounding_box()
    page.mouse.move(700, 500)
    page.mouse.down()
    page.mouse.move(600, 420, steps=4)
    page.mouse.up()
    after = full.bounding_box()
    assert (before["x"] - after["x"], before["y"] - after["y"]) == (100, 80)

    stage.dblclick(position={"x": 500, "y": 300})
    assert page.locator(".picture").bounding_box()["width"] <= 1440


def test_the_wheel_zooms_at_the_pointer(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, 0)
    picture = page.locator(".picture")
    before = picture.bounding_box()
    page.mouse.move(800, 450)
    page.mouse.wheel(0, -400)
    after = picture.bounding_box()
    share = (800 - before["x"]) / before["width"]
    assert after["width"] > before["width"] * 1.5
    assert (800 - after["x"]) / after["width"] == pytest.approx(share, abs=0.01)
    page.keyboard.press("0")
    assert picture.bounding_box() == before


def test_details_are_in_a_drawer(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, WORDED)
    page.keyboard.press("i")
    drawer = page.get_by_role("complementary", name="Details")
    for text in ("Nikon Z 6", "12 July 2019, 20:14", "47.3769° N, 8.5417° E", "87 % · cosine .31"):
        expect(drawer.get_by_text(text)).to_be_visible()
    expect(drawer.get_by_text("Gate <b>12</b>")).to_be_visible()
    drawer.get_by_role("button", name="Show words and places").click()
    expect(drawer.get_by_text("+0.31")).to_be_visible()
    expect(drawer.get_by_text("2 more words were not examined.")).to_be_visible()
    expect(page.locator(".picture .heat")).to_be_visible()
    page.keyboard.press("ArrowRight")
    shown(page, WORDED + 1)
    expect(drawer.get_by_text("Snow on the pass")).to_be_visible()
    expect(page.locator(".picture .heat")).to_have_count(0)
    page.keyboard.press("i")
    expect(drawer).to_be_hidden()


def test_lines_of_text_are_framed_where_they_stand(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, WORDED)
    page.get_by_role("button", name="Show text in the picture").click()
    frames = page.locator(".frame")
    expect(frames).to_have_count(2)
    marked, picture = (
        page.locator(".frame.marked").bounding_box(),
        page.locator(".picture").bounding_box(),
    )
    assert marked["x"] - picture["x"] == pytest.approx(picture["width"] * 0.1, abs=1)
    assert marked["width"] == pytest.approx(picture["width"] * 0.4, abs=1)
    page.keyboard.press("t")
    expect(frames).to_have_count(0)


@pytest.mark.parametrize(
    ("key", "name", "told_act"),
    [
        ("m", "More like this", "like"),
        ("n", "Not this", "not"),
        ("y", "Right", "right"),
        ("x", "Wrong", "wrong"),
    ],
)
def test_actions_have_names_and_keys(open_page: Open, key: str, name: str, told_act: str) -> None:
    page = open_page("n=20")
    open_picture(page, 1)
    page.keyboard.press(key)
    assert told(page, "act") == {"act": told_act, "id": picture_id(1)}
    button = page.get_by_role("button", name=name, exact=True)
    expect(button).to_have_attribute("title", f"{name} ({key})")
    button.click()
    expected = {
        "act": "unmark" if told_act in ("right", "wrong") else told_act,
        "id": picture_id(1),
    }
    assert told(page, "act", 2) == expected


def test_a_picture_is_added_to_a_collection_from_a_menu(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, 1)
    page.keyboard.press("c")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert told(page, "act") == {"act": "collect", "id": picture_id(1), "to": "<b>Best of 2019</b>"}
    said = page.locator(".viewer .status")
    expect(said).to_have_text("Adding to <b>Best of 2019</b>…")
    page.evaluate("window.rerun({ said: { text: 'Added to <b>Best of 2019</b>', number: 5 } })")
    expect(said).to_have_text("Added to <b>Best of 2019</b>")
    page.evaluate("window.rerun()")
    page.keyboard.press("c")
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_what_came_of_an_action_is_said_over_the_picture_and_once(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, 1)
    over, below = page.locator(".viewer .status"), page.locator(".gallery > .status")
    page.evaluate("window.rerun({ said: { text: 'There is no such collection', number: 7 } })")
    expect(over).to_be_in_viewport()
    expect(over).to_have_text("There is no such collection")
    expect(below).to_have_text("")
    page.keyboard.press("Escape")
    page.evaluate("window.rerun()")  # the page says the same again
    expect(below).to_have_text("")
    page.evaluate("window.rerun({ said: { text: 'Added to Album', number: 8 } })")
    expect(below).to_be_in_viewport()
    expect(below).to_have_text("Added to Album")


def test_a_picture_is_downloaded(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, 1)
    with page.expect_download() as download:
        page.keyboard.press("d")
    assert download.value.url.endswith(f"/gallery/download?id={picture_id(1)}")


def test_only_what_the_page_allows_is_offered(open_page: Open) -> None:
    page = open_page("n=20")
    can = {
        "like": True,
        "not": False,
        "mark": False,
        "why": False,
        "collect": None,
        "download": "copy",
    }
    page.evaluate("can => window.rerun({ can })", can)
    open_picture(page, 1)
    names = page.locator(".viewer .icon:visible").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert names == [
        "Close",
        "More like this",
        "Download a copy",
        "Details",
        "Previous picture",
        "Next picture",
    ]
    page.keyboard.press("x")
    assert calls(page, "act") == []


def test_a_picture_that_cannot_be_shown_says_why(open_page: Open) -> None:
    page = open_page("n=20")
    open_picture(page, BROKEN)
    expect(page.get_by_text("Offline: the original's disk is away.")).to_be_visible()
    assert page.locator(".picture .thumb").evaluate("e => e.naturalWidth") > 0
    page.keyboard.press("ArrowRight")
    shown(page, BROKEN + 1)
    expect(page.locator(".problem")).to_be_hidden()


def test_more_like_this_closes_the_picture_when_the_answer_comes(open_page: Open) -> None:
    page = open_page("n=200")
    open_picture(page, 3)
    page.keyboard.press("m")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.evaluate("window.answer('?n=30&answer=like')")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert address_of(page) == "?n=200"
    assert focused(page) == "1"


def test_a_new_answer_takes_the_focus_from_nobody(open_page: Open) -> None:
    page = open_page("n=200")
    page.locator("#q").focus()
    page.evaluate("window.answer('?n=30&answer=typed')")
    page.wait_for_timeout(200)
    assert focused(page) == "INPUT"
    page.evaluate("window.answer('?n=0&answer=none')")
    check_axe(page)


def test_details_of_an_answer_that_the_server_forgot_make_it_anew(
    open_page: Open, harness: Harness
) -> None:
    page = open_page("n=20")
    harness.forgotten = True
    open_picture(page, 1)
    assert told(page, "lost") is True


# --- history -------------------------------------------------------------------------------------


def test_back_closes_the_picture_and_forward_opens_it_again(open_page: Open) -> None:
    page = open_page("n=200&x=a%20b+c")
    open_picture(page, 3)
    assert address_of(page) == f"?n=200&x=a%20b+c#picture={picture_id(3)}"
    page.keyboard.press("ArrowRight")
    shown(page, 4)
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert address_of(page) == "?n=200&x=a%20b+c"
    assert focused(page) == "5"
    page.go_forward()
    shown(page, 4)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.wait_for_function("location.hash === ''")
    assert address_of(page) == "?n=200&x=a%20b+c"
    assert page.evaluate("window.pops") == 0  # Streamlit heard of none of it


def test_a_picture_can_be_opened_at_once_after_another_was_closed(open_page: Open) -> None:
    page = open_page("n=200")
    open_picture(page, 3)
    page.evaluate(
        f"() => {{ {ROOT}.querySelector('[data-act=close]').click();"
        f" {ROOT}.querySelectorAll('.tile')[7].click(); }}"
    )
    shown(page, 7)
    page.wait_for_function(f"location.hash.endsWith('{picture_id(7)}')")
    page.keyboard.press("Escape")
    page.wait_for_function("location.hash === ''")


def test_a_shared_link_and_a_reload_show_the_picture(open_page: Open) -> None:
    page = open_page(f"n=500&first=40#picture={picture_id(333)}")
    shown(page, 333)
    expect(page.locator(".counter")).to_have_text(
        re.compile("^334")
    )  # found further on in the answer
    page.keyboard.press("ArrowRight")
    shown(page, 334)
    page.reload()
    page.wait_for_function("window.ready")
    shown(page, 334)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert address_of(page) == "?n=500&first=40"


def test_an_arrow_waits_until_the_place_of_a_linked_picture_is_known(open_page: Open) -> None:
    page = open_page(f"n=500&first=40#picture={picture_id(333)}")
    page.locator(".viewer[open]").wait_for()
    page.keyboard.press("ArrowRight")
    shown(page, 334)


def test_a_picture_outside_the_answer_can_be_linked_to(open_page: Open) -> None:
    page = open_page(f"n=20#picture={picture_id(333)}")
    shown(page, 333)
    expect(page.get_by_role("button", name="Next picture")).to_have_count(0)
    page.keyboard.press("i")
    expect(page.locator(".drawer").get_by_text(", 334")).to_be_visible()


def test_the_pages_own_history_is_streamlits(open_page: Open) -> None:
    page = open_page("n=200")
    scroll(page, 1400)
    page.wait_for_timeout(900)
    page.evaluate("() => history.pushState({}, '', '?n=12&answer=b')")
    page.evaluate("window.answer('?n=12&answer=b')")
    open_picture(page, 3)
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("window.pops") == 0
    page.go_back()
    page.wait_for_function("window.pops === 1")
    page.evaluate("window.answer('?n=200')")
    assert scroll_top(page) == 1400  # an answer that was left is as it was left


# --- ticks ---------------------------------------------------------------------------------------


def test_pictures_are_ticked_by_tick_key_and_modifier(open_page: Open) -> None:
    page = open_page("n=60")
    tile(page, 1).hover()
    tile(page, 1).locator(".tick").click()
    tile(page, 2).click(modifiers=["Control"])
    tile(page, 4).focus()
    page.keyboard.press(" ")
    assert selected(page) == [picture_id(index) for index in (1, 2, 4)]
    expect(tile(page, 4)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    assert selected(page) == []


def test_ranges_are_ticked_with_shift_and_by_dragging(open_page: Open) -> None:
    page = open_page("n=60")
    tile(page, 2).click(modifiers=["Control"])
    tile(page, 8).click(modifiers=["Shift"])
    assert selected(page) == [picture_id(index) for index in range(2, 9)]

    page.keyboard.press("Escape")
    tile(page, 3).hover()
    page.mouse.down()
    tile(page, 10).hover()
    page.mouse.up()
    assert selected(page) == [picture_id(index) for index in range(3, 11)]
    expect(page.get_by_role("dialog")).to_have_count(0)  # a drag opens nothing


def test_dragging_to_the_edge_scrolls(open_page: Open) -> None:
    page = open_page("n=200&first=200", height=600)
    tile(page, 0).hover()
    page.mouse.down()
    page.mouse.move(500, 590, steps=5)
    page.wait_for_function("document.querySelector('main').scrollTop > 900")
    page.mouse.up()
    ids = selected(page)
    assert len(ids) > 15
    assert ids == [picture_id(index) for index in range(len(ids))]


def test_all_that_is_loaded_can_be_ticked(open_page: Open) -> None:
    page = open_page("n=60")
    tile(page, 0).focus()
    page.keyboard.press("Control+a")
    assert len(told(page, "selected")) == 60


def test_ticks_survive_a_reload_and_the_page_hears_of_them(open_page: Open) -> None:
    page = open_page("n=60")
    tile(page, 1).click(modifiers=["Control"])
    told(page, "selected")
    page.reload()
    page.wait_for_function("window.ready")
    expect(tile(page, 1)).to_have_attribute("aria-selected", "true")
    assert told(page, "selected") == [picture_id(1)]


def test_the_page_can_clear_the_ticks_more_than_once(open_page: Open) -> None:
    page = open_page("n=60")
    ticked = page.locator('.tile[aria-selected="true"]')
    for count in (1, 2):
        tile(page, 1).click(modifiers=["Control"])
        assert told(page, "selected", count) == [picture_id(1)]
        page.evaluate("window.rerun({ selected: null })")
        expect(ticked).to_have_count(1)
        page.evaluate("window.rerun({ selected: [] })")
        expect(ticked).to_have_count(0)
        page.evaluate("window.rerun({ selected: null })")


def test_nothing_is_ticked_where_nothing_can_be(open_page: Open) -> None:
    page = open_page("n=60")
    page.evaluate("window.rerun({ selectable: false })")
    tile(page, 1).focus()
    page.keyboard.press(" ")
    page.keyboard.press("Control+a")
    page.wait_for_timeout(300)
    assert calls(page, "selected") == []
    expect(page.locator(".tick")).to_have_count(0)


# --- keys ----------------------------------------------------------------------------------------


def test_the_gallery_is_one_tab_stop_and_arrows_move_in_it(open_page: Open) -> None:
    page = open_page("n=200")
    page.locator("#q").focus()
    page.keyboard.press("Tab")
    assert focused(page) == "1"
    page.keyboard.press("ArrowRight")
    assert focused(page) == "2"
    page.keyboard.press("ArrowDown")
    below = int(focused(page))
    assert below > 4
    page.keyboard.press("ArrowUp")
    assert focused(page) == "2"
    page.keyboard.press("ArrowLeft")
    assert focused(page) == "1"
    page.keyboard.press("PageDown")
    assert int(focused(page)) > below
    expect(tile(page, int(focused(page)) - 1)).to_be_in_viewport()
    page.keyboard.press("Home")
    assert focused(page) == "1"
    assert page.locator('.tile[tabindex="0"]').count() == 1
    page.keyboard.press("Tab")
    assert focused(page) == "BODY"
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "1"
    page.keyboard.press("Enter")
    shown(page, 0)


def test_focus_stays_below_a_header_that_covers_the_page(open_page: Open) -> None:
    page = open_page("n=200&first=200")
    page.add_style_tag(content=":root { --gallery-top: 11rem; }")
    page.evaluate("window.answer('?n=200&first=200&answer=b')")
    scroll(page, 3000)
    tile(page, 60).focus()
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    assert tile(page, int(focused(page)) - 1).bounding_box()["y"] > 175


def test_end_goes_on_as_pictures_arrive(open_page: Open) -> None:
    page = open_page("n=150&first=60")
    tile(page, 0).focus()
    for _ in range(6):
        page.keyboard.press("End")
        page.wait_for_timeout(150)
    assert focused(page) == "150"


def test_shift_and_arrows_tick_a_range(open_page: Open) -> None:
    page = open_page("n=60")
    tile(page, 0).focus()
    page.keyboard.press(" ")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    assert selected(page) == [picture_id(index) for index in range(4)]


def test_help_lists_the_keys(open_page: Open) -> None:
    page = open_page("n=20")
    tile(page, 0).focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    assert focused(page) == "1"
    page.locator("#q").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)


def test_keys_of_the_page_still_reach_it(open_page: Open) -> None:
    page = open_page("n=20")
    page.evaluate("() => { window.keys = []; document.onkeydown = e => window.keys.push(e.key); }")
    tile(page, 0).focus()
    for key in ("/", "ArrowRight", "r"):
        page.keyboard.press(key)
    assert page.evaluate("window.keys") == ["/", "r"]
    open_picture(page, 1)
    page.keyboard.press("c")  # Streamlit's own key for its cache
    assert page.evaluate("window.keys") == ["/", "r"]


# --- the date rail -------------------------------------------------------------------------------


def test_the_date_rail_leads_to_a_month_not_loaded_yet(open_page: Open) -> None:
    page = open_page("n=3000&first=60&order=taken")
    rail = page.get_by_role("slider", name="Date")
    expect(rail).to_have_attribute("aria-valuetext", "December 2024")
    box = rail.bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] * 0.5)
    page.wait_for_function(
        f"() => Math.abs({ROOT}.querySelector('.rail').ariaValueNow - 1500) < 30"
    )
    expect(rail).to_have_attribute("aria-valuetext", "June 2024")
    expect(tile(page, 1510)).to_be_in_viewport()
    rail.focus()
    page.keyboard.press("ArrowUp")
    expect(rail).to_have_attribute("aria-valuetext", "July 2024")
    page.keyboard.press("ArrowDown")
    expect(rail).to_have_attribute("aria-valuetext", "June 2024")
    page.keyboard.press("Home")
    expect(rail).to_have_attribute("aria-valuetext", "December 2024")


def test_pictures_without_dates_have_no_rail(open_page: Open) -> None:
    page = open_page("n=60&order=taken")
    page.evaluate(
        "window.rerun({ answer: 'undated',"
        " items: window.data.items.map(i => ({ ...i, date: '' })) })"
    )
    expect(page.get_by_role("slider")).to_have_count(0)


# --- a shape: any part by itself -----------------------------------------------------------------

SHAPED = "n=100000&answer=shaped&order=taken"


def open_shaped(open_page: Open, query: str = SHAPED, **options: Any) -> Page:
    page = open_page(query, **options)
    page.wait_for_function(f"{ROOT}.querySelector('.gallery.shaped')")
    return page


def jump(page: Page, share: float) -> None:
    """Click the rail so far down."""
    box = page.get_by_role("slider", name="Date").bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + box["height"] * share)  # type: ignore[index]


def seen(page: Page) -> int:
    """The picture in the middle of the window, once its thumbnail is drawn."""
    at = f"[450, 460].map(y => {ROOT}.elementFromPoint(700, y)?.closest('.tile')).find(Boolean)"
    page.wait_for_function(f"() => {at}?.querySelector('img.there')")
    return int(page.evaluate(f"() => {at}.index"))


def starts(harness: Harness) -> list[int]:
    """Where the portions began that were asked for."""
    return [int(re.findall(r"after=(\d+)", path)[0]) for path in harness.asked("items")]


def test_a_jump_asks_only_for_what_is_there(open_page: Open, harness: Harness) -> None:
    page = open_shaped(open_page)
    page.wait_for_load_state("networkidle")
    rail = page.get_by_role("slider", name="Date")
    high = page.evaluate("document.querySelector('main').scrollHeight")
    harness.paths.clear()
    jump(page, 0.5)
    index = seen(page)
    assert index == pytest.approx(50_000, abs=300)
    expect(rail).to_have_attribute("aria-valuetext", "November 2007")
    page.wait_for_load_state("networkidle")
    assert len(starts(harness)) == 1
    assert starts(harness)[0] == pytest.approx(50_000, abs=300)

    # Upwards from there, what lies above comes as one scrolls, and nothing moves.
    harness.paths.clear()
    top = scroll_top(page)
    scroll(page, top - 2500)
    assert seen(page) < index - 20
    page.wait_for_load_state("networkidle")
    assert 1 <= len(starts(harness)) <= 3
    assert starts(harness)[0] < index
    assert scroll_top(page) == top - 2500
    assert page.evaluate("document.querySelector('main').scrollHeight") == high
    assert page.evaluate("window.shifts") < 0.01


def test_scrubbing_asks_for_nothing_on_the_way(open_page: Open, harness: Harness) -> None:
    page = open_shaped(open_page)
    jump(page, 0.05)
    seen(page)
    page.wait_for_load_state("networkidle")
    harness.paths.clear()
    box = page.get_by_role("slider", name="Date").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    # From inside the page: a busy machine makes rests between the steps, which are counted.
    rests = page.evaluate(
        f"""async ([x, from, to]) => {{
          const rail = {ROOT}.querySelector('.rail');
          let rests = 0;
          for (let step = 1; step <= 40; step++) {{
            const began = performance.now();
            const at = {{ clientX: x, clientY: from + (to - from) * step / 40 }};
            rail.dispatchEvent(new PointerEvent('pointermove', at));
            await new Promise(done => setTimeout(done, 10));
            if (performance.now() - began > 50) rests += 1;
          }}
          return rests;
        }}""",
        [box["x"] + 20, box["y"] + 20, box["y"] + box["height"] * 0.9],
    )
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] * 0.9)
    page.mouse.up()
    assert seen(page) == pytest.approx(90_000, abs=300)
    page.wait_for_load_state("networkidle")
    assert len(starts(harness)) <= 2 + rests
    page.get_by_role("slider", name="Date").press("End")
    expect(tile(page, 99_999)).to_be_visible()


def test_an_address_far_down_opens_among_its_neighbours(open_page: Open, harness: Harness) -> None:
    harness.paths.clear()
    page = open_page(f"{SHAPED}#picture={picture_id(90_000)}")
    expect(page.locator(".counter")).to_have_text("90,001 of 100,000")
    page.keyboard.press("ArrowRight")
    shown(page, 90_001)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    shown(page, 89_999)
    page.keyboard.press("Escape")
    expect(tile(page, 89_999)).to_be_in_viewport()
    assert [start for start in starts(harness) if 1_000 < start < 89_000] == []


def test_a_picture_of_an_address_that_is_not_found_says_so(open_page: Open) -> None:
    page = open_page(f"n=5000#picture={picture_id(4000)}")
    sentence = re.compile(r"Not among the first 1,\d{3}$")
    expect(page.locator(".counter")).to_have_text(sentence)
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer .status")).to_have_text(sentence)
    page = open_page(f"n=300&answer=shaped#picture={picture_id(4000)}")
    expect(page.locator(".counter")).to_have_text("Not among these pictures")


def test_a_part_that_fails_can_be_asked_for_again(open_page: Open, harness: Harness) -> None:
    page = open_shaped(open_page)
    harness.failing = True
    jump(page, 0.3)
    alert = page.get_by_text("More pictures could not be loaded.")
    expect(alert).to_be_in_viewport()
    harness.failing = False
    page.get_by_role("button", name="Try again").click()
    expect(alert).to_have_count(0)
    assert seen(page) == pytest.approx(30_000, abs=300)


def test_a_range_over_what_has_not_come_is_ticked_whole(open_page: Open) -> None:
    page = open_shaped(open_page, "n=3000&answer=shaped&order=taken")
    tile(page, 2).click(modifiers=["Control"])
    jump(page, 0.5)
    last = seen(page)
    tile(page, last).click(modifiers=["Shift"])
    page.wait_for_function("n => window.calls.at(-1)[2].length === n", arg=last - 1)
    assert selected(page) == [picture_id(index) for index in range(2, last + 1)]


def test_a_picture_that_is_gone_leaves_a_gap(open_page: Open) -> None:
    page = open_shaped(open_page, "n=3000&answer=shapedgone&order=taken")
    expect(tile(page, 17)).to_have_accessible_name("This picture is gone")
    tile(page, 17).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    open_picture(page, 16)
    page.keyboard.press("ArrowRight")
    shown(page, 18)
    page.keyboard.press("ArrowLeft")
    shown(page, 16)


# --- strangers' text, everybody's eyes and hands -------------------------------------------------


def test_hostile_titles_are_only_text(open_page: Open) -> None:
    page = open_page("n=20&captions=1")
    expect(tile(page, 7)).to_have_accessible_name(HOSTILE[7])
    for index in HOSTILE:
        open_picture(page, index)
        page.keyboard.press("i")
        expect(page.locator(".drawer .said").first).to_contain_text(HOSTILE[index][:40])
        page.keyboard.press("i")
        page.keyboard.press("Escape")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelector('main').scrollWidth") <= 1440
    assert len(tile(page, 9).get_attribute("aria-label")) <= 201


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 360])
def test_nothing_is_inaccessible(open_page: Open, theme: str, width: int) -> None:
    """Axe without a violation, closed, open and with the drawer; pictures of it to look at."""
    page = open_page(f"n=90&order=taken&answer=c17&theme={theme}", width=width)
    page.wait_for_load_state("networkidle")
    SHOTS.mkdir(parents=True, exist_ok=True)
    tile(page, 2).click(modifiers=["Control"])
    check_axe(page)
    page.screenshot(path=SHOTS / f"grid-{theme}-{width}.png")
    open_picture(page, WORDED)
    check_axe(page)
    page.screenshot(path=SHOTS / f"picture-{theme}-{width}.png")
    page.keyboard.press("i")
    page.keyboard.press("t")
    page.get_by_role("button", name="Show words and places").click()
    expect(page.locator(".picture .heat")).to_be_visible()
    check_axe(page)
    page.screenshot(path=SHOTS / f"details-{theme}-{width}.png")
    page.keyboard.press("?")
    check_axe(page)


def check_axe(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert [
        (v["id"], v["nodes"][0]["target"], v["nodes"][0]["failureSummary"]) for v in found
    ] == []


def test_the_theme_is_the_pages_not_the_systems(open_page: Open) -> None:
    page = open_page("n=20&theme=dark", color_scheme="light")
    assert page.locator(".gallery").get_attribute("data-theme") == "dark"


def test_nothing_moves_where_motion_is_not_wanted(open_page: Open) -> None:
    page = open_page("n=20", reduced_motion="reduce")
    page.wait_for_load_state("networkidle")
    expect(tile(page, 0).locator("img")).to_have_css("transition-duration", "0s")
    expect(page.locator(".foot")).to_have_css("transition-duration", "0s")


@pytest.fixture
def phone(open_page: Open) -> tuple[Page, Callable[..., None]]:
    """A page on a phone, and fingers on it: a gesture is a list of places of one or two of them."""
    page = open_page("n=60", 360, 740, has_touch=True, is_mobile=True, device_scale_factor=2)
    session = page.context.new_cdp_session(page)

    def touch(*steps: tuple[tuple[float, float], ...], hold_ms: int = 0) -> None:
        for number, fingers in enumerate(steps):
            points = [{"x": x, "y": y, "id": at} for at, (x, y) in enumerate(fingers)]
            kind = "touchMove" if number else "touchStart"
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            page.wait_for_timeout(20 if number else max(hold_ms, 20))
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(50)

    return page, touch


def test_swipes_turn_the_page_and_close_it(phone: tuple[Page, Callable[..., None]]) -> None:
    page, touch = phone
    tile(page, 2).tap()
    shown(page, 2)
    touch(((300, 400),), ((200, 402),), ((90, 405),))
    shown(page, 3)
    touch(((60, 400),), ((200, 402),), ((300, 405),))
    shown(page, 2)
    touch(((180, 300),), ((182, 400),), ((184, 520),))
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_two_fingers_zoom(phone: tuple[Page, Callable[..., None]]) -> None:
    page, touch = phone
    tile(page, 2).tap()
    shown(page, 2)
    before = page.locator(".picture").bounding_box()["width"]  # type: ignore[index]
    touch(((160, 370), (200, 370)), ((130, 370), (230, 370)), ((100, 370), (260, 370)))
    after = page.locator(".picture").bounding_box()["width"]  # type: ignore[index]
    assert after == pytest.approx(before * 4, rel=0.05)
    expect(page.locator(".full:not(.waiting)")).to_be_visible()
    expect(page.locator(".counter")).to_have_text("3 of 60")  # no swipe


def test_a_pinch_keeps_its_middle_and_a_finger_pans_before_it_swipes(
    phone: tuple[Page, Callable[..., None]],
) -> None:
    page, touch = phone
    tile(page, 2).tap()
    shown(page, 2)

    def box() -> dict[str, float]:
        return page.locator(".picture").bounding_box()  # type: ignore[return-value]

    before = box()
    x, y = 140, before["y"] + before["height"] / 2
    share = (x - before["x"]) / before["width"]
    touch(((x - 20, y), (x + 20, y)), ((x - 40, y), (x + 40, y)), ((x - 50, y), (x + 50, y)))
    near = box()
    assert near["width"] == pytest.approx(before["width"] * 2.5, rel=0.03)
    assert near["x"] + share * near["width"] == pytest.approx(x, abs=3)

    touch(((200, y),), ((180, y),), ((140, y),))
    assert box()["x"] == pytest.approx(near["x"] - 60, abs=3)
    expect(page.locator(".counter")).to_have_text("3 of 60")

    touch(((x - 90, y), (x + 90, y)), ((x - 50, y), (x + 50, y)), ((x - 10, y), (x + 10, y)))
    assert box() == pytest.approx(before, abs=1)
    touch(((300, y),), ((200, y),), ((90, y),))
    shown(page, 3)


def test_a_long_press_ticks_and_taps_go_on(phone: tuple[Page, Callable[..., None]]) -> None:
    page, touch = phone
    tile(page, 2).tap(position={"x": 15, "y": 15})  # no tick is seen there yet
    shown(page, 2)
    page.keyboard.press("Escape")
    box = tile(page, 2).bounding_box()
    touch(((box["x"] + 60, box["y"] + 60),), hold_ms=600)
    assert told(page, "selected") == [picture_id(2)]
    tile(page, 4).tap()
    assert told(page, "selected", 2) == [picture_id(2), picture_id(4)]
    expect(tile(page, 5).locator(".tick")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_on_a_phone_actions_are_at_the_thumb(phone: tuple[Page, Callable[..., None]]) -> None:
    page, _ = phone
    tile(page, 2).tap()
    shown(page, 2)
    boxes_of = page.locator(".actions .icon").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().toJSON())"
    )
    assert all(box["top"] > 680 and box["width"] >= 44 and box["height"] >= 44 for box in boxes_of)
