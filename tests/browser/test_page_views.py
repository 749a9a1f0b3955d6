"""The page's journeys in a real browser: what a visitor does in each view, from a desk or a phone.

Screenshots are left in out/page/, to be looked at.
"""

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.home.saved_collections import SavedCollection, save_collection
from scenesearch.store.written import WrittenLine, written_payload
from tests.browser.conftest import serving
from tests.browser.gallery_page import (
    SHIFT,
    SLOW_MS,
    ask,
    details,
    expect_first,
    leave_shot,
    open_picture,
    pictures,
    settle,
    tick,
    visiting,
)
from tests.unit.ui_world import LIBRARY, Shot, build_library, reds

pytestmark = pytest.mark.browser

# Text in a picture that looks like markup.
LINES = [WrittenLine("<b>Gate</b> 12", (0.1, 0.1, 0.9, 0.1, 0.9, 0.3, 0.1, 0.3), 0.97)]
VIEWS = {
    "/": "Describe a scene",
    "/collections": "Collections",
    "/collections?collection=Kodak": "Collections",
    "/map": "Map",
    "/add": "Add pictures",
    "/contents": "Contents",
    "/encoders": "Encoders",
    "/duplicates": "Duplicates",
    "/left-out": "Left out",
    "/settings": "Settings",
    "/evaluation": "Evaluation",
    "/models": "Models",
}
MANAGING = list(VIEWS)[5:]
# Of a page for reading; the last is where some of them stood before.
REFUSED = (
    *("add", "contents", "evaluation", "models", "encoders", "duplicates", "left-out"),
    *("settings", "library"),
)


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
        Shot("red-place.png", (255, 0, 0), payload=place | written_payload(LINES, 1)),
        *reds(8),
        Shot("blue.png", (0, 0, 255), payload={"camera": "Canon"}),
        Shot("green.png", (0, 255, 0), payload={"camera": "Canon"}),
    ]
    build_library(world, OnnxEncoder(tiny_encoder, threads=1), shots)
    saved = world / "libraries" / LIBRARY / "saved-requests.json"
    save_collection(saved, SavedCollection("Kodak", "camera:kodak", added=("blue.png",)))
    with serving(world, tiny_encoder, page_folders=str(world / "many")) as started:
        yield started.address


@pytest.fixture
def visit(chromium: Browser, address: str) -> Iterator[Page]:
    with visiting(chromium, address) as page:
        yield page


def go(page: Page, address: str, view: str) -> None:
    page.goto(f"{address}{view}")
    heading = VIEWS.get(view) or VIEWS[view.partition("?")[0]]
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible(timeout=SLOW_MS)


@pytest.mark.parametrize("view", MANAGING)
def test_nothing_moves_by_itself_where_a_library_is_managed(
    visit: Page, address: str, view: str
) -> None:
    visit.set_viewport_size({"width": 360, "height": 900})
    go(visit, address, view)
    settle(visit)
    assert visit.evaluate(SHIFT) < 0.05


