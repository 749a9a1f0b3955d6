"""Parts of the page on their own: text that stays text, thumbnails, the way it starts."""

import hashlib
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.pictures.originals import LocalFile
from scenesearch.pictures.thumbnails import thumbnail_path, write_thumbnail
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import Shot, build_library, gallery, open_page, reds
from ui import launch, pictures, settings
from ui.components import label
from ui.settings import page_settings, read_settings_again

MARKUP = (
    "<script>alert(1)</script> **bold** ![x](http://example.invalid/x.png) $x^2$ :red[red] "
    ":material/home: :smile: -> `code` # head"
)
SHA = "ab" * 32


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def markdown_elements(page: AppTest) -> list[str]:
    kinds = ("markdown", "caption", "header", "subheader", "title", "html", "alert", "badge")
    return [str(element.value) for kind in kinds for element in page.get(kind)]


def test_markup_in_captions_tags_and_folders_reaches_only_plain_text(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    payload = {"captions": [MARKUP], "tags": [MARKUP], "folder": [MARKUP], "camera": MARKUP}
    build_library(tmp_path, colour_encoder, [Shot("a.png", (230, 0, 0), payload=payload)])
    page = open_page()
    assert gallery(page)["items"][0]["title"] == MARKUP
    # The panel of filters makes text nodes of it.
    sections = {one["key"]: one for one in gallery(page, "filter-panel")["sections"]}
    assert sections["tags"]["values"] == [[MARKUP, None]]
    labels = [str(button.label) for button in page.button]
    for element in markdown_elements(page) + labels:
        assert "alert(1)" not in element and ":smile:" not in element


def test_a_label_escapes_every_mark_of_markdown() -> None:
    assert label("Camera owner") == "Camera owner"
    assert label(":red[x]") == "\\:\u2060red\\[\u2060x\\]\u2060"
    assert label("a\n\n# b") == "a \\#\u2060 b"


def test_a_name_that_is_a_hash_is_no_title() -> None:
    hashed = "trip/" + "0123456789abcdef" * 2 + ".jpg"
    dated = {"taken": "2019-07-12T10:00:00"}
    assert pictures.Picture(hashed, dated).title == "Photograph of 12 July 2019"
    assert pictures.Picture("2301525531_edde12d673.jpg", {}).title == "Photograph without a name"
    assert pictures.Picture(hashed, {"captions": ["a dog"]}).title == "a dog"
    assert pictures.Picture("decade.jpg", {}).title == "decade.jpg"
    assert pictures.Picture("IMG_20190712_101112.jpg", {}).title == "IMG_20190712_101112.jpg"


def test_a_title_is_the_first_caption_else_the_file_name() -> None:
    assert pictures.Picture("trip/1.jpg", {"captions": ["", "two dogs"]}).title == "two dogs"
    assert pictures.Picture("trip/1.jpg", {"captions": []}).title == "1.jpg"
    assert pictures.Picture("trip/1.jpg", {}).title == "1.jpg"


def test_a_cached_thumbnail_is_sent_as_it_is(tmp_path: Path) -> None:
    cached = thumbnail_path(tmp_path, SHA)
    write_thumbnail(Image.new("RGB", (640, 480), "red"), cached)
    assert (
        pictures.thumbnail(tmp_path, SHA, LocalFile(tmp_path / "gone.jpg")) == cached.read_bytes()
    )


def test_a_missing_thumbnail_is_made_from_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Installation, "originals", AllowedOriginals([str(tmp_path)]))
    original = tmp_path / "a.png"
    Image.new("RGB", (800, 400), (0, 0, 255)).save(original)
    made = opened(pictures.thumbnail(tmp_path, SHA, LocalFile(original)))
    assert made.size == (320, 160)
    assert made.getpixel((9, 9)) == pytest.approx((0, 0, 255), abs=3)


