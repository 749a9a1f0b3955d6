"""Adding pictures and managing a library, over a real store: contents, rejects, duplicates, build
and promote, settings."""

import io
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from PIL import Image
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from ingest.text_reader import Reading
from scenesearch.home.installation import Installation
from scenesearch.home.presence import _looks
from scenesearch.pictures.records import MetadataType
from scenesearch.store.written import WrittenLine
from tests.conftest import ColourEncoder
from tests.tiny_encoder import write_tiny_encoder
from tests.unit.test_ui_sidebar import Panel
from tests.unit.test_ui_sidebar import panel as panel  # each test's fixture
from tests.unit.test_ui_states import cards, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import LIBRARY, Shot, build_library, gallery, open_page, open_view, reds
from ui import ingest_jobs, resources
from ui.gallery.routes import gallery_app
from ui.jobs import JobBusy

RED = (220, 30, 30)


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def settled(page: AppTest) -> AppTest:
    """The page after the work in the background is over."""
    resources.jobs().wait(30)
    return page.run()


@pytest.fixture
def menu(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The views in the menu of the page drawn last, by section."""
    shown: dict[str, list[str]] = {}
    navigation = st.navigation

    def noted(pages: dict[str, list[Any]], **options: Any) -> Any:
        shown.clear()
        for section, views in pages.items():
            shown[section] = [view.title for view in views if view.visibility == "visible"]
        return navigation(pages, **options)

    monkeypatch.setattr(st, "navigation", noted)
    return shown


def said(page: AppTest) -> str:
    return "\n".join(texts(page) + [str(one.value) for one in page.markdown])


def test_a_folder_is_added_by_its_path_and_its_pictures_are_found(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_PAGE_FOLDERS", str(tmp_path))
    page = open_view("add")
    page.text_input(key="folder-path").input(str(photos))
    page = next(button for button in page.button if button.label == "Add").click().run()
    page = settled(page)
    assert not page.exception
    assert "6 added" in said(page)
    assert resources.store().count(LIBRARY) == 6
    assert open_view("contents").metric[0].value == "6"


def test_a_folder_is_added_without_what_patterns_leave_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_PAGE_FOLDERS", str(tmp_path))
    page = open_view("add")
    page.text_area(key="folder-exclude").input("trip/\n\nred.jpg")
    page.text_input(key="folder-path").input(str(photos))
    page = next(button for button in page.button if button.label == "Add").click().run()
    assert not settled(page).exception
    found = [point.image_id for point in resources.store().scroll(LIBRARY, payload=())]
    assert sorted(found) == ["blue.jpg", "green.jpg"]


def test_a_pattern_that_cannot_be_read_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_PAGE_FOLDERS", str(tmp_path))
    page = open_view("add")
    page.text_area(key="folder-exclude").input("[z-a]")
    page.text_input(key="folder-path").input(str(photos))
    page = next(button for button in page.button if button.label == "Add").click().run()
    assert "'[z-a]' cannot be excluded" in said(page)


def test_a_folder_that_has_moved_is_offered_to_be_re_pointed(
    colour_encoder: ColourEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build_library(tmp_path, colour_encoder, reds(3))
    new = tmp_path / "moved"
    old.rename(new)
    monkeypatch.setenv("SCENESEARCH_PAGE_FOLDERS", str(tmp_path))
    page = open_view("add")
    page.text_input(key="folder-path").input(str(new))
    page = next(button for button in page.button if button.label == "Add").click().run()
    page = settled(page)
    assert f"scenesearch library relocate {old} {new} {LIBRARY}" in said(page)
    assert resources.store().count(LIBRARY) == 3


def test_pictures_of_a_folder_that_is_away_have_a_badge_and_their_thumbnail(
    colour_encoder: ColourEncoder, tmp_path: Path
) -> None:
    folder = build_library(tmp_path, colour_encoder, reds(2))
    page = open_view("search")
    assert {item["note"] for item in gallery(page)["items"]} == {""}
    folder.rename(tmp_path / "away")
    _looks.clear()
    page = page.run()
    assert not page.exception
    assert [item["note"] for item in gallery(page)["items"]] == ["offline", "offline"]


def test_a_path_outside_the_allowed_folders_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "way-out").symlink_to(photos)
    monkeypatch.setenv("SCENESEARCH_PAGE_FOLDERS", str(allowed))
    for typed in (str(photos), f"{allowed}/../photos", f"{allowed}/way-out"):
        page = open_view("add")
        page.text_input(key="folder-path").input(typed)
        page = next(button for button in page.button if button.label == "Add").click().run()
        assert f"only folders in {allowed} can be added" in said(page)
    assert resources.jobs().current is None


def test_uploaded_pictures_are_kept_under_safe_names_and_brought_in(tmp_path: Path) -> None:
    page = open_view("add")
    box = page.file_uploader(key="upload")
    box.upload("evil<b>.png", png(RED), "image/png")
    box.upload("note.png", b"no picture", "image/png")
    page = next(button for button in page.button if button.label == "Add these").click().run()
    assert "note.png is not a picture" in said(page)
    resources.jobs().wait(30)
    kept = tmp_path / "libraries" / LIBRARY / "uploads"
    assert [file.name for file in kept.iterdir()] == ["evil_b_.png"]
    assert resources.store().count(LIBRARY) == 1


def test_an_uploaded_table_describes_the_uploaded_pictures() -> None:
    page = open_view("add")
    table = b"image,caption,mood\na.png,a red wall,calm\n"
    box = page.file_uploader(key="upload")
    box.upload("a.png", png(RED), "image/png").upload("about.csv", table, "text/csv")
    next(button for button in page.button if button.label == "Add these").click().run()
    resources.jobs().wait(30)
    (point,) = resources.store().scroll(LIBRARY)
    assert point.payload["captions"] == ["a red wall"]
    assert point.payload["mood"] == "calm"


def test_what_was_left_out_has_its_reason_and_is_tried_again(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (photos / "red.jpg").read_bytes()
    (photos / "red.jpg").write_bytes(good[:200])
    ingest_jobs.start_ingest([photos], title="Adding")
    resources.jobs().wait(30)
    page = open_view("left_out")
    assert "1 files could not be added" in said(page)
    table = next(t.value for t in page.dataframe if "reason" in t.value.columns)
    assert table["file"][0].endswith("red.jpg")
    (photos / "red.jpg").write_bytes(good)
    page = page.button(key="retry-rejects").click().run()
    page = settled(page)
    assert "Nothing was left out: every picture that was added is in the library." in said(page)
    assert resources.store().count(LIBRARY) == 6


def test_a_first_ingest_that_can_use_nothing_says_why_and_leaves_no_library(
    photos: Path, tmp_path: Path
) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"no picture")
    ingest_jobs.start_ingest([photos], title="Adding")
    resources.jobs().wait(30)
    page = open_view("add")
    assert f"so there is no library {LIBRARY} yet: {photos / 'blue.jpg'}: not a picture" in said(
        page
    )
    assert "; and 1 more" in said(page)
    assert resources.store().aliases() == {} and resources.store().collections() == []
    assert not resources.library_files().folder.exists()
    Image.new("RGB", (32, 24), RED).save(photos / "red.jpg")
    page.button(key="dismiss").click().run()
    ingest_jobs.start_ingest([photos], title="Adding")
    resources.jobs().wait(30)
    assert resources.store().count(LIBRARY) == 1


def test_an_ingest_is_paused_goes_on_and_is_cancelled_with_what_it_wrote_kept(
    photos: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        Image.new("RGB", (32, 24), (5 * number, 0, 99)).save(photos / f"more-{number:02}.png")
    reached, go = threading.Event(), threading.Event()
    encode = ColourEncoder.encode_pixels

    def slow(self: ColourEncoder, pixels: object) -> object:
        reached.set()
        go.wait(20)
        return encode(self, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(ColourEncoder, "encode_pixels", slow)
    job = ingest_jobs.start_ingest([photos], title="Adding")
    assert reached.wait(20)
    page = open_view("add")
    page.button(key="pause").click().run()
    assert job.state == "paused"
    assert any("paused" in text for text in texts(page.run()))
    page.button(key="resume").click().run()
    assert job.state == "running"
    page.button(key="cancel").click().run()
    go.set()
    resources.jobs().wait(30)
    assert job.state == "cancelled"
    assert "cancelled; what was done is kept" in said(page.run()).lower()
    held = resources.store().count(LIBRARY)
    monkeypatch.setattr(ColourEncoder, "encode_pixels", encode)
    ingest_jobs.start_ingest([photos], title="Adding again")
    resources.jobs().wait(30)
    assert held < 46
    assert resources.store().count(LIBRARY) == 46


def test_the_page_searches_while_an_ingest_waits_in_it(
    tmp_path: Path, photos: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    job = ingest_jobs.start_ingest([photos], title="Adding")
    job.pause()
    page = open_page()
    page.text_input(key="q").input("red")
    page = next(button for button in page.button if button.label == "Search").click().run()
    assert not page.exception
    assert "red-00.png" in cards(page)
    job.resume()
    resources.jobs().wait(30)
    assert job.state == "done"


def test_only_one_piece_of_work_at_a_time(photos: Path) -> None:
    job = ingest_jobs.start_ingest([photos], title="Adding the first")
    job.pause()
    with pytest.raises(JobBusy, match="“Adding the first” is still running"):
        ingest_jobs.start_ingest([photos], title="Adding the second")
    job.cancel()
    resources.jobs().wait(30)


def test_work_that_fails_says_why(tmp_path: Path) -> None:
    ingest_jobs.start_ingest([tmp_path / "gone"], title="Adding")
    resources.jobs().wait(30)
    page = open_view("add")
    assert "Failed" in said(page)
    assert "gone does not exist" in said(page)
    page.button(key="dismiss").click().run()
    assert resources.jobs().current is None


def test_files_of_the_same_content_are_listed_as_duplicates(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, [Shot("a.png", RED), Shot("b.png", RED)])
    page = open_view("duplicates")
    assert "1 picture is in the library more than once" in said(page)
    assert "a.png\nb.png (an identical file)" in texts(page)


def test_what_replaces_an_encoder_that_is_gone_is_promoted_without_comparing(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    monkeypatch.setattr(Installation, "load_encoder", lambda *_, **__: ColourEncoder("new", "07e4"))
    ingest_jobs.start_build("new")
    resources.jobs().wait(30)
    monkeypatch.undo()
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SCENESEARCH_LIBRARY", LIBRARY)
    write_tiny_encoder(tmp_path / "models" / "colour")  # another one of that name
    page = open_view("encoders")
    assert not page.exception
    next(b for b in page.button if b.label == "Promote it").click().run()
    assert resources.store().resolve(LIBRARY) == "photos-new-1"


@pytest.mark.slow
def test_a_collection_is_built_promoted_and_rolled_back(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    other = ColourEncoder("other", "07e4")
    encoders = {None: other, "c0104f": colour_encoder, "07e4": other}
    monkeypatch.setattr(
        Installation, "load_encoder", lambda *_, of=None, **__: encoders[of and of.fingerprint]
    )
    page = open_view("encoders")
    page = next(b for b in page.button if b.label == "Build a collection with it").click().run()
    page = settled(page)
    assert "3 encoded" in said(page)
    page = next(b for b in page.button if b.label == "Promote it").click().run()
    assert "a promote demands an evaluation and photos-colour-1 has none" in said(page)
    assert resources.store().resolve(LIBRARY) == "photos-colour-1"
    page = page.button(key="promote-not").click().run()
    assert "promote-anyway" not in [button.key for button in page.button]
    page = next(b for b in page.button if b.label == "Promote it").click().run()
    page = page.button(key="promote-anyway").click().run()
    assert resources.store().resolve(LIBRARY) == "photos-other-1"
    page = page.button(key="rollback").click().run()
    assert resources.store().resolve(LIBRARY) == "photos-colour-1"


def test_a_page_for_reading_neither_adds_nor_builds(
    tmp_path: Path,
    colour_encoder: ColourEncoder,
    menu: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    search = open_page()
    assert menu == {"": ["Search", "Collections", "Map"]}
    search.text_input(key="q").input("red")
    search = next(b for b in search.button if b.label == "Search").click().run()
    assert "Save this request" not in [button.label for button in search.button]


def test_whoever_manages_the_library_has_a_menu_of_its_own(
    tmp_path: Path, colour_encoder: ColourEncoder, menu: dict[str, list[str]]
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    assert not open_page().exception
    assert menu[""] == ["Search", "Collections", "Map", "Add"]
    assert menu["Manage"] == [
        *("Contents", "Evaluation", "Models", "Encoders", "Duplicates", "Left out", "Settings")
    ]


def test_settings_are_listed_with_where_they_come_from_and_secrets_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCENESEARCH_API_KEYS", "a secret")
    monkeypatch.setenv("SCENESEARCH_MAX_MEGAPIXELS", "12")
    page = open_view("settings")
    assert not page.exception
    rows = page.dataframe[0].value.set_index("setting")
    assert list(rows.loc["SCENESEARCH_MAX_MEGAPIXELS"])[:2] == ["12.0", "environment"]
    assert rows.loc["SCENESEARCH_API_KEYS", "value"] == "********"
    assert rows.loc["SCENESEARCH_THREADS", "from"] == "default"
    assert "a secret" not in rows.to_csv()


@pytest.mark.parametrize("places", [False, True])
def test_a_page_for_reading_tells_where_pictures_were_taken_only_if_told_to(
    places: bool,
    tmp_path: Path,
    colour_encoder: ColourEncoder,
    panel: Panel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payload = {"location": {"lat": 48.25, "lon": 2.5}, "latitude": 48.25, "City": "Nemours"}
    shots = [Shot("here.png", (225, 30, 30), payload=payload)]
    custom: dict[str, MetadataType] = {"latitude": "float", "City": "keyword"}
    build_library(tmp_path, colour_encoder, shots, custom=custom)
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    monkeypatch.setenv("SCENESEARCH_PAGE_PLACES", str(places).lower())
    page = open_page()
    names = [str(widget.key) for widget in page.number_input]
    assert ("where-latitude-from" in names) is places
    assert ("City" in [section["key"] for section in panel.data["sections"]]) is places
    asked = {"id": "here.png"}
    told = TestClient(gallery_app()).get("/gallery/details", params=asked)
    assert ("48.25" in told.text) is places
    assert ("Nemours" in told.text) is places
    assert str(tmp_path) not in told.text
    page.text_input(key="q").input("near:48.25,2.5,1km")
    page = next(b for b in page.button if b.label == "Search").click().run()
    read_as_words = [text for text in texts(page) if "was read as words" in text]
    assert bool(read_as_words) is not places
    with resources.open_library() as opened:
        located = opened.parse("has:location").filters
        assert bool(located) is places


def test_the_sample_is_loaded_with_one_click(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_jobs, "SAMPLE_SIZE", 6)
    page = open_page()
    page = page.button(key="sample").click().run()
    resources.jobs().wait(60)
    page = page.run()
    assert "6 pictures in this library" in texts(page)


def test_the_switch_reads_text_after_the_pictures_are_added(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reader:
        def __init__(self, *, seconds: float) -> None:
            assert seconds == 20

        def read(self, picture: Image.Image) -> Reading:
            return Reading((WrittenLine("Gate 12", (0.0, 1.0) * 4, 0.9),))

    monkeypatch.setenv("SCENESEARCH_PAGE_FOLDERS", str(tmp_path))
    monkeypatch.setattr("ingest.text_reader.find_spec", lambda name: object())
    monkeypatch.setattr("ingest.read_text.TextReader", Reader)
    page = open_view("add")
    page.toggle(key="reads-text").set_value(True)
    page.text_input(key="folder-path").input(str(photos))
    page = next(button for button in page.button if button.label == "Add").click().run()
    assert not settled(page).exception
    texts = [point.payload["text"] for point in resources.store().scroll(LIBRARY)]
    assert texts == ["Gate 12"] * 6


def test_without_what_reads_text_the_switch_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    monkeypatch.setenv("SCENESEARCH_OCR", "true")
    switch = open_view("add").toggle(key="reads-text")
    assert (switch.disabled, switch.value) == (True, False)
    assert "pip install -e '.[ocr]'" in switch.help
