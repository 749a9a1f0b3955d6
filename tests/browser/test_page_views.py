"""The page's journeys in a real browser: what a visitor does in each view, from a desk or a phone.

Screenshots are left in out/page/, to be looked at.
"""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import serving
from tests.unit.ui_world import Shot, build_library, reds

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parents[2] / "out" / "page"
VIEWS = {
    "/": "Describe a scene",
    "/by-picture": "Search by picture",
    "/library": "Library",
    "/map": "Map",
    "/evaluation": "Evaluation",
    "/models": "Models",
}
SLOW_MS = 30_000


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, and in it a folder of pictures that takes a while to bring in."""
    data_dir = tmp_path_factory.mktemp("views")
    many = data_dir / "many"
    many.mkdir()
    large = jpeg((0, 200, 0), (3000, 2000))
    for number in range(150):  # what follows a JPEG's end makes it another file
        (many / f"{number:03}.jpg").write_bytes(large + number.to_bytes(2, "big"))
    return data_dir


@pytest.fixture(scope="module")
def address(world: Path, tiny_encoder: Path) -> Iterator[str]:
    place = {"location": {"lat": 55.75, "lon": 37.62}, "camera": "Kodak", "captions": ["red wall"]}
    shots = [
        Shot("red-place.png", (255, 0, 0), payload=place),
        *reds(8),
        Shot("blue.png", (0, 0, 255), payload={"camera": "Canon"}),
        Shot("green.png", (0, 255, 0), payload={"camera": "Canon"}),
    ]
    build_library(world, OnnxEncoder(tiny_encoder, threads=1), shots)
    with serving(world, tiny_encoder, page_folders=str(world / "many")) as started:
        yield started.address


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Page]:
    """A page of its own; anything it fetches from elsewhere or reports fails."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(SLOW_MS)
    strangers: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: strangers.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.close()
    allowed = (address, address.replace("http", "ws"), "data:", "blob:")
    assert [url for url in strangers if not url.startswith(allowed)] == []
    assert faults == []


def go(page: Page, address: str, view: str) -> None:
    page.goto(f"{address}{view}")
    heading = VIEWS[view.partition("?")[0]]
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible(timeout=SLOW_MS)


def settle(page: Page) -> None:
    """The run of the script is over and every widget has loaded."""
    page.wait_for_function(
        "!document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')",
        timeout=SLOW_MS,
    )
    page.wait_for_timeout(400)


def leave_shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    settle(page)
    page.screenshot(path=SHOTS / f"{name}.png")


def pictures(page: Page) -> Any:
    return page.locator('[class*="st-key-grid"] img')


