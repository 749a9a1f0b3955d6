"""Downloads of the selected pictures: ZIP and table."""

import csv
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from ui.pictures import Picture
from ui.selection import originals_zip, table


def picked(path: Path, **payload: object) -> Picture:
    return Picture(path.name, {"path": str(path), **payload})


def test_a_zip_holds_the_originals_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Installation, "originals", AllowedOriginals([str(tmp_path)]))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(folder.encode())
    chosen = [picked(tmp_path / part) for part in ("a/x.png", "b/x.png", "gone.png")]
    chosen.append(picked(Path("/elsewhere/y.png")))
    with zipfile.ZipFile(io.BytesIO(originals_zip(chosen, Settings()))) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held["x.png"] == b"a"
    assert held["x-2.png"] == b"b"
    assert b"gone.png: no such file" in held["left out.txt"]
    assert b"/elsewhere/y.png: the original is not here" in held["left out.txt"]


def test_no_cell_of_a_table_becomes_a_formula(tmp_path: Path) -> None:
    chosen = [picked(tmp_path / "a.png", captions=['=HYPERLINK("http://x")'], camera="-1")]
    data = table(chosen, Settings())
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert rows[0]["title"] == '\'=HYPERLINK("http://x")'
    assert rows[0]["camera"] == "'-1"


def test_a_page_for_reading_gives_away_neither_paths_nor_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Installation, "originals", AllowedOriginals([str(tmp_path)]))
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 0.0), 3: "E", 4: (2.0, 21.0, 0.0)})
    original = tmp_path / "x.jpg"
    Image.new("RGB", (64, 48), "red").save(original, exif=exif, comment=b"at home")
    assert b"Exif" in original.read_bytes() and b"at home" in original.read_bytes()
    chosen = [picked(original), picked(tmp_path / "gone.png")]
    public = Settings(page_read_only=True)
    with zipfile.ZipFile(io.BytesIO(originals_zip(chosen, public))) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    copy = Image.open(io.BytesIO(held["x.jpg"]))
    assert copy.size == (64, 48) and not copy.getexif() and b"at home" not in held["x.jpg"]
    assert held["left out.txt"] == b"gone.png: it cannot be read now"
    assert str(tmp_path) not in table(chosen, public).decode("utf-8-sig")
    with_places = Settings(page_read_only=True, page_places=True)
    with zipfile.ZipFile(io.BytesIO(originals_zip(chosen, with_places))) as archive:
        assert archive.read("x.jpg") == original.read_bytes()
