"""The evaluation report in a real browser: alone, on a phone, in the dark."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A report on pictures of three colours, one of them with a name that is markup."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "pictures").mkdir()
    names = {"red": "red", "green": "green", "blue": "<b onclick=alert(1)>"}
    for colour, name in names.items():
        Image.new("RGB", (40, 30), colour).save(folder / "pictures" / f"{name}.png")
    rows = [f"{n},red,{names['green']}.png" for n in range(6)]
    rows += [f"{n},<script>document.title='x'</script> blue,red.png" for n in range(6, 12)]
    (folder / "q.csv").write_text("\n".join(["query_id,query_text,images", *rows]))
    subprocess.run(
        [
            *(sys.executable, "-m", "scenesearch.cli", "evaluate", "--queries", "q.csv"),
            *("--images", "pictures", "--encoder", tiny_encoder, "--out", "out"),
            *("--slice-by", "orientation"),
        ],
        cwd=folder,
        env=os.environ | {"SCENESEARCH_DATA_DIR": str(folder / "data")},
        check=True,
        capture_output=True,
    )
    return folder / "out" / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1100])
def test_it_fits_asks_for_nothing_and_shows_every_picture(
    chromium: Browser, report: Path, scheme: str, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator("img").count() >= 4
    assert page.title() == "tiny on pictures"
    assert page.get_by_text("<script>document.title='x'</script> blue").count() == 1
    assert page.locator("[onclick]").count() == 0
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    ink, paper = (
        sum(json.loads(colour.replace("rgb(", "[").replace(")", "]"))) for colour in colours
    )
    assert (ink > paper) == (scheme == "dark")
    context.close()


def test_plots_take_the_colours_of_the_page(chromium: Browser, report: Path) -> None:
    page = chromium.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    fill = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
    assert fill == page.evaluate("getComputedStyle(document.body).color")
    assert page.get_by_role("img", name="Queries by the rank").count() == 1
    page.close()


def test_it_prints(chromium: Browser, report: Path, tmp_path: Path) -> None:
    page = chromium.new_page()
    page.goto(report.as_uri())
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.close()
