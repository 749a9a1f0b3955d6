"""What tests do to the page: ask, wait, and the gallery's pictures, one open, its details."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

SHOTS = Path(__file__).parents[2] / "out" / "page"
SLOW_MS = 120_000  # on a busy machine a page takes its time

# How much of the screen has moved by itself since the page was opened.
SHIFT = """
new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(one => {
    if (!one.hadRecentInput) sum += one.value;
  })).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 500);
})
"""


@contextmanager
def visiting(
    chromium: Browser, address: str, *, width: int = 1280, height: int = 900
) -> Iterator[Page]:
    """A page of its own; anything it fetches from elsewhere or reports fails."""
    page = chromium.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(SLOW_MS)
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    page.close()
    allowed = (address, address.replace("http", "ws"), "data:", "blob:")
    assert [url for url in asked if not url.startswith(allowed)] == []
    assert faults == []


def settle(page: Page) -> None:
    """The run of the script is over and every widget has loaded."""
    page.wait_for_function(
        "!document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')",
        timeout=SLOW_MS,
    )
    page.wait_for_timeout(400)


def leave_shot(page: Page, name: str) -> None:
    """A screenshot in out/page/, to be looked at."""
    settle(page)
    page.screenshot(path=SHOTS / f"{name}.png")  # makes the folder


def ask(page: Page, text: str) -> None:
    """Search for this."""
    page.get_by_label("Describe a scene").fill(text)
    page.get_by_label("Describe a scene").press("Enter")


def pictures(page: Page) -> Locator:
    """The pictures near the window, in order."""
    return page.get_by_role("listbox", name="Pictures").get_by_role("option")


def titles(page: Page) -> list[str]:
    return [str(one.get_attribute("aria-label")) for one in pictures(page).all()]


def expect_first(page: Page, title: str) -> None:
    """The answer's first picture has this title."""
    expect(pictures(page).first).to_have_attribute("aria-label", title, timeout=SLOW_MS)


def expect_painted(page: Page) -> None:
    """All thumbnails in the document have been drawn."""
    for image in pictures(page).locator("img").all():
        expect(image).to_have_js_property("complete", True, timeout=SLOW_MS)
        assert image.evaluate("image => image.naturalWidth") > 0


def open_picture(page: Page, title: str) -> Locator:
    """Open it; returns the dialog with it."""
    pictures(page).filter(has=page.locator(f'img[alt="{title}"]')).first.click()
    return opened(page, title)


def opened(page: Page, title: str) -> Locator:
    dialog = page.get_by_role("dialog", name=f"Picture: {title}")
    expect(dialog).to_be_visible(timeout=SLOW_MS)
    return dialog


def details(page: Page, dialog: Locator) -> Locator:
    """The drawer with what is known of the open picture."""
    drawer = dialog.get_by_role("complementary", name="Details")
    if not drawer.is_visible():
        dialog.get_by_role("button", name="Details").click()
    expect(drawer.get_by_text("pixels")).to_be_visible(timeout=SLOW_MS)
    return drawer


def tick(page: Page, number: int) -> None:
    """Tick the picture at this place of those near the window, from 0."""
    pictures(page).nth(number).hover()
    pictures(page).nth(number).locator(".tick").click()


def boxes(page: Page) -> Any:
    """Where the pictures lie in the window."""
    return [one.bounding_box() for one in pictures(page).all()]


def scroll_to_the_end(page: Page, count: int) -> None:
    """Scroll until the last of so many pictures is in the document."""
    page.mouse.move(700, 500)
    last = pictures(page).last
    for _ in range(100):
        if last.get_attribute("aria-posinset") == str(count):
            return
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(200)
    raise AssertionError(f"the last picture is number {last.get_attribute('aria-posinset')}")
