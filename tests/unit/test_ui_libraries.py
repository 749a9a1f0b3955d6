"""Several libraries in one installation: each visitor looks at one of them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from scenesearch.home.settings import Settings
from scenesearch.store.base import CollectionSpec, Point
from scenesearch.store.edge import EdgeStore
from scenesearch.store.fields import BUILTIN_FIELDS
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import ask, cards, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import LIBRARY, build_library, gallery, open_page, reds
from ui import resources
from ui.server import _beside_ours
from ui.settings import page_settings, read_settings_again, using_library


@pytest.fixture
def two(tmp_path: Path, colour_encoder: ColourEncoder) -> Iterator[None]:
    """The page's own library of red pictures, and another one of a blue picture."""
    build_library(tmp_path, colour_encoder, reds(2))
    info = colour_encoder.info
    spec = CollectionSpec("holidays", info.name, info.fingerprint, info.dimension, BUILTIN_FIELDS)
    (vector,) = colour_encoder.encode_texts(["blue"])
    with closing(EdgeStore(tmp_path / "edge")) as store:
        store.create_collection("holidays-colour-1", spec)
        store.set_alias("holidays", "holidays-colour-1")
        payload = {"image_id": "sea.png", "sha256": "0" * 64, "folder": ["."]}
        store.upsert("holidays", [Point("sea.png", vector, payload)])
        store.flush("holidays")
    yield


def visit(**address: str) -> AppTest:
    page = open_page()
    for name, value in address.items():
        page.query_params[name] = value
    return page.run()


@pytest.mark.usefixtures("two")
def test_a_visitor_switches_to_another_library_and_the_address_says_so() -> None:
    page = ask(open_page(), "red")
    assert page.selectbox(key="library").options == ["holidays", LIBRARY]
    page = page.selectbox(key="library").select("holidays").run()
    assert not page.exception
    assert "1 picture in this library" in texts(page)
    assert cards(page) == ["sea.png"]
    assert page.query_params["library"] == "holidays"
    assert page.text_input(key="q").value == ""
    # The gallery asks for pictures of this library.
    assert gallery(page)["base"] == "/of/holidays/"
    page = page.selectbox(key="library").select(LIBRARY).run()
    assert "library" not in page.query_params
    assert gallery(page)["base"] == "/"


@pytest.mark.usefixtures("two")
def test_an_address_names_the_library() -> None:
    page = visit(library="holidays")
    assert cards(page) == ["sea.png"]
    assert page.selectbox(key="library").value == "holidays"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", ["elsewhere", "../photos", "holidays-colour-1"])
def test_an_address_of_no_library_is_told(name: str) -> None:
    page = visit(library=name)
    assert not page.exception
    assert f"There is no library “{name}” here." in texts(page)
    assert cards(page) == []
    page = page.button(key="known-library").click().run()
    assert "2 pictures in this library" in texts(page)


@pytest.mark.usefixtures("two")
def test_a_page_for_reading_shows_its_own_library_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    page = visit(library="holidays")
    assert "2 pictures in this library" in texts(page)
    assert "library" not in [box.key for box in page.selectbox]
    assert len(cards(page)) == 2


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("read_only", [False, True])
def test_pictures_of_another_library_are_fetched_unless_the_page_is_for_reading(
    read_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", str(read_only).lower())
    read_settings_again()

    async def nothing(scope: object, receive: object, send: object) -> None:
        raise LookupError("not the gallery's")

    visitor = TestClient(_beside_ours(nothing, ""))  # type: ignore[arg-type]
    assert visitor.get("/gallery/details?id=red-00.png").status_code == 200
    assert visitor.get("/gallery/details?id=sea.png").status_code == 404
    if read_only:
        with pytest.raises(LookupError):
            visitor.get("/of/holidays/gallery/details?id=sea.png")
        return
    assert visitor.get("/of/holidays/gallery/details?id=sea.png").status_code == 200
    assert visitor.get("/of/holidays/gallery/details?id=red-00.png").status_code == 404
    assert visitor.get("/of/holidays/maps/land").status_code == 200
    assert visitor.get("/of/elsewhere/gallery/details?id=sea.png").status_code == 404


def test_work_in_the_background_keeps_the_library_that_it_was_started_in() -> None:
    seen: list[str] = []
    with using_library("holidays"):
        resources.start_job("looking", lambda job: seen.append(page_settings().library))
    resources.jobs().wait(30)
    assert seen == ["holidays"]
    assert page_settings().library == LIBRARY == Settings().library
