"""How fast the page is in a real Chromium over 100,000 pictures: `python -m tests.page_speed`.

The pictures are the shared photographs (drawn ones where there are none) and points made of them,
each with a thumbnail and the fields of a camera. Server and browser cache are warm. Prints the
medians with the extremes, and beside them what the searches themselves took; with `--data DIR` the
library is kept there for the next time. `--searches 500` also says what so many searches leave in
memory.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from ingest.pipeline import ingest
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.encoder.registry import find_encoder
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.sample.library import write_library
from scenesearch.store.base import Point
from scenesearch.store.edge import EdgeStore
from tests.browser.conftest import ServedPage, launch_chromium, serving
from tests.process_memory import status_mb

LIBRARY = "photos"
SIZE = 100_000
CAMERAS = ("Canon EOS 5D", "Nikon D90", "Fujifilm X-T2", "Apple iPhone 8", "Google Pixel 4")
SHAPES = ("landscape", "portrait", "square")
# Centres of the places where pictures were taken, a third of them: latitude, longitude.
CITIES = ((52.5, 13.4), (48.9, 2.35), (41.9, 12.5), (40.7, -74.0), (35.7, 139.7), (-33.9, 151.2))
TAGS = ("holiday", "family", "work", "garden", "sport", "city", "sea", "mountains")
QUERIES = (
    "a dog running through snow",
    "two children on a beach",
    "a red boat on a lake",
    "a man riding a bicycle down a street",
    "mountains under a cloudy sky",
    "a white house with trees",
    "people sitting at a table",
    "a bird above the water",
    "a football player kicks the ball",
    "a girl in a pink dress",
    "climbers on a rock",
    "a crowd in the city at night",
)
SCROLLS = 40
ROUNDS = 20

# The thumbnails in the document, and the picture that is open.
THUMBNAILS = """
const shadow = () => [...document.querySelectorAll('[class*="st-key-gallery"] *')]
  .map(element => element.shadowRoot).find(Boolean);
