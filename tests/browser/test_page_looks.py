"""What the page looks like, beside pictures of it that are kept: at three widths, light and dark.

A change that is meant to be seen is kept, and looked at, after

    python -m tests.browser.test_page_looks
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from scenesearch.encoder.registry import find_encoder
from scenesearch.sample.library import write_library
from tests.browser.conftest import ServedPage, launch_chromium, serving
from tests.browser.screenshot import settle

KEPT = Path(__file__).parent / "looks"
PICTURES = 90
QUERY = "a red boat on the water"
SIZES = {1440: 900, 768: 1024, 360: 740}
SCHEMES = ("light", "dark")
VIEWS = ("home", "answer", "picture")
LOOKS = list(product(VIEWS, SIZES, SCHEMES))

# Both are made so much smaller, so that the edges of letters do not count.
_REDUCED = 8
# A place differs by more than this of 255; so large a share of the places may.
_DIFFERS, _SHARE = 40, 0.04


@contextmanager
def drawn_page(data_dir: Path) -> Iterator[ServedPage]:
    """The page over drawn pictures, with the bundled encoder."""
    drawn = write_library(data_dir / "drawn", size=PICTURES)
    subprocess.run(
        [sys.executable, "-m", "scenesearch.cli", "ingest", str(drawn.folder)],
        cwd=data_dir,
        env={**os.environ, "SCENESEARCH_DATA_DIR": str(data_dir), "SCENESEARCH_LIBRARY": "drawn"},
        check=True,
        capture_output=True,
    )
    with serving(data_dir, find_encoder("lite"), library="drawn") as served:
        yield served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    with drawn_page(tmp_path_factory.mktemp("looks")) as page:
        yield page


def look(browser: Browser, address: str, view: str, width: int, scheme: str) -> Image.Image:
    """The view as it is seen in a window of this width."""
    context = browser.new_context(
        viewport={"width": width, "height": SIZES[width]},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address if view == "home" else f"{address}/?q={QUERY.replace(' ', '+')}")
    page.get_by_role("option").first.wait_for(timeout=60_000)
    settle(page)
    if view == "picture":
        _open_picture(page)
    shot = page.screenshot()
    context.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def _open_picture(page: Page) -> None:
    page.get_by_role("option").first.click()
    page.keyboard.press("i")
    page.get_by_text("Why it was found").wait_for()
    settle(page)


def differing(one: Image.Image, other: Image.Image) -> float:
    """The share of places where two pictures of one size differ clearly."""
    size = one.width // _REDUCED, one.height // _REDUCED
    first, second = (
        np.asarray(image.resize(size, Image.Resampling.BOX), np.int16) for image in (one, other)
    )  # (height, width, 3)
    return float((np.abs(first - second).max(axis=2) > _DIFFERS).mean())


def _file(view: str, width: int, scheme: str) -> Path:
    return KEPT / f"{view}-{width}-{scheme}.webp"


@pytest.mark.browser
@pytest.mark.parametrize(("view", "width", "scheme"), LOOKS)
def test_the_page_looks_as_it_did(
    served: ServedPage, chromium: Browser, tmp_path: Path, view: str, width: int, scheme: str
) -> None:
    now = look(chromium, served.address, view, width, scheme)
    now.save(tmp_path / "now.png")
    with Image.open(_file(view, width, scheme)) as kept:
        share = differing(now, kept.convert("RGB").resize(now.size))
    assert share <= _SHARE, f"{share:.1%} of the window differ: see {tmp_path / 'now.png'}"


def test_a_window_that_has_changed_is_told() -> None:
    light, dark = (Image.new("RGB", (360, 740), (grey,) * 3) for grey in (250, 20))
    other = light.copy()
    other.paste((40, 90, 200), (0, 0, 360, 60))
    assert differing(light, light) == 0
    assert differing(light, other) > _SHARE
    assert differing(light, dark) == 1


def main() -> None:
    KEPT.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="scenesearch-looks-") as name,
        drawn_page(Path(name)) as page,
        sync_playwright() as playwright,
    ):
        browser = launch_chromium(playwright)
        for view, width, scheme in LOOKS:
            shot = look(browser, page.address, view, width, scheme)
            half = shot.resize((shot.width // 2, shot.height // 2), Image.Resampling.LANCZOS)
            half.save(_file(view, width, scheme), quality=70, method=6)
        browser.close()


if __name__ == "__main__":
    main()
