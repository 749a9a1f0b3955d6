"""An answer of several portions in a real browser: they follow one another while one scrolls."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scenesearch.encoder.onnx import OnnxEncoder
from tests.browser.conftest import serving
from tests.browser.gallery_page import expect_first, opened, pictures, scroll_to_the_end
from tests.unit.ui_world import build_library, reds

pytestmark = pytest.mark.browser

COUNT = 100


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[str]:
    data_dir = tmp_path_factory.mktemp("portions")
    build_library(data_dir, OnnxEncoder(tiny_encoder, threads=1), reds(COUNT))
    with serving(data_dir, tiny_encoder) as started:
        yield started.address


def test_pictures_of_two_portions_are_selected(chromium: Browser, address: str) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    expect_first(page, "red-99.png")
    pictures(page).first.click(modifiers=["Control"])
    expect(page.get_by_text("1 selected")).to_be_visible()
    scroll_to_the_end(page, COUNT)
    expect(pictures(page).last).to_have_attribute("aria-label", "red-00.png")
    assert pictures(page).count() < 90  # only those near the window are in the document
    pictures(page).last.click(modifiers=["Control"])
    expect(page.get_by_text("2 selected")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").click()
    with download.value.path().open(encoding="utf-8-sig") as file:
        assert [row["image_id"] for row in csv.DictReader(file)] == ["red-99.png", "red-00.png"]
    page.close()


def test_a_picture_of_a_later_portion_is_opened_from_its_address(
    chromium: Browser, address: str
) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{address}/#picture=red-03.png")
    opened(page, "red-03.png")
    page.keyboard.press("ArrowRight")
    opened(page, "red-02.png")
    page.close()
