"""Makes docs/evaluation-report.png from a real report over the drawn library.

python -m tests.browser.report_screenshot
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from scenesearch.sample.library import write_library
from tests.browser.conftest import launch_chromium

MAX_BYTES = 400_000


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="scenesearch-screenshot-") as name:
        write_library(Path(name) / "drawn")
        subprocess.run(
            [
                *(sys.executable, "-m", "scenesearch.cli", "evaluate"),
                *("--queries", "drawn/test_queries.csv", "--images", "drawn"),
                *("--expert", "drawn/ExpertAnnotations.tsv"),
                *("--crowd", "drawn/CrowdAnnotations.tsv", "--out", "report"),
            ],
            cwd=name,
            env=os.environ | {"SCENESEARCH_DATA_DIR": name},
            check=True,
            stdout=sys.stderr,
        )
        with sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            page = browser.new_page(viewport={"width": 1080, "height": 1800})
            page.goto((Path(name) / "report" / "report.html").as_uri())
            parts = [page.screenshot()]
            page.get_by_role("heading", name="Agreement with people").evaluate(
                "element => element.scrollIntoView()"
            )
            parts.append(page.screenshot())
            browser.close()
    shots = [Image.open(io.BytesIO(part)).convert("RGB") for part in parts]
    both = Image.new("RGB", (sum(shot.width for shot in shots), shots[0].height))
    both.paste(shots[0], (0, 0))
    both.paste(shots[1], (shots[0].width, 0))
    both.quantize(128, kmeans=4, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target}: {both.width} x {both.height}, {size / 1000:.0f} kB")
    if size > MAX_BYTES:
        sys.exit(f"more than {MAX_BYTES / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(__file__).parents[2] / "docs" / "evaluation-report.png")