const thumbnails = () => shadow() ? [...shadow().querySelectorAll('[role="option"] img')] : [];
const ready = image => image && image.complete && image.naturalWidth > 0;
const open = () => shadow() && shadow().querySelector('dialog[open] .picture img');
"""

# Of the navigation, until the box is there and the first picture has been painted.
FIRST_PAINT = f"""
new Promise(done => {{
  {THUMBNAILS}
  const look = () => {{
    if (document.querySelector('.st-key-q input') && ready(thumbnails()[0])) {{
      requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0));
    }} else requestAnimationFrame(look);
  }};
  look();
}})
"""

# Arms a clock that starts with the next key or click and stops when the first thumbnail is another
# one than now, painted; `whole` is when all that are in the document are there.
ARM = f"""
() => {{
  {THUMBNAILS}
  const before = thumbnails().map(image => image.src);
  window.measured = new Promise((done, failed) => {{
    const begin = event => {{
      if (event.type === "keydown" && event.key !== "Enter") return;
      removeEventListener("keydown", begin, true);
      removeEventListener("click", begin, true);
      const started = performance.now();
      let first = 0;
      const look = () => {{
        if (performance.now() - started > 30_000) return failed(Error("no new picture in 30 s"));
        const now = thumbnails();
        if (!first && ready(now[0]) && !before.includes(now[0].src)) {{
          first = performance.now() - started;
        }}
        const runs = document.querySelector('[data-testid="stStatusWidget"]');
        if (first && now.every(ready) && !runs) {{
          requestAnimationFrame(() => setTimeout(() => done({{
            first, whole: performance.now() - started,
            elements: document.getElementsByTagName("*").length
              + shadow().querySelectorAll("*").length,
          }}), 0));
        }} else requestAnimationFrame(look);
      }};
      look();
    }};
    addEventListener("keydown", begin, true);
    addEventListener("click", begin, true);
  }});
}}
"""

# Arms a clock that starts with the next click or key and stops when another picture is open.
ARM_VIEWER = f"""
() => {{
  {THUMBNAILS}
  const before = open() ? open().src : "";
  window.measured = new Promise(done => {{
    const begin = () => {{
      removeEventListener("keydown", begin, true);
      removeEventListener("click", begin, true);
      const started = performance.now();
      const look = () => {{
        if (ready(open()) && open().src !== before) done(performance.now() - started);
        else requestAnimationFrame(look);
      }};
      look();
    }};
    addEventListener("keydown", begin, true);
    addEventListener("click", begin, true);
  }});
}}
"""

# Arms a clock that starts with Enter and stops when the filters have the new answer's counts.
ARM_COUNTS = """
() => {
  const mounts = [...document.querySelectorAll('.st-key-filters *')].filter(one => one.shadowRoot);
  const panel = mounts.map(one => one.shadowRoot.querySelector(".panel")).find(Boolean);
  const isPending = () => panel.classList.contains("pending");
  window.counted = new Promise(done => {
    const begin = event => {
      if (event.key !== "Enter") return;
      removeEventListener("keydown", begin, true);
      const started = performance.now();
      let waited = false;
      const look = () => {
        waited = waited || isPending();
        if (waited && !isPending()) done(performance.now() - started);
        else requestAnimationFrame(look);
      };
      look();
    };
    addEventListener("keydown", begin, true);
  });
}
"""

# What the browser fetched for an address: bytes of the bodies, and how long each took.
FETCHED = """
part => performance.getEntriesByType("resource").filter(one => one.name.includes(part))
  .map(one => ({ bytes: one.encodedBodySize, took: one.duration }))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="keep the library here; default: a temporary one")
    parser.add_argument("--size", type=int, default=SIZE, help="pictures (default: %(default)s)")
    parser.add_argument(
        "--searches", type=int, default=0, help="so many in one tab, for what they leave in memory"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scenesearch-page-") as name:
        data_dir = arguments.data or Path(name)
        for figure, value in measure(data_dir, arguments.size, arguments.searches).items():
            print(f"{figure:<62} {value}")


def measure(data_dir: Path, size: int = SIZE, searches: int = 0) -> dict[str, Any]:
    """Figures of a page over a library of that size, which is made where it is not there."""
    if not (data_dir / "complete").exists():
        build(data_dir, size)
        (data_dir / "complete").touch()
    print(f"load before: {os.getloadavg()[0]:.1f}")
    with serving(data_dir, find_encoder("lite")) as served, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        figures = _paints(page, served.address) | _answers(page, data_dir / "page.log")
        figures |= _scrolls(page, served.address) | _opens(page)
        figures |= _counts(page, served.address)
        if searches:
            figures |= _memory(page, served, searches)
        browser.close()
    print(f"load after: {os.getloadavg()[0]:.1f}")
    return figures


def _paints(page: Page, address: str) -> dict[str, Any]:
    times, sizes = [], []
    for _ in range(ROUNDS + 2):
        page.goto(address, wait_until="commit")
        times.append(page.evaluate(FIRST_PAINT))
        page.wait_for_timeout(1500)
        sizes.append(sum(one["bytes"] for one in page.evaluate(FETCHED, "gallery/thumb")) / 1000)
    warm = times[2:]
    return {
        "thumbnails of the first screen, kB (target <= 400)": f"{max(sizes):.0f}",
        "first pictures on the screen, ms (target <= 800)": _spread(warm),
    }


def _answers(page: Page, log: Path) -> dict[str, Any]:
    for text in QUERIES[:2]:
        _ask(page, text)
    logged = log.stat().st_size
    warm = [_ask(page, QUERIES[number % len(QUERIES)]) for number in range(2, 2 + ROUNDS)]
    with log.open() as lines:
        lines.seek(logged)
        events = [json.loads(line) for line in lines if line.startswith("{")]
    took = [one["total_ms"] for one in events if one.get("event") == "search"]
    return {
        "the searches themselves, ms": _spread(took),
        "Enter until the first new picture, ms": _spread(one["first"] for one in warm),
        "Enter until all pictures of the window, ms": _spread(one["whole"] for one in warm),
        "elements of the document with an answer": _spread(one["elements"] for one in warm),
    }


def _ask(page: Page, text: str) -> Any:
    box = page.get_by_label("Describe a scene")

    def enter() -> None:
        box.fill(text)
        box.press("Enter")

    return _timed(page, enter)


def _timed(page: Page, act: Callable[[], None]) -> Any:
    page.evaluate(ARM)
    act()
    measured = page.evaluate("window.measured")
    page.wait_for_timeout(400)  # what a visitor does in between takes longer
    return measured


def _scrolls(page: Page, address: str) -> dict[str, Any]:
    """An answer of all pictures: portion after portion arrives while one scrolls."""
    page.goto(f"{address}/?q=a+dog&relevance=0")
    page.evaluate(FIRST_PAINT)
    page.mouse.move(800, 600)
    for _ in range(SCROLLS):
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(250)
    took = [one["took"] for one in page.evaluate(FETCHED, "gallery/items")]
    elements = page.evaluate(f"(() => {{{THUMBNAILS} return thumbnails().length}})()")
    return {
        "portions of 60 that scrolling fetched, ms each": f"{len(took)}: {_spread(took)}",
        "thumbnails in the document then": elements,
    }


def _opens(page: Page) -> dict[str, Any]:
    page.get_by_test_id("stMain").evaluate("main => main.scrollTo(0, 0)")
    page.wait_for_timeout(1000)
    first, following = [], []
    for _ in range(ROUNDS):
        page.evaluate(ARM_VIEWER)
        page.get_by_role("option").nth(2).click()
        first.append(page.evaluate("window.measured"))
        page.wait_for_timeout(700)
        page.evaluate(ARM_VIEWER)
        page.keyboard.press("ArrowRight")
        following.append(page.evaluate("window.measured"))
        page.keyboard.press("Escape")
        page.wait_for_timeout(500)
    return {
        "opening a picture, ms (target <= 100)": _spread(first),
        "next picture, ms (target <= 50)": _spread(following),
    }


def _counts(page: Page, address: str) -> dict[str, Any]:
    page.goto(f"{address}/?q=a+dog")
    page.evaluate(FIRST_PAINT)
    box = page.get_by_label("Describe a scene")
    times = []
    for text in QUERIES:
        page.evaluate(ARM_COUNTS)
        box.fill(text)
        box.press("Enter")
        times.append(page.evaluate("window.counted"))
    return {"Enter until the filters have the answer's counts, ms": _spread(times[2:])}


def _memory(page: Page, served: ServedPage, searches: int) -> dict[str, Any]:
    """What half of the searches leave, and what the others add to that."""
    devtools = page.context.new_cdp_session(page)

    def now() -> tuple[float, float]:
        devtools.send("HeapProfiler.collectGarbage")
        heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
        return status_mb(served.process_id) or 0.0, heap / 1e6

    found = []
    for number in range(searches):
        _ask(page, QUERIES[number % len(QUERIES)])
        if number + 1 in (searches // 2, searches):
            found.append(now())
    (server, heap), (later, heap_later) = found
    name = f"after {searches // 2} and {searches} searches, MB: "
    return {
        f"{name}the page's process": f"{server:.0f}, {later:.0f}",
        f"{name}the tab's heap": f"{heap:.0f}, {heap_later:.0f}",
    }


def _spread(values: Any) -> str:
    low, median, high = np.percentile(list(values), [0, 50, 100])
    return f"{median:.0f} ({low:.0f}..{high:.0f})"


def build(data_dir: Path, size: int) -> None:
    """Real pictures, then points between two of them each, up to that many."""
    own = data_dir / "libraries" / LIBRARY
    encoder = OnnxEncoder(find_encoder("lite"))
    with closing(EdgeStore(data_dir / "edge")) as store:
        ingest(
            find_sources([_photographs(data_dir)], roots=Roots(own / "sources.json")),
            library=LIBRARY,
            encoder=encoder,
            store=store,
            thumbnails_dir=own / "thumbnails",
        )
        originals = list(islice(store.scroll(LIBRARY, with_vectors=True), 1000))
        vectors = np.stack([point.vector for point in originals if point.vector is not None])
        rng = np.random.default_rng(0)
        for start in range(store.count(LIBRARY), size, 1000):
            rows = range(start, min(start + 1000, size))
            store.upsert(LIBRARY, _made(rows, originals, vectors, own / "thumbnails", rng))
        store.flush(LIBRARY)
        store.optimize(LIBRARY)


def _photographs(data_dir: Path) -> Path:
    root = Path(__file__).parent.parent
    shared = Path(os.environ.get("SCENESEARCH_SHARED", root.parent / "shared"))
    photographs = shared / "data" / "practicum" / "train_images"
    return photographs if photographs.is_dir() else write_library(data_dir / "drawn").folder


def _made(
    rows: Sequence[int],
    originals: Sequence[Point],
    vectors: np.ndarray,  # (originals, dim)
    thumbnails: Path,
    rng: np.random.Generator,
) -> list[Point]:
    one, other = rng.integers(len(originals), size=(2, len(rows)))
    share = rng.uniform(0, 0.5, (len(rows), 1))
    noise = rng.standard_normal((len(rows), vectors.shape[1])) * 0.25 / np.sqrt(vectors.shape[1])
    mixed = (1 - share) * vectors[one] + share * vectors[other] + noise
    unit = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    points = []
    for row, like, vector in zip(rows, one, unit, strict=True):
        twin = originals[like].payload
        sha256 = f"{row % 256:02x}{row:062x}"
        target = thumbnail_path(thumbnails, sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(thumbnail_path(thumbnails, str(twin["sha256"])), target)
        payload = dict(twin) | {
            "sha256": sha256,
            "phash": f"{rng.integers(2**63):016x}",
            "folder": [str(2000 + row % 20), f"{2000 + row % 20}/{row % 12 + 1:02}"],
            "camera": CAMERAS[row % len(CAMERAS)],
            "taken": f"{2000 + row % 20}-{row % 12 + 1:02}-{row % 28 + 1:02}T10:00:00",
            "orientation": SHAPES[row % 3],
            "tags": [TAGS[row % 8], TAGS[row // 8 % 8]],
        }
        if row % 3 == 0:
            latitude, longitude = CITIES[row // 3 % len(CITIES)] + rng.normal(0, 1.5, 2)
            payload["location"] = {"lat": float(latitude), "lon": float(longitude)}
        points.append(Point(f"made/{row}.jpg", vector, payload))
    return points


if __name__ == "__main__":
    main()