def test_details_tell_why_and_where(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    dialog = open_picture(visit, "red wall")
    drawer = details(visit, dialog)
    expect(drawer.get_by_text("55.7500° N, 37.6200° E")).to_be_visible()
    expect(drawer.get_by_text("% relevant · cosine")).to_be_visible()
    drawer.get_by_role("button", name="Show words and places").click()
    expect(drawer.get_by_text("The picture is red where it shows it.")).to_be_visible()
    leave_shot(visit, "detail")


def test_the_text_in_a_picture_is_shown_as_text_and_framed(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    dialog = open_picture(visit, "red wall")
    expect(details(visit, dialog).get_by_text("<b>Gate</b> 12")).to_be_visible()
    dialog.get_by_role("button", name="Show text in the picture").click()
    leave_shot(visit, "text")


def test_ticked_pictures_outlive_a_reload_and_go_home_as_a_zip(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    expect_first(visit, "red wall")
    for number in (0, 1):
        tick(visit, number)
    expect(visit.get_by_text("2 selected")).to_be_visible()
    settle(visit)
    with visit.expect_download() as download:
        visit.get_by_role("button", name="Pictures (ZIP)").click()
    assert download.value.suggested_filename == "pictures.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
    leave_shot(visit, "selection")
    visit.reload()  # the browser remembers
    expect(visit.get_by_text("2 selected")).to_be_visible()
    visit.get_by_role("button", name="Clear the selection").click()
    expect(visit.get_by_text("2 selected")).to_have_count(0)
    expect(pictures(visit).first).to_have_attribute("aria-selected", "false")


def test_a_picture_is_marked_and_goes_into_a_collection(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    dialog = open_picture(visit, "red-00.png")
    dialog.get_by_role("button", name="Right", exact=True).click()
    expect(dialog.get_by_role("button", name="Right", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    dialog.get_by_role("button", name="Add to collection").click()
    dialog.get_by_role("menuitem", name="Kodak").click()
    # Over the open picture, which covers whatever the page itself shows.
    expect(dialog.get_by_role("status")).to_have_text("Added to Kodak", timeout=SLOW_MS)
    expect(visit.get_by_text("Added to Kodak")).to_have_count(1)
    go(visit, address, "/collections?collection=Kodak")
    expect(pictures(visit).filter(has=visit.locator('img[alt="red-00.png"]'))).to_have_count(1)
    go(visit, address, "/?q=red")
    dialog = open_picture(visit, "red-00.png")
    details(visit, dialog)
    expect(dialog.get_by_role("button", name="Right", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )


def test_an_uploaded_picture_is_found(visit: Page, address: str) -> None:
    go(visit, address, "/add")
    visit.locator(".st-key-upload input[type=file]").set_input_files(
        [{"name": "sea <b>.jpg", "mimeType": "image/jpeg", "buffer": jpeg((0, 0, 240))}]
    )
    expect(visit.get_by_text("sea <b>.jpg")).to_be_visible()
    visit.get_by_role("button", name="Add these").click()
    expect(visit.get_by_text("1 added")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "uploaded")
    go(visit, address, "/?q=blue")
    added = pictures(visit).filter(has=visit.locator('img[alt="sea _b_.jpg"]'))
    expect(added).to_have_count(1, timeout=SLOW_MS)


def test_a_folder_is_brought_in_with_progress_pause_and_cancel(
    visit: Page, chromium: Browser, address: str
) -> None:
    go(visit, address, "/add")
    visit.get_by_text("Or browse for it").click()
    expect(visit.get_by_text("150 pictures here")).to_be_visible(timeout=SLOW_MS)
    visit.get_by_role("button", name="Add this folder").click()
    visit.get_by_role("button", name="Pause").click()
    expect(visit.get_by_text("paused")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "ingest")
    other = chromium.new_page()  # the work goes on while the page is used
    go(other, address, "/?q=red")
    expect_first(other, "red wall")
    other.close()
    visit.get_by_role("button", name="Resume").click()
    visit.get_by_role("button", name="Cancel").click()
    expect(visit.get_by_text("Cancelled; what was done is kept")).to_be_visible(timeout=SLOW_MS)
    visit.get_by_role("button", name="OK", exact=True).click()
    expect(visit.get_by_text("Cancelled; what was done is kept")).to_have_count(0)


def test_a_pasted_picture_finds_pictures_like_it(visit: Page, address: str) -> None:
    go(visit, address, "/")
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
    expect_first(visit, "red wall")
    leave_shot(visit, "by-picture")
    visit.get_by_role("button", name="Remove the picture").click()
    expect(visit.get_by_role("img", name="Your picture pasted.jpg")).to_have_count(0)
    expect(visit.get_by_text("in this library")).to_be_visible()


def choose_picture(page: Page, name: str, data: bytes) -> None:
    """As a visitor does: the camera, then a file."""
    page.get_by_role("button", name="By picture").click()
    page.locator('[class*="st-key-picture-"] input[type=file]').set_input_files(
        [{"name": name, "mimeType": "image/jpeg", "buffer": data}]
    )


def test_a_picture_and_words_are_asked_for_together(visit: Page, address: str) -> None:
    go(visit, address, "/")
    settle(visit)
    choose_picture(visit, "mine.jpg", jpeg((0, 0, 255)))
    expect_first(visit, "blue.png")
    visit.keyboard.press("Escape")
    ask(visit, "red")
    expect(visit.get_by_role("img", name="Your picture mine.jpg")).to_be_visible()
    expect(visit.get_by_label("Describe a scene")).to_have_value("red")


def test_a_file_too_large_to_send_is_refused_where_it_was_dropped(
    visit: Page, address: str
) -> None:
    go(visit, address, "/")
    settle(visit)
    choose_picture(visit, "huge.jpg", bytes(21 * 2**20))
    expect(visit.get_by_text("File must be 20.0MB or smaller")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "too-large")


def test_a_picture_of_too_many_pixels_is_refused_in_words(visit: Page, address: str) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    png = bytearray(buffer.getvalue())
    png[16:24] = struct.pack(">II", 20_000, 20_000)  # what its header says
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    go(visit, address, "/")
    settle(visit)
    choose_picture(visit, "bomb.png", bytes(png))
    expect(visit.get_by_text("bomb.png cannot be used: 400 megapixels")).to_be_visible(
        timeout=SLOW_MS
    )


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
    picture = open_picture(page, "red wall").get_by_role("img", name="red wall").first
    expect(picture).to_be_visible(timeout=SLOW_MS)
    leave_shot(page, "phone-detail")
    box = picture.bounding_box()
    assert box is not None and box["x"] >= -1 and box["x"] + box["width"] <= 361
    page.close()


def named(view: str) -> str:
    return {"/": "search", "/?q=red": "answer"}.get(view, view[1:].replace("?collection=", "-"))


def test_a_request_becomes_a_collection_with_an_address(visit: Page, address: str) -> None:
    go(visit, address, "/?q=red")
    visit.get_by_role("button", name="Save", exact=True).click()
    visit.get_by_label("Name (optional)").fill("My reds")
    visit.get_by_role("button", name="Save this request").click()
    expect(visit.get_by_role("button", name="Save this request")).to_have_count(0)
    go(visit, address, "/")
    visit.get_by_role("button", name="My reds", exact=True).click()
    expect(visit).to_have_url(f"{address}/collections?collection=My+reds", timeout=SLOW_MS)
    expect(visit.get_by_role("heading", name="My reds")).to_be_visible()
    shared = visit.url
    visit.get_by_role("button", name="All collections").click()
    expect(visit.get_by_role("button", name="Open Kodak")).to_be_visible()
    visit.goto(shared)
    expect(visit.get_by_role("heading", name="My reds")).to_be_visible(timeout=SLOW_MS)
    visit.get_by_text("Change", exact=True).click()
    visit.get_by_role("button", name="Delete the collection").click()
    expect(visit.get_by_role("button", name="Open Kodak")).to_be_visible()
    expect(visit.get_by_role("button", name="Open My reds")).to_have_count(0)


def test_ticked_pictures_are_tagged_and_it_is_undone(visit: Page, address: str) -> None:
    go(visit, address, "/collections?collection=Kodak")
    expect(pictures(visit).first).to_be_visible(timeout=SLOW_MS)
    tick(visit, 0)
    expect(visit.get_by_text("1 selected")).to_be_visible()
    settle(visit)
    visit.get_by_role("button", name="Tags").click()
    visit.get_by_label("Tag", exact=True).fill("holiday")
    visit.get_by_label("Tag", exact=True).press("Enter")
    visit.get_by_role("button", name="Add it").click()
    expect(visit.get_by_text("1 of 1 pictures changed")).to_be_visible(timeout=SLOW_MS)
    expect(visit.get_by_text("+holiday for a ticked picture")).to_be_visible(timeout=SLOW_MS)
    leave_shot(visit, "tagged")
    visit.get_by_role("button", name="Undo the last change").click()
    expect(visit.get_by_text("1 pictures changed back")).to_be_visible(timeout=SLOW_MS)


def test_a_page_for_reading_offers_nothing_that_changes_the_library(
    tmp_path: Path, chromium: Browser, tiny_encoder: Path
) -> None:
    build_library(tmp_path, OnnxEncoder(tiny_encoder, threads=1), reds(2))
    page = chromium.new_page()
    with serving(tmp_path, tiny_encoder, page_read_only="true") as started:
        go(page, started.address, "/?q=red")
        expect(pictures(page)).to_have_count(2, timeout=SLOW_MS)
        expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
        expect(page.get_by_role("link", name="Add", exact=True)).to_have_count(0)
        expect(page.get_by_text("Manage", exact=True)).to_have_count(0)
        for view in REFUSED:
            page.goto(f"{started.address}/{view}")
            expect(page.get_by_text("This page is read-only")).to_be_visible(timeout=SLOW_MS)
            settle(page)
            expect(page.get_by_test_id("stMain").get_by_role("button")).to_have_count(0)
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
