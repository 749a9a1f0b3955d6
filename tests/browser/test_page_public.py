"""A page for reading, looked at with everything that a browser is sent: no path of the server is in
it, and no place unless the setting says so."""

import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Error, Page, Response, WebSocket, expect

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.home.rejects import FILE_NAME, Reject, Rejects
from tests.browser.conftest import ServedPage, serving
from tests.browser.gallery_page import details, open_picture, pictures, tick, titles
from tests.unit.ui_world import Shot, build_library, reds

pytestmark = pytest.mark.browser

LATITUDE, LONGITUDE = 48.123456, 2.654321
PLACES = [
    b"48.12", b"2.654", b"48\xc2\xb0", struct.pack("<d", LATITUDE), struct.pack("<d", LONGITUDE),
    b"latitude", b"longitude", b"near:", b"with a place",
]  # fmt: skip


def gps() -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 7.0, 24.44), 3: "E", 4: (2.0, 39.0, 15.56)})
    return exif


def build(data_dir: Path, encoder: Path) -> None:
    place = {"location": {"lat": LATITUDE, "lon": LONGITUDE}, "latitude": LATITUDE}
    shots = [
        *reds(3),
        Shot("here.jpg", (215, 30, 30), payload=place),
        Shot("gone.png", (220, 9, 9)),
    ]
    folder = build_library(
        data_dir, OnnxEncoder(encoder, threads=1), shots, custom={"latitude": "float"}
    )
    Image.open(folder / "here.jpg").save(folder / "here.jpg", exif=gps(), comment=b"at 48.12")
    (folder / "gone.png").unlink()
    (data_dir / "models" / "broken").mkdir(parents=True)
    (data_dir / "models" / "broken" / "encoder.json").write_text("{")
    with closing(Rejects(data_dir / "libraries" / "photos" / FILE_NAME)) as table:
        table.add([Reject(str(folder / "bad.jpg"), "damaged: cut short", image_id="bad.jpg")])


class Heard:
    """All that one browser is sent."""

    def __init__(self, context: BrowserContext) -> None:
        self.sent: list[bytes] = []
        context.on("page", self._listen)

    def _listen(self, page: Page) -> None:
        page.on("websocket", self._socket)
        page.on("response", self._response)

    def _response(self, response: Response) -> None:
        if "/gallery/" in response.url:
            with suppress(Error):  # a picture that was no longer wanted
                self.sent += [response.body(), str(response.headers).encode()]

    def _socket(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._frame)

    def _frame(self, payload: str | bytes) -> None:
        self.sent.append(payload.encode() if isinstance(payload, str) else payload)

    def with_any(self, wanted: list[bytes]) -> list[bytes]:
        return [part for part in wanted if any(part in sent for sent in self.sent)]


@pytest.fixture(scope="module", params=["no places", "places"])
def public(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path
) -> Iterator[tuple[ServedPage, Path, bool]]:
    data_dir = tmp_path_factory.mktemp("srv-of-the-operator")
    build(data_dir, tiny_encoder)
    places = request.param == "places"
    with serving(
        data_dir, tiny_encoder, page_read_only="true", page_places=str(places).lower()
    ) as started:
        yield started, data_dir, places


def settled(page: Page) -> None:
    """A run that is under way takes away the file that its predecessor's button names."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=20_000)


def test_nothing_that_a_browser_is_sent_names_a_path_and_places_only_where_they_are_wanted(
    public: tuple[ServedPage, Path, bool], chromium: Browser
) -> None:
    started, data_dir, places = public
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    heard = Heard(context)
    page = context.new_page()
    page.goto(f"{started.address}/?q=red")
    expect(pictures(page)).to_have_count(5)
    downloads: list[bytes] = []
    for title in titles(page):  # each picture, also the one whose file is gone
        dialog = open_picture(page, title)
        details(page, dialog)
        if title == "gone.png":
            expect(dialog.get_by_text("The original cannot be shown now.")).to_be_visible()
        else:
            with page.expect_download() as download:
                dialog.get_by_role("link", name="Download").click()
            downloads.append(download.value.path().read_bytes())
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    for number in range(5):
        tick(page, number)
        expect(page.get_by_text(f"{number + 1} selected")).to_be_visible(timeout=20_000)
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").click()
    downloads.append(download.value.path().read_bytes())
    with page.expect_download() as download:
        page.get_by_role("button", name="Pictures (ZIP)").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        downloads += [archive.read(name) for name in archive.namelist()]
    page.get_by_role("button", name="Names").click()
    page.goto(f"{started.address}/?q=near:48.1,2.6,50km")
    page.wait_for_timeout(1500)
    for view in (
        *("map", "collections", "add", "contents", "encoders", "duplicates"),
        *("left-out", "evaluation", "models", "settings"),
    ):
        page.goto(f"{started.address}/{view}")
        expect(page.get_by_role("heading").first).to_be_visible(timeout=20_000)
        page.wait_for_timeout(1500)
    assert len(heard.sent) > 100
    assert len(downloads) == 4 + 1 + 5  # four pictures, the table, and what the ZIP holds
    everything = heard.with_any([str(data_dir).encode(), data_dir.name.encode()])
    assert everything == []
    assert not [data for data in downloads if data_dir.name.encode() in data]
    located = [data for data in downloads if b"GPS" in data or b"Exif" in data or b"48.12" in data]
    if places:
        assert len(located) == 2  # by itself and in the ZIP
        assert b"latitude" in heard.with_any(PLACES)
    else:
        assert located == []
        told = heard.with_any(PLACES)
        assert told in ([], [b"near:"])  # the visitor's own words come back
    context.close()
