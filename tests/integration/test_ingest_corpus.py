"""Two hundred good pictures with one of every broken thing among them."""

import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scenesearch.commands.app import app
from scenesearch.commands.console import FOUND
from scenesearch.pictures import originals
from tests.tiny_encoder import write_tiny_encoder

GOOD = 200
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")


def good_picture(number: int) -> tuple[str, bytes]:
    """One of 200 different pictures, in turn of each kind and mode."""
    kind = KINDS[number % len(KINDS)]
    colour = tuple(np.random.default_rng(number).integers(0, 255, 3).tolist())
    image = Image.new("RGB", (24 + number % 7, 20 + number % 5), colour)
    image.putpixel((0, 0), (number, 255 - number, 0))
    mode = ("L", "P", "RGB")[number % 3] if kind in ("PNG", "GIF", "TIFF") else "RGB"
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind)
    # Every fifth says nothing or something wrong by its name.
    suffix = ("", ".jpg", ".dat")[number % 3] if number % 5 == 0 else f".{kind.lower()[:4]}"
    return f"{number:03}{suffix}", buffer.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims to be as large as you like."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(4096))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    for number in range(GOOD - 2):
        name, data = good_picture(number)
        place = folder / f"{number % 10}" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    with tarfile.open(folder / "shard.tar", "w") as archive:
        for name, data in (
            ("in.jpg", good_picture(GOOD - 2)[1]),
            ("../out.jpg", good_picture(0)[1]),
            ("/etc/absolute.jpg", good_picture(0)[1]),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return folder


def break_things(folder: Path) -> dict[str, str]:
    """One of every broken thing, with how its reason begins."""
    whole = (folder / "1" / "001.png").read_bytes()
    jpeg = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(jpeg, "JPEG")
    (folder / "zero.jpg").touch()
    (folder / "cut.jpg").write_bytes(jpeg.getvalue()[:5000])
    (folder / "cut.png").write_bytes(whole[:60])
    (folder / "text.jpg").write_text("<html>404</html>")
    (folder / "film.jpg").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    (folder / "bomb.png").write_bytes(png_of(60_000, 60_000))
    os.mkfifo(folder / "pipe.jpg")
    with (folder / "large.jpg").open("wb") as file:
        file.truncate(2 << 30)
    (folder / "vanishes.jpg").write_bytes(jpeg.getvalue())
    (folder / "changes.jpg").write_bytes(jpeg.getvalue())
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (folder / "folder.jpg").mkdir()  # passed over: a folder, whatever its name
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "away").symlink_to(folder.parent, target_is_directory=True)
    (folder / "noise.tar").write_bytes(jpeg.getvalue())
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))).write_bytes(whole)
    # Its picture is good, its metadata are not: written, with a note.
    absurd = (
        b"Exif\0\0II*\0"
        + struct.pack("<IH", 8, 2)
        + struct.pack("<HHII", 0x0132, 2, 20, 38)  # a date, which lies behind the tags
        + struct.pack("<HHII", 0x8769, 4, 1, 0xFFFFFFF0)  # more of them, far behind the end
        + struct.pack("<I", 8)  # and then these once more
        + b"2021:99:99 99:99:99\0"
    )
    Image.fromarray(noise).save(folder / "absurd.jpg", exif=absurd)
    return {
        "zero.jpg": "empty file",
        "cut.jpg": "damaged: image file is truncated",
        "cut.png": "damaged: ",
        "text.jpg": "not a picture, or of an unknown format",
        "film.jpg": "not a picture, or of an unknown format",
        "bomb.png": "3600 megapixels, the limit is 200",
        "pipe.jpg": "not a regular file",
        "large.jpg": "2048 MiB, the limit is 512 MiB",
        "vanishes.jpg": "no such file",
        "changes.jpg": "changed while it was read",
        "dangling.jpg": "no such file",
        "circle.jpg": "cannot be read: Too many levels of symbolic links",
        "away": "a link to a folder is not followed",
        "noise.tar": "damaged or no tar archive",
        "\\xff.jpg": "the name is not valid Unicode",
        "out.jpg": "the name leads out of the archive",
        "absolute.jpg": "the name leads out of the archive",
    }


@pytest.mark.slow
def test_one_of_every_broken_thing_among_200_good_pictures(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = break_things(corpus)
    real = originals.LocalFile.read

    def read(self: originals.LocalFile, start: int = 0, length: int | None = None) -> bytes:
        """What other programs do to files meanwhile."""
        if self.name == "vanishes.jpg":
            self.path.unlink(missing_ok=True)
        return real(self, start, length)

    exactly, changes = originals._exactly, corpus / "changes.jpg"

    def grow(file: IO[bytes], size: int) -> bytes:
        data = exactly(file, size)
        if os.path.samestat(os.fstat(file.fileno()), changes.stat()):
            with changes.open("ab") as longer:
                longer.write(b"more")
        return data

    monkeypatch.setattr(originals.LocalFile, "read", read)
    monkeypatch.setattr(originals, "_exactly", grow)
    monkeypatch.setattr("ingest.picture_reader._READS", _impatient())
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    encoder = write_tiny_encoder(tmp_path / "encoder")
    command = ["ingest", str(corpus), "--encoder", str(encoder), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == FOUND, done.output
    report = json.loads(done.stdout)
    assert report["written"] == GOOD
    found = {row["path"].rpartition("/")[2]: row["reason"] for row in report["rejects"]}
    assert found.keys() == expected.keys()
    assert {name for name in found if not found[name].startswith(expected[name])} == set()
    assert [row["path"].rpartition("/")[2] for row in report["notes"]] == ["absurd.jpg"]
    # Again: the good are skipped, and every reject is still told.
    again = json.loads(CliRunner().invoke(app, command).stdout)
    assert (again["written"], again["skipped"]) == (0, GOOD)
    names = {row["path"].rpartition("/")[2] for row in again["rejects"]}
    assert names == expected.keys() - {"vanishes.jpg"}


def _impatient() -> object:
    from scenesearch.runtime.retry import RetryPolicy

    return RetryPolicy(deadline_s=1, tries=2, first_pause_s=0.01)


@pytest.mark.parametrize("name", ["../out.jpg", "/etc/hostname", "..\\out.jpg", "a/../../out.jpg"])
def test_a_manifest_cannot_lead_out_of_its_folder(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (corpus.parent / "out.jpg").write_bytes(good_picture(0)[1])
    manifest = corpus / "about.csv"
    manifest.write_text(f"image\n{name}\nshard.tar\n0/000\n1/001.png\n")
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path / "data"))
    encoder = write_tiny_encoder(tmp_path / "encoder")
    done = CliRunner().invoke(app, ["ingest", str(manifest), "--encoder", str(encoder), "--json"])
    report = json.loads(done.stdout)
    assert report["written"] == 2
    reasons = {row["path"].rpartition(":")[2]: row["reason"] for row in report["rejects"]}
    assert "lies outside of" in reasons["2"] or "is missing" in reasons["2"]
