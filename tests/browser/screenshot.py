"""Makes the pictures of the page in docs/, from a real page over the drawn library.

python -m tests.browser.screenshot
"""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from scenesearch.encoder.registry import find_encoder
from scenesearch.sample.library import write_library
from tests.browser.conftest import launch_chromium, serving

MAX_BYTES = 400_000
QUERY = "a red boat on the water"
DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="scenesearch-screenshot-") as name:
        data_dir = Path(name)
        drawn = write_library(data_dir / "demo-pictures")
        subprocess.run(
            [sys.executable, "-m", "scenesearch.cli", "ingest", str(drawn.folder)],
            cwd=data_dir,
            env=os.environ | {"SCENESEARCH_DATA_DIR": name, "SCENESEARCH_LIBRARY": "drawn"},
            check=True,
            stdout=sys.stderr,
        )
        with (
            serving(
                data_dir, find_encoder("lite"), library="drawn", page_folders="/home"
            ) as served,
            sync_playwright() as playwright,
        ):
            browser = launch_chromium(playwright)
            asked = f"/?q={QUERY.replace(' ', '+')}"
            shoot(browser, served.address, asked, "screenshot")
            shoot(browser, served.address, asked, "page-detail", detail, width=1100, height=1300)
            shoot(browser, served.address, "/add", "page-add")
            shoot(browser, served.address, "/map", "page-map", select_on_map)
            shoot(browser, served.address, asked, "page-phone", width=390)
            browser.close()


def shoot(
    browser: Browser,
    address: str,
    view: str,
    name: str,
    act: Callable[[Page], None] = lambda page: None,
    width: int = 1280,
    height: int = 860,
) -> None:
    """Open the view, do something in it, and keep what is then to be seen."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(f"{address}{view}")
    page.wait_for_selector("h1", timeout=60_000)
    settle(page)
    act(page)
    settle(page)
    page.mouse.move(0, 0)
    page.wait_for_timeout(1000)  # the last fade
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    target = DOCS / f"{name}.png"
    shot.quantize(256, kmeans=4, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target}: {shot.width} x {shot.height}, {size / 1000:.0f} kB")
    if size > MAX_BYTES:
        sys.exit(f"more than {MAX_BYTES / 1000:.0f} kB")


def settle(page: Page) -> None:
    """Every widget and picture has loaded."""
    page.wait_for_timeout(1500)
    page.wait_for_function(
        "!document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')"
        " && [...document.querySelectorAll('img')].every(image => image.complete)",
        timeout=60_000,
    )


def detail(page: Page) -> None:
    page.get_by_role("option").nth(1).click()
    page.get_by_role("dialog").get_by_role("button", name="Details").click()
    page.get_by_role("button", name="Show words and places").click(timeout=60_000)
    page.get_by_text("The picture is red where it shows it.").wait_for(timeout=60_000)


def select_on_map(page: Page) -> None:
    """Coloured by setting, nearer, with the pictures of a part below."""
    page.get_by_role("combobox", name="Colour by").click()
    page.get_by_role("option", name="Setting").click()
    page.locator("[data-points]").wait_for(timeout=60_000)
    page.locator(".parts button").first.click()
    page.get_by_role("listbox", name="Pictures").wait_for(timeout=60_000)


if __name__ == "__main__":
    main()
