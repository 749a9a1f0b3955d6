"""How quick the gallery is by itself: what the browser takes, without server and search.

    python -m tests.gallery_speed

prints medians: from a click to the picture drawn, from an arrow to the next one, and the long tasks
while 100,000 pictures are scrolled through. The views are there before they are wanted, as when a
visitor points and looks for a moment.
"""

from statistics import median

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import launch_chromium
from tests.browser.gallery_harness import gallery_harness

_TIMES = 20
_PICTURES = 100_000

# From the event to the frame after the view was drawn over the thumbnail.
_UNTIL_SHOWN = """async (act) => {
  const root = document.querySelector('#host').shadowRoot;
  const viewer = root.querySelector('.viewer');
  const before = viewer.dataset.shown;
  const begins = performance.now();
  if (act === 'open') root.elementFromPoint(500, 500).closest('.tile').click();
  else viewer.dispatchEvent(new KeyboardEvent('keydown', { key: act }));
  while (!viewer.dataset.shown || viewer.dataset.shown === before) {
    await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);
  return performance.now() - begins;
}"""

_SCROLL = """async (step) => {
  const main = document.querySelector('main');
  const long = [];
  const observer = new PerformanceObserver((list) => {
    for (const task of list.getEntries()) long.push(task.duration);
  });
  observer.observe({ entryTypes: ['longtask'] });
  const frames = [];
  let last = performance.now();
  for (let turn = 0; turn < 240; turn++) {
    main.scrollTop += step;
    await new Promise(requestAnimationFrame);
    frames.push(performance.now() - last);
    last = performance.now();
  }
  observer.disconnect();
  return { long, frames: frames.sort((a, b) => a - b) };
}"""


def main() -> None:
    with gallery_harness() as harness, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{harness.address}/?n={_PICTURES}&first={_PICTURES}&order=taken")
        page.wait_for_function("window.ready", timeout=120_000)
        page.wait_for_load_state("networkidle")
        _measure_viewer(page)
        for step in (60, 400, 4000):
            _measure_scrolling(page, step)
        browser.close()


def _measure_viewer(page: Page) -> None:
    opened, leafed = [], []
    for turn in range(_TIMES):
        page.evaluate("top => { document.querySelector('main').scrollTop = top; }", 3000 * turn)
        page.wait_for_load_state("networkidle")
        page.mouse.move(500, 400)
        page.mouse.move(500, 500)  # the view is fetched while one points
        page.wait_for_timeout(1000)
        opened.append(page.evaluate(_UNTIL_SHOWN, "open"))
        page.wait_for_timeout(1000)
        leafed.append(page.evaluate(_UNTIL_SHOWN, "ArrowRight"))
        page.keyboard.press("Escape")
        page.mouse.move(0, 0)
        page.wait_for_timeout(100)
    print(f"from a click to the picture: {median(opened):.0f} ms (at most {max(opened):.0f})")
    print(f"from an arrow to the next: {median(leafed):.0f} ms (at most {max(leafed):.0f})")


def _measure_scrolling(page: Page, step: int) -> None:
    page.evaluate("() => { document.querySelector('main').scrollTop = 0; }")
    page.wait_for_timeout(500)
    found = page.evaluate(_SCROLL, step)
    frames, long = found["frames"], found["long"]
    print(
        f"scrolling {step} points a frame: a frame {median(frames):.1f} ms, "
        f"95 % within {frames[int(len(frames) * 0.95)]:.1f} ms; "
        f"{len(long)} tasks above 50 ms" + (f", the longest {max(long):.0f} ms" if long else "")
    )


if __name__ == "__main__":
    main()
