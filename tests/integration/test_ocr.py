"""Signs, receipts, screens and pages, drawn and read by the real models."""

import logging
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ingest import text_reader
from ingest.text_reader import TextReader, TextReaderError
from tests.cli import CommandLine

pytestmark = pytest.mark.slow

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"

RECEIPT = """ACME HARDWARE
12 Mill Lane, Norwich
INVOICE 2023-0417
Hammer 14.90
Nails 3.20
TOTAL EUR 18.10
Thank you"""
PAGE = """Quarterly report
The harvest was late this year, and the
storehouses on the northern bank stayed
half empty until November. Invoices for
the year 2022 have been sent."""


def drawn(
    text: str,
    *,
    size: tuple[int, int] = (900, 600),
    font: str = "DejaVuSans",
    height: int = 44,
    paper: tuple[int, int, int] = (245, 243, 238),
    ink: tuple[int, int, int] = (30, 30, 34),
) -> Image.Image:
    picture = Image.new("RGB", size, paper)
    letters = ImageFont.truetype(str(FONTS / f"{font}.ttf"), height)
    ImageDraw.Draw(picture).multiline_text((50, 50), text, ink, letters, spacing=height // 2)
    return picture


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader(seconds=60)


def lines(reader: TextReader, picture: Image.Image) -> list[str]:
    return [line.text for line in reader.read(picture).lines]


def test_a_person_finds_receipts_and_signs_by_their_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "photos"
    folder.mkdir()
    pictures = {
        "receipt": drawn(RECEIPT, size=(620, 900), font="DejaVuSansMono", height=36),
        "other-receipt": drawn("CAFE ROYAL\nReceipt 2021\nTotal 9.50", font="DejaVuSansMono"),
        "sign": drawn("NO\nPARKING", height=120, paper=(200, 30, 30), ink=(255, 255, 255)),
        "garage": drawn("Parking\n24 hours", height=90, paper=(20, 60, 160), ink=(255, 255, 255)),
        "screen": drawn("Departures\nLH451 Gate 12", paper=(8, 10, 14), ink=(250, 200, 40)),
        "page": drawn(PAGE, size=(1000, 700), font="DejaVuSerif", height=36),
    }
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.jpg", quality=88)
    for number, colour in enumerate([(90, 140, 200), (60, 120, 50), (190, 170, 120)]):
        Image.new("RGB", (600, 400), colour).save(folder / f"plain-{number}.jpg")
    run = CommandLine(monkeypatch, capsys)
    report = run("ingest", folder, "--ocr", "--json").document
    assert (report["text"]["read"], report["text"]["with_text"]) == (9, 6)

    def found(request: str) -> list[str]:
        hits = run("search", "--json", "--", request).document["hits"]
        return [Path(hit["image_id"]).stem for hit in hits]

    assert found("invoice 2023")[0] == "receipt"
    assert found("no parking")[0] == "sign"
    assert found('text:"gate 12"') == ["screen"]
    assert set(found("text:invoice")) == {"receipt"}
    assert set(found("text:*invoice*")) == {"receipt", "page"}
    assert found("LH451")[0] == "screen"
    why = run("search", "no parking", "--why", "1", "--json").document["why"]
    assert [line["line"] for line in why["text"]] == ["PARKING"]
    left, top = why["text"][0]["box"][:2]
    assert 0 < left < 0.3
    assert 0.2 < top < 0.6
    sheet = run("search", "no parking", "-k", "1", "--sheet", tmp_path / "sheet.png")
    assert sheet.status == 0
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 300


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_page_is_read_however_it_is_held(reader: TextReader, turns: int) -> None:
    upright = drawn("First line here\nsecond line 22\nthe third one")
    turned = upright.rotate(-90 * turns, expand=True)
    assert lines(reader, turned) == ["First line here", "second line 22", "the third one"]


def test_a_box_begins_where_its_line_does(reader: TextReader) -> None:
    upright = drawn("HELLO WORLD", height=80)
    (line,) = reader.read(upright).lines
    (turned,) = reader.read(upright.rotate(-90, expand=True)).lines
    x, y = line.box[:2]
    assert turned.box[0] == pytest.approx(1 - y, abs=0.03)
    assert turned.box[1] == pytest.approx(x, abs=0.03)


def test_small_print_on_a_large_scan_is_read_in_tiles(reader: TextReader) -> None:
    scan = Image.new("RGB", (4000, 3000), (250, 250, 248))
    letters = ImageFont.truetype(str(FONTS / "DejaVuSans.ttf"), 34)
    draw = ImageDraw.Draw(scan)
    draw.text((300, 200), "Article 4711 of the contract", (20, 20, 20), letters)
    draw.text((2600, 2700), "signed in Harwich, page 12", (20, 20, 20), letters)
    assert lines(reader, scan) == ["Article 4711 of the contract", "signed in Harwich, page 12"]


def test_a_picture_whose_time_is_over_keeps_what_was_read() -> None:
    page = drawn("\n".join(f"line number {n}" for n in range(12)), size=(700, 1200))
    reading = TextReader(seconds=1e-6).read(page)
    assert not reading.complete
    assert reading.lines == ()


@pytest.mark.parametrize(
    "picture",
    [
        lambda: Image.new("RGB", (1, 1)),
        lambda: Image.new("RGB", (3000, 2), "white"),
        lambda: Image.new("RGB", (640, 480), (120, 90, 60)),
        lambda: Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        ),
    ],
)
def test_pictures_without_text_have_none(
    reader: TextReader, picture: Callable[[], Image.Image]
) -> None:
    assert lines(reader, picture()) == []


def test_what_is_hardly_legible_is_left_out(reader: TextReader) -> None:
    faint = drawn("FAINT WORDS", height=60, paper=(128, 128, 128), ink=(131, 131, 131))
    assert lines(reader, faint) == []


def test_nothing_is_said_on_the_way(reader: TextReader, capfd: pytest.CaptureFixture[str]) -> None:
    TextReader(seconds=5)
    reader.read(drawn("HELLO"))
    assert capfd.readouterr() == ("", "")
    assert not logging.getLogger("RapidOCR").isEnabledFor(logging.ERROR)


def test_nothing_is_downloaded_and_a_missing_model_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a connection is made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert lines(TextReader(seconds=5), drawn("HELLO")) == ["HELLO"]
    monkeypatch.setitem(text_reader._MODELS, "rec", "gone.onnx")
    with pytest.raises(TextReaderError, match=r"the model .*gone\.onnx is missing"):
        TextReader(seconds=5)


def test_what_a_picture_says_is_plain_text(
    reader: TextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "\x1b[31m\u202egnp.exe\u2066 <script>\x00\n" + "x" * 5000
    monkeypatch.setattr(reader, "_recognised", lambda crops: [(hostile, 0.99)] * len(crops))
    (line,) = reader.read(drawn("HELLO", height=80)).lines
    assert line.text.isprintable()
    assert line.text.startswith("[31mgnp.exe <script>")
    assert len(line.text) <= 1000
