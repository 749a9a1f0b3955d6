"""How fast the page is in a real Chromium over 100,000 pictures: `python -m tests.page_speed`.

The pictures are the shared photographs (drawn ones where there are none) and points made of them,
each with a thumbnail and the fields of a camera. Server and browser cache are warm. Prints the
medians; with `--data DIR` the library is kept there for the next time.
"""

import argparse
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
from tests.browser.conftest import launch_chromium, serving

LIBRARY = "photos"
SIZE = 100_000
CAMERAS = ("Canon EOS 5D", "Nikon D90", "Fujifilm X-T2", "Apple iPhone 8", "Google Pixel 4")
SHAPES = ("landscape", "portrait", "square")
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
PAGES = (2, 10, 40)

# Of the navigation, until the box is there and the first card's picture has been painted.
FIRST_PAINT = """
new Promise(done => {
  const look = () => {
    const image = document.querySelector('[class*="st-key-card-"] img');
    const box = document.querySelector('.st-key-q input');
    if (box && image && image.complete && image.naturalWidth) {
      requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0));
    } else requestAnimationFrame(look);
  };
  look();
})
"""

# Arms a clock that starts with the next key or click and stops when the first card has another
# picture than now, painted; `whole` is when no card of before is left and all pictures are there.
ARM = """
() => {
  const cards = () => [...document.querySelectorAll('[class*="st-key-card-"] img')];
  const before = cards().map(image => image.alt);
  window.measured = new Promise((done, failed) => {
    const begin = event => {
      if (event.type === "keydown" && event.key !== "Enter") return;
      removeEventListener("keydown", begin, true);
      removeEventListener("click", begin, true);
      const started = performance.now();
      let first = 0;
      const look = () => {
        if (performance.now() - started > 30_000) return failed(Error("no new card in 30 s"));
        const now = cards();
        const ready = image => image.complete && image.naturalWidth;
        if (!first && now.length && ready(now[0]) && !before.includes(now[0].alt)) {
          first = performance.now() - started;
        }
        const stale = document.querySelector('[data-stale="true"]');
        if (first && !stale && now.every(ready)
            && !document.querySelector('[data-testid="stStatusWidget"]')) {
          requestAnimationFrame(() => setTimeout(() => done({
            first, whole: performance.now() - started,
            elements: document.getElementsByTagName("*").length, cards: now.length,
          }), 0));
        } else requestAnimationFrame(look);
      };
      look();
    };
    addEventListener("keydown", begin, true);
    addEventListener("click", begin, true);
  });
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="keep the library here; default: a temporary one")
    parser.add_argument("--size", type=int, default=SIZE, help="pictures (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scenesearch-page-") as name:
        data_dir = arguments.data or Path(name)
        for figure, value in measure(data_dir, arguments.size).items():
            print(f"{figure:<62} {value}")


def measure(data_dir: Path, size: int = SIZE) -> dict[str, Any]:
    """Figures of a page over a library of that size, which is made where it is not there."""
    if not (data_dir / "complete").exists():
        build(data_dir, size)
        (data_dir / "complete").touch()
    print(f"load before: {os.getloadavg()[0]:.1f}")
    with serving(data_dir, find_encoder("lite")) as served, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        figures = _paints(page, served.address) | _answers(page) | _pages(page, served.address)
        figures |= _counts(page, served.address)
        browser.close()
    print(f"load after: {os.getloadavg()[0]:.1f}")
    return figures


def _paints(page: Page, address: str) -> dict[str, Any]:
    times = []
    for _ in range(9):
        page.goto(address, wait_until="commit")
        times.append(page.evaluate(FIRST_PAINT))
        page.wait_for_timeout(1500)
    warm = times[2:]
    return {"first cards on the screen, ms (target <= 1500)": _spread(warm)}


def _answers(page: Page) -> dict[str, Any]:
    found = [_ask(page, text) for text in QUERIES]
    warm = found[2:]
    return {
        "Enter until the first new card, ms (target <= 300)": _spread(one["first"] for one in warm),
        "Enter until the last picture, ms": _spread(one["whole"] for one in warm),
        "elements of the document with an answer": _spread(one["elements"] for one in warm),
    }


def _ask(page: Page, text: str) -> Any:
    box = page.get_by_label("Describe a scene")
    box.fill(text)
    return _timed(page, lambda: box.press("Enter"))


def _timed(page: Page, act: Callable[[], None]) -> Any:
    page.evaluate(ARM)
    act()
    measured = page.evaluate("window.measured")
    page.wait_for_timeout(400)  # what a visitor does in between takes longer
    return measured


def _pages(page: Page, address: str) -> dict[str, Any]:
    """An answer of all pictures: its pages one after the other."""
    page.goto(f"{address}/?q=a+dog&relevance=0")
    page.get_by_text("more on the next page").wait_for()
    page.wait_for_timeout(1500)  # the answer is whole, so that the clock sees the next one
    figures = {}
    for number in range(2, PAGES[-1] + 1):
        turned = _timed(page, lambda: page.get_by_role("button", name="Next").click())
        page.get_by_text(f"Page {number}", exact=True).wait_for()
        if number in PAGES:
            figures[f"page {number} of an answer of all: first / last picture, ms; elements"] = (
                f"{turned['first']:.0f} / {turned['whole']:.0f}; {turned['elements']}"
            )
    return figures


def _counts(page: Page, address: str) -> dict[str, Any]:
    page.goto(f"{address}/?q=a+dog")
    page.get_by_text(" searched · ").wait_for()
    page.get_by_text("Count the answer's contents").click()
    page.locator('[class*="st-key-facet-camera"]').first.wait_for()
    found = [_ask(page, text) for text in QUERIES]
    return {
        "with its contents counted: first card, ms": _spread(one["first"] for one in found[2:]),
        "with its contents counted: last picture, ms": _spread(one["whole"] for one in found[2:]),
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
        points.append(Point(f"made/{row}.jpg", vector, payload))
    return points


if __name__ == "__main__":
    main()
