"""How fast the maps of 100,000 pictures are: `python -m tests.map_speed --data DIR`.

The library is that of `python -m tests.page_speed`, made where it is not there: a third of its
pictures have a place. Prints how long the map takes to be made and shown, what the browser fetches
for it, and how long it draws a frame (medians).
"""

import argparse
import os
import resource
import tempfile
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from scenesearch.encoder.registry import find_encoder
from scenesearch.search import library_map
from scenesearch.store.edge import EdgeStore
from tests.browser.conftest import launch_chromium, serving
from tests.page_speed import LIBRARY, SIZE, build

# Keeps what each frame took; the component measures it (`map-draw`).
LISTEN = """
window.frames_ms = [];
new PerformanceObserver(list => list.getEntriesByName("map-draw")
  .forEach(entry => window.frames_ms.push(entry.duration))).observe({ entryTypes: ["measure"] });
"""
FETCHED = """
() => performance.getEntriesByType("resource").filter(one => one.name.includes("maps/points"))
  .reduce((sum, one) => sum + one.encodedBodySize, 0)
"""
WAIT_MS = 600_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="keep the library here; default: a temporary one")
    parser.add_argument("--size", type=int, default=SIZE, help="pictures (default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scenesearch-map-") as name:
        data_dir = given.data or Path(name)
        if not (data_dir / "complete").exists():
            build(data_dir, given.size)
            (data_dir / "complete").touch()
        print(f"load before: {os.getloadavg()[0]:.1f}")
        for figure, value in (_making(data_dir) | _drawing(data_dir)).items():
            print(f"{figure:<62} {value}")
        print(f"load after: {os.getloadavg()[0]:.1f}")


def _making(data_dir: Path) -> dict[str, Any]:
    folder = data_dir / "libraries" / LIBRARY / "layouts"
    with closing(EdgeStore(data_dir / "edge")) as store:
        collection, version = store.resolve(LIBRARY), store.version(LIBRARY)
        count = store.count(LIBRARY)
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        first = islice(store.scroll(LIBRARY, payload=(), with_vectors=True), library_map.SAMPLE)
        sample = np.stack([point.vector for point in first if point.vector is not None])
        layout = library_map.fit(sample, count)
        laid_out = time.monotonic()
        points = store.scroll(LIBRARY, payload=("captions", "tags"), with_vectors=True)
        made = library_map.map_of(points, layout, collection=collection, version=version)
        library_map.save(folder, made, layout)
        ended = time.monotonic()
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    return {
        "pictures on the map": f"{len(made.ids):,}",
        "a sample is laid out, s": f"{laid_out - started:.0f}",
        "all are placed, named and saved, s": f"{ended - laid_out:.0f}",
        "memory that this took, MB": f"{grown_mb:.0f}",
    }


def _drawing(data_dir: Path) -> dict[str, Any]:
    with serving(data_dir, find_encoder("lite")) as served, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(WAIT_MS)
        page.add_init_script(LISTEN)
        page.goto(f"{served.address}/map")  # the server reads the map
        page.locator("[data-points]").wait_for()
        page.reload()
        page.locator("[data-points]").wait_for()
        figures = {
            "the page opens until the map is drawn, ms": round(page.evaluate("performance.now()")),
            "bytes of its points": f"{page.evaluate(FETCHED):,}",
            "a frame of all points, ms": _frames(page),
        }
        page.get_by_role("button", name="Zoom in").click()
        started = time.monotonic()
        page.locator("[data-thumbs]").wait_for()
        figures["nearer: the first thumbnail, ms"] = round(1000 * (time.monotonic() - started))
        page.wait_for_timeout(2000)
        figures["a frame with thumbnails, ms"] = _frames(page)
        page.get_by_role("radio", name="By place").click()
        started = time.monotonic()
        page.locator("[aria-label*='by place']").wait_for()
        figures["by place: until it is drawn, ms"] = round(1000 * (time.monotonic() - started))
        page.wait_for_timeout(1000)
        figures["a frame of coastlines and counts, ms"] = _frames(page)
        browser.close()
    return figures


def _frames(page: Page) -> str:
    """What the frames took while the map is dragged about."""
    page.evaluate("window.frames_ms.length = 0")
    box = page.locator(".map canvas").bounding_box()
    assert box is not None
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(left, top)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(left + 4 * step, top + step)
    page.mouse.up()
    page.wait_for_timeout(500)
    median, worst = np.percentile(page.evaluate("window.frames_ms"), [50, 95])
    return f"{median:.0f}, 95 % within {worst:.0f}"


if __name__ == "__main__":
    main()
