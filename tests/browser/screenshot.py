"""Makes docs/screenshot.png from a real page over the drawn library.

python -m tests.browser.screenshot "a red boat on the water"
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from scenesearch.datasets.drawn import write_library
from scenesearch.encoder.registry import find_encoder
from tests.browser.conftest import launch_chromium, serving

MAX_BYTES = 400_000


def main(query: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="scenesearch-screenshot-") as name:
        data_dir = Path(name)
        drawn = write_library(data_dir / "pictures")
        subprocess.run(
            [sys.executable, "-m", "scenesearch.cli", "ingest", str(drawn.folder)],
            cwd=data_dir,
            env=os.environ | {"SCENESEARCH_DATA_DIR": name, "SCENESEARCH_LIBRARY": "drawn"},
            check=True,
            stdout=sys.stderr,
        )
        with (
            serving(data_dir, find_encoder("lite"), library="drawn") as served,
            sync_playwright() as playwright,
        ):
            browser = launch_chromium(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(served.address)
            page.get_by_label("Describe a scene").fill(query)
            page.get_by_label("Describe a scene").press("Enter")
            expect(page.get_by_text(" searched · ")).to_be_visible(timeout=60_000)
            page.wait_for_function(
                "[...document.querySelectorAll('[class*=st-key-grid] img')]"
                ".every(i => i.naturalWidth)"
            )
            page.wait_for_timeout(1000)  # the last fade
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            browser.close()
    shot.quantize(256, kmeans=4, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target}: {shot.width} x {shot.height}, {size / 1000:.0f} kB")
    if size > MAX_BYTES:
        sys.exit(f"more than {MAX_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "a red boat on the water",
        Path(__file__).parents[2] / "docs" / "screenshot.png",
    )