def jpeg(size: tuple[int, int], kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 90).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def write_wrong(kind: str, path: Path) -> None:
    """Put something that is no thumbnail where one belongs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    outside = path.parents[2] / "outside.jpg"
    outside.write_bytes(jpeg((320, 240)))
    match kind:
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("not a picture")
        case "head alone":
            path.write_bytes(b"\xff\xd8\xff\xe0")
        case "cut":
            path.write_bytes(jpeg((320, 240))[:5000])
        case "other format":
            path.write_bytes(jpeg((320, 240), kind="PNG"))
        case "large":
            path.write_bytes(jpeg((2000, 2000)))
        case "bomb":  # whose header says that it is 60,000 pixels wide and high
            data = bytearray(jpeg((320, 240)))
            at = data.index(b"\xff\xc0") + 5
            data[at : at + 4] = (60_000).to_bytes(2, "big") * 2
            path.write_bytes(data)
        case "too long":
            path.write_bytes(jpeg((320, 240)) + bytes(2**21))
        case "directory":
            path.mkdir()
        case "link out":
            path.symlink_to(outside)
        case "link to itself":
            path.symlink_to(path)
        case "folder leads out":
            path.parent.rmdir()
            path.parent.symlink_to(outside.parent / "elsewhere")
            (outside.parent / "elsewhere").mkdir()
            (outside.parent / "elsewhere" / path.name).write_bytes(jpeg((320, 240)))
        case "fifo":
            os.mkfifo(path)
        case "unreadable":
            path.write_bytes(jpeg((320, 240)))
            path.chmod(0)


KINDS = (
    "empty", "text", "head alone", "cut", "other format", "large", "bomb", "too long", "directory",
    "link out", "link to itself", "folder leads out", "fifo", "unreadable",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_lies_where_a_thumbnail_belongs_it_is_made_anew(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Installation, "originals", AllowedOriginals([str(tmp_path)]))
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    original = tmp_path / "a.png"
    Image.new("RGB", (800, 400), (0, 0, 255)).save(original)
    sha = hashlib.sha256(original.read_bytes()).hexdigest()
    folder = tmp_path / "library" / "thumbnails"
    path = thumbnail_path(folder, sha)
    write_wrong(kind, path)
    st.cache_data.clear()
    shown = opened(pictures.thumbnail(folder, sha, LocalFile(original)))
    assert shown.getpixel((9, 9)) == pytest.approx((0, 0, 255), abs=3)
    assert (tmp_path / "library" / "outside.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    if kind not in ("directory", "folder leads out"):  # the cache is mended, and used from now on
        original.unlink()
        st.cache_data.clear()
        assert opened(pictures.thumbnail(folder, sha, LocalFile(original))).size == (320, 160)
    if kind == "folder leads out":  # and nothing is written out there
        assert len(list((tmp_path / "library" / "elsewhere").iterdir())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_thumbnail_without_its_original_is_a_placeholder(
    kind: str, tmp_path: Path
) -> None:
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    folder = tmp_path / "library" / "thumbnails"
    write_wrong(kind, thumbnail_path(folder, SHA))
    shown = pictures.thumbnail(folder, SHA, LocalFile(tmp_path / "gone.jpg"))
    assert shown == pictures.placeholder()


@pytest.mark.parametrize("sha", ["", "../../x", "/etc/passwd", "a\x00b", "x" * 5000])
def test_a_hash_that_is_none_is_a_placeholder_and_opens_nothing(sha: str, tmp_path: Path) -> None:
    folder = tmp_path / "library" / "thumbnails"
    folder.mkdir(parents=True)
    (tmp_path / "x.jpg").write_bytes(jpeg((320, 240)))
    shown = pictures.thumbnail(folder, sha, LocalFile(tmp_path / "gone.jpg"))
    assert shown == pictures.placeholder()


def test_a_thumbnail_of_a_file_that_has_changed_since_is_not_kept(tmp_path: Path) -> None:
    original = tmp_path / "a.png"
    Image.new("RGB", (800, 400), (0, 0, 255)).save(original)
    st.cache_data.clear()
    pictures.thumbnail(tmp_path, SHA, LocalFile(original))
    assert not thumbnail_path(tmp_path, SHA).exists()


def test_one_damaged_thumbnail_leaves_the_others_of_its_view(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    folder = build_library(tmp_path, colour_encoder, reds(3))
    sha = hashlib.sha256((folder / "red-01.png").read_bytes()).hexdigest()
    write_wrong("text", thumbnail_path(tmp_path / "libraries" / "photos" / "thumbnails", sha))
    page = open_page()
    assert not page.exception
    assert len(gallery(page)["items"]) == 3


def test_an_original_in_an_archive_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Installation, "originals", AllowedOriginals([str(tmp_path)]))
    Image.new("RGB", (800, 400), (0, 0, 255)).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "in/a.png")
    original = pictures.Picture("a", {"path": f"{tmp_path}/a.tar!in/a.png"}).original
    assert opened(pictures.view(original)).size == (800, 400)
    assert opened(pictures.thumbnail(tmp_path, SHA, original)).size == (320, 160)


def test_without_thumbnail_and_original_there_is_a_placeholder(tmp_path: Path) -> None:
    made = pictures.thumbnail(tmp_path, SHA, LocalFile(tmp_path / "gone.jpg"))
    assert made == pictures.placeholder()
    assert opened(made).size == (320, 240)


def test_a_large_original_is_reduced_and_upright(tmp_path: Path) -> None:
    original = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.new("RGB", (4000, 3000), "green").save(original, exif=exif)
    assert opened(pictures.view(LocalFile(original))).size == (1200, 1600)


def test_a_port_in_use_is_told_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(launch.PageError, match=f"port {port}: Address already in use"):
            launch.run_page(port=port)


def test_a_library_given_at_the_start_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCENESEARCH_LIBRARY", "other")
    assert page_settings().library == "other"
    read_settings_again()
    monkeypatch.setattr(settings, "_given", None)
    settings.use_settings(Settings(library="demo"), local=True)
    assert page_settings().library == "demo"


def test_the_icon_of_the_page_is_its_own() -> None:
    assert isinstance(pictures.page_icon(), Image.Image)
