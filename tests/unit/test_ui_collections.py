"""Live collections and tags on the page, each over a real embedded store."""

from contextlib import closing
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from scenesearch.home.saved_collections import (
    SavedCollection,
    find_collection,
    read_collections,
    save_collection,
)
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder
from tests.unit.test_ui_library import said
from tests.unit.test_ui_states import ask, cards, headings, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import (
    LIBRARY,
    Shot,
    build_library,
    choose_tile,
    open_page,
    pick,
    reds,
    tiles,
)
from ui import resources

BLUE = (30, 60, 220)


def file_of(tmp_path: Path) -> Path:
    return tmp_path / "libraries" / LIBRARY / "saved-requests.json"


def open_collection(name: str | None = None) -> AppTest:
    page = AppTest.from_string("from ui.views import collections as view\nview.show()\n")
    page.default_timeout = 60
    if name is not None:
        page.query_params["collection"] = name
    page.run()
    assert not page.exception
    return page


@pytest.fixture
def reds_saved(tmp_path: Path, colour_encoder: ColourEncoder) -> Path:
    """Two red pictures and a blue one, and the collection Reds; its file."""
    build_library(tmp_path, colour_encoder, [*reds(2), Shot("blue.png", BLUE)])
    save_collection(file_of(tmp_path), SavedCollection("Reds", "red"))
    return file_of(tmp_path)


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


@pytest.mark.slow
def test_a_request_is_saved_under_a_name_and_opened(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    page = ask(open_page(), "red")
    page.text_input(key="save-name").input("My reds")
    page.button(key="save").click().run()
    assert read_collections(file_of(tmp_path)) == [SavedCollection("My reds", "red")]
    page = open_page()
    (saved,) = tiles(page)["Saved"]
    assert (saved["kind"], saved["text"]) == ("collection", "My reds")
    page = choose_tile(page, "collection", "My reds")
    assert "My reds" in headings(page)
    page = open_collection()
    assert texts(page)[-2:] == ["My reds", "2 pictures"]


def test_a_name_that_is_taken_is_said(reds_saved: Path) -> None:
    page = ask(open_page(), "blue")
    page.text_input(key="save-name").input("Reds")
    page = page.button(key="save").click().run()
    assert "there is a collection 'Reds' already" in said(page)
    assert find_collection(reds_saved, "Reds").request == "red"


def test_a_collection_is_opened_by_its_address(reds_saved: Path) -> None:
    page = open_collection("Reds")
    assert cards(page) == ["red-00.png", "red-01.png"]
    assert "2 pictures" in texts(page)
    page = page.button(key="all").click().run()
    assert texts(page)[-2:] == ["Reds", "2 pictures"]
    page = page.button(key="open-1").click().run()
    assert cards(page) == ["red-00.png", "red-01.png"]


def test_a_collection_that_is_gone_is_said(reds_saved: Path) -> None:
    assert "There is no collection “Blues” in this library." in said(open_collection("Blues"))


def test_ticked_pictures_are_kept_out_and_taken_back(reds_saved: Path) -> None:
    page = open_collection("Reds")
    page = pick(page, "red-00.png")
    page = page.button(key="collection-exclude").click().run()
    assert find_collection(reds_saved, "Reds").excluded == ("red-00.png",)
    assert cards(page) == ["red-01.png"]
    assert "1 picture · 1 kept out by hand" in texts(page)
    page.multiselect(key="collection-by-hand").select("red-00.png")
    page = page.button(key="collection-forget").click().run()
    assert cards(page) == ["red-00.png", "red-01.png"]


def test_ticked_pictures_are_added(reds_saved: Path) -> None:
    page = ask(open_page(), "blue")
    page = pick(page, "blue.png")
    page.button(key="collection-add").click().run()
    assert find_collection(reds_saved, "Reds").added == ("blue.png",)
    assert cards(open_collection("Reds")) == ["blue.png", "red-00.png", "red-01.png"]


@pytest.mark.slow
def test_ticked_pictures_make_a_collection_of_their_own(reds_saved: Path) -> None:
    page = ask(open_page(), "blue")
    page = pick(page, "blue.png")
    page.text_input(key="collection-new").input("Album")
    page.button(key="collection-make").click().run()
    assert find_collection(reds_saved, "Album") == SavedCollection("Album", "", added=("blue.png",))
    assert cards(open_collection("Album")) == ["blue.png"]
    page = ask(open_page(), "blue")
    page = pick(page, "blue.png")
    page.text_input(key="collection-new").input("Album")
    assert "already" in said(page.button(key="collection-make").click().run())


@pytest.mark.slow
def test_a_collection_is_renamed_shown_by_another_picture_and_deleted(reds_saved: Path) -> None:
    page = open_collection("Reds")
    page.text_input(key="collection-name").input("Warm")
    page = page.button(key="collection-rename").click().run()
    assert cards(page) == ["red-00.png", "red-01.png"]
    page.selectbox(key="collection-picture").select("red-01.png")
    page = page.button(key="collection-choose").click().run()
    assert find_collection(reds_saved, "Warm").picture == "red-01.png"
    page = page.button(key="collection-delete").click().run()
    assert read_collections(reds_saved) == []
    assert "Nothing is saved yet." in said(page)


@pytest.mark.slow
def test_a_request_that_cannot_be_asked_does_not_end_the_view(reds_saved: Path) -> None:
    save_collection(reds_saved, SavedCollection("Broken", "width:>wide"))
    page = open_collection()
    assert "Reds" in texts(page)
    assert "width:>wide" in said(page)
    assert "width:>wide" in said(open_collection("Broken"))


@pytest.mark.slow
def test_ticked_pictures_are_tagged_and_it_is_undone(tmp_path: Path, reds_saved: Path) -> None:
    def tags() -> dict[str, object]:
        resources.store().release(LIBRARY)
        with closing(EdgeStore(tmp_path / "edge")) as store:
            points = store.scroll(LIBRARY, payload=("tags",))
            return {p.image_id: p.payload["tags"] for p in points if "tags" in p.payload}

    page = ask(open_page(), "red")
    page = pick(page, "red-00.png")
    page.text_input(key="tag-text").input("holiday")
    page = page.button(key="tag-add").click().run()
    assert tags() == {"red-00.png": ["holiday"]}
    assert "+holiday for a ticked picture" in said(page)
    page = page.button(key="tag-undo").click().run()
    assert tags() == {}
    assert "tag-undo" not in [str(button.key) for button in page.button]
    assert not page.exception


def test_a_read_only_page_changes_nothing(
    reds_saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "1")
    page = pick(open_collection("Reds"), "red-00.png")
    keys = {str(button.key) for button in page.button}
    changing = (
        *("tag-add", "tag-undo", "collection-add", "collection-make"),
        *("collection-rename", "collection-delete"),
    )
    assert keys.isdisjoint(changing)
    assert cards(page) == ["red-00.png", "red-01.png"]