def test_detail_tells_why_and_leads_to_more_like_it(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    visit.get_by_role("button", name="Open picture 1", exact=True).click()
    dialog = visit.get_by_role("dialog")
    expect(dialog.get_by_text("Place: 55.7500, 37.6200")).to_be_visible(timeout=SLOW_MS)
    expect(dialog.get_by_label("Taken at latitude 55.7500").first).to_be_visible(timeout=SLOW_MS)
    dialog.get_by_text("Why was it found?").click()
    expect(dialog.get_by_text("What each word adds")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "detail")
    dialog.get_by_role("button", name="More like this").click()
    expect(visit.get_by_label("Describe a scene")).to_have_value("like:red-place.png")
    expect(pictures(visit).first).to_have_attribute("alt", "red-00.png")
    assert "like" in visit.url


def test_ticked_pictures_are_taken_home_as_a_zip(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    expect(pictures(visit)).to_have_count(9)
    for number in (1, 2):
        visit.locator(f".st-key-card-{number} [class*=st-key-tick-] label").click()
        expect(visit.get_by_text(f"{number} selected")).to_be_visible(timeout=SLOW_MS)
    with visit.expect_download() as download:
        visit.get_by_role("button", name="Pictures (ZIP)").click()
    assert download.value.suggested_filename == "pictures.zip"
    leave_shot(visit, "selection")


def test_keys_lead_to_the_box_and_through_the_grid(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    expect(pictures(visit)).to_have_count(9)
    settle(visit)
    visit.get_by_role("button", name="Open picture 1", exact=True).focus()
    visit.keyboard.press("ArrowRight")
    expect(visit.get_by_role("button", name="Open picture 2", exact=True)).to_be_focused()
    visit.keyboard.press("Enter")
    expect(visit.get_by_role("dialog").get_by_role("img", name="red-00.png")).to_be_visible()
    visit.keyboard.press("Escape")
    expect(visit.get_by_role("dialog")).to_have_count(0)
    visit.keyboard.press("/")
    expect(visit.get_by_label("Describe a scene")).to_be_focused()
    visit.keyboard.type("a/b")
    expect(visit.get_by_label("Describe a scene")).to_have_value("a/b")


def test_an_uploaded_picture_is_found(visit: Page, address: str) -> None:
    go(visit, address, "/library")
    visit.get_by_text("Add pictures", exact=True).click()
    visit.locator(".st-key-upload input[type=file]").set_input_files(
        [{"name": "sea <b>.jpg", "mimeType": "image/jpeg", "buffer": jpeg((0, 0, 240))}]
    )
    expect(visit.get_by_text("sea <b>.jpg")).to_be_visible()
    visit.get_by_role("button", name="Add these").click()
    expect(visit.get_by_text("1 added")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "uploaded")
    go(visit, address, "/?q=blue")
    expect(visit.get_by_role("img", name="sea _b_.jpg")).to_be_visible(timeout=SLOW_MS)


def test_a_folder_is_brought_in_with_progress_pause_and_cancel(
    visit: Page, chromium: Browser, address: str
) -> None:
    go(visit, address, "/library")
    visit.get_by_text("Add pictures", exact=True).click()
    visit.get_by_text("Or browse for it").click()
    expect(visit.get_by_text("150 pictures here")).to_be_visible(timeout=SLOW_MS)
    visit.get_by_role("button", name="Add this folder").click()
    visit.get_by_role("button", name="Pause").click()
    expect(visit.get_by_text("paused")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "ingest")
    other = chromium.new_page()  # the work goes on while the page is used
    go(other, address, "/?q=red")
    expect(pictures(other)).to_have_count(9, timeout=SLOW_MS)
    other.close()
    visit.get_by_role("button", name="Resume").click()
    visit.get_by_role("button", name="Cancel").click()
    expect(visit.get_by_text("Cancelled; what was done is kept")).to_be_visible(timeout=SLOW_MS)
    visit.get_by_role("button", name="OK", exact=True).click()
    expect(visit.get_by_text("Cancelled; what was done is kept")).to_have_count(0)


def test_a_pasted_picture_finds_pictures_like_it(visit: Page, address: str) -> None:
    go(visit, address, "/by-picture")
    settle(visit)
    visit.evaluate(
        """data => {
            const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
            document.body.dispatchEvent(
                new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
        }""",
        base64.b64encode(jpeg((255, 0, 0))).decode(),
    )
    expect(visit.get_by_role("img", name="Your picture pasted.jpg")).to_be_visible(timeout=SLOW_MS)
    expect(pictures(visit).first).to_have_attribute("alt", "red wall", timeout=SLOW_MS)
    leave_shot(visit, "by-picture")


def test_a_file_too_large_to_send_is_refused_where_it_was_dropped(
    visit: Page, address: str
) -> None:
    go(visit, address, "/by-picture")
    settle(visit)
    visit.locator(".st-key-picture input[type=file]").set_input_files(
        [{"name": "huge.jpg", "mimeType": "image/jpeg", "buffer": bytes(21 * 2**20)}]
    )
    expect(visit.get_by_text("File must be 20.0MB or smaller")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "too-large")
    expect(pictures(visit)).to_have_count(0)


def test_a_picture_of_too_many_pixels_is_refused_in_words(visit: Page, address: str) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    png = bytearray(buffer.getvalue())
    png[16:24] = struct.pack(">II", 20_000, 20_000)  # what its header says
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    go(visit, address, "/by-picture")
    settle(visit)
    visit.locator(".st-key-picture input[type=file]").set_input_files(
        [{"name": "bomb.png", "mimeType": "image/png", "buffer": bytes(png)}]
    )
    expect(visit.get_by_text("bomb.png cannot be used: 400 megapixels")).to_be_visible(
        timeout=SLOW_MS
    )
    expect(pictures(visit)).to_have_count(0)


def test_the_map_shows_what_lies_below_the_brush(visit: Page, address: str) -> None:
    go(visit, address, "/map")
    canvas = visit.locator(".st-key-map-chart canvas, .st-key-map-chart svg.marks").first
    expect(canvas).to_be_visible(timeout=SLOW_MS)
    settle(visit)
    box = canvas.bounding_box()
    assert box is not None
    visit.mouse.move(box["x"] + 12, box["y"] + 12)
    visit.mouse.down()
    visit.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    visit.mouse.move(box["x"] + box["width"] - 12, box["y"] + box["height"] - 12, steps=5)
    visit.mouse.up()
    expect(visit.get_by_text("pictures in the selected area")).to_be_visible(timeout=SLOW_MS)
    expect(pictures(visit).first).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "map")


def test_queries_are_measured_and_the_report_is_read(visit: Page, address: str) -> None:
    go(visit, address, "/evaluation")
    table = b"query_id,query_text,images\n1,red,red-place.png\n2,blue,blue.png\n"
    visit.locator(".st-key-queries input[type=file]").set_input_files(
        [{"name": "queries.csv", "mimeType": "text/csv", "buffer": table}]
    )
    expect(visit.get_by_text("queries.csv")).to_be_visible()
    visit.get_by_role("button", name="Measure", exact=True).click()
    expect(visit.get_by_text("Done", exact=True)).to_be_visible(timeout=2 * SLOW_MS)
    visit.get_by_text("Reports", exact=True).click()
    expect(visit.get_by_text("2 queries, gallery of")).to_be_visible(timeout=SLOW_MS)
    report = visit.frame_locator("iframe").get_by_role("heading").first
    expect(report).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "report")


def test_every_view_fits_a_small_phone(chromium: Browser, address: str) -> None:
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    for view in (*VIEWS, "/?q=red"):
        go(page, address, view)
        leave_shot(page, f"phone-{named(view)}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
    page.get_by_role("button", name="Open picture 1", exact=True).click()
    picture = page.get_by_role("dialog").get_by_role("img", name="red wall")
    expect(picture).to_be_visible(timeout=SLOW_MS)
    leave_shot(page, "phone-detail")
    box = picture.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 360
    page.close()


def named(view: str) -> str:
    return {"/": "search", "/?q=red": "answer"}.get(view, view[1:])


def test_a_page_for_reading_offers_nothing_that_changes_the_library(
    tmp_path: Path, chromium: Browser, tiny_encoder: Path
) -> None:
    build_library(tmp_path, OnnxEncoder(tiny_encoder, threads=1), reds(2))
    page = chromium.new_page()
    with serving(tmp_path, tiny_encoder, page_read_only="true") as started:
        go(page, started.address, "/?q=red")
        expect(pictures(page)).to_have_count(2, timeout=SLOW_MS)
        expect(page.get_by_role("button", name="Save this request")).to_have_count(0)
        go(page, started.address, "/library")
        expect(page.get_by_text("This page is read-only")).to_be_visible(timeout=SLOW_MS)
        expect(page.get_by_text("Add pictures", exact=True)).to_have_count(0)
        page.get_by_text("Encoders", exact=True).click()
        expect(page.get_by_text("A collection holds the pictures")).to_be_visible(timeout=SLOW_MS)
        for name in ("Build a collection with it", "Promote it"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_serious_barrier(chromium: Browser, address: str, scheme: Any) -> None:
    page = chromium.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    found = []
    for view in (*VIEWS, "/?q=red"):
        go(page, address, view)
        leave_shot(page, f"{scheme}-{named(view)}")
        for fault in Axe().run(page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                places = [node["html"][:160] for node in fault["nodes"][:2]]
                found.append(f"{view}: {fault['id']} ({fault['impact']}): {places}")
    page.close()
    assert not found, "\n".join(found)
