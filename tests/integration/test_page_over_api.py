"""The page over a `scenesearch serve` of its own process: it searches and shows pictures, and opens
neither a store nor an encoder."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import streamlit as st
from PIL import Image
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.home.installation import Installation
from scenesearch.search.request import Request
from serve.keys import new_key
from tests.serve_process import Server, free_port
from tests.tiny_encoder import declare, write_tiny_encoder
from tests.unit.test_ui_library import said
from tests.unit.test_ui_states import ask, cards, texts
from tests.unit.ui_world import LIBRARY, Shot, build_library, gallery, open_page, open_view, reds
from ui import feedback, resources
from ui.gallery.routes import gallery_app
from ui.pictures import Picture, view

pytestmark = pytest.mark.slow

BLUE = (30, 60, 220)
KEY, ENTRY = new_key("page", ["write"])


def tiny(folder: Path) -> Path:
    folder = write_tiny_encoder(folder)
    declare(folder, calibration={"method": "logistic", "cosine": 20, "intercept": -15})
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Thirty red pictures and a blue one, with a key that may mark them."""
    data_dir = tmp_path_factory.mktemp("server")
    shots = [*reds(30), Shot("blue.png", BLUE, payload={"tags": ["sea"], "captions": ["blue sea"]})]
    build_library(data_dir, OnnxEncoder(tiny(data_dir / "tiny"), threads=1), shots)
    started = Server(data_dir, port=free_port(), api_keys=f"[{ENTRY}]", library=LIBRARY)
    yield started
    if started.process.poll() is None:
        started.stop()


@pytest.fixture(autouse=True)
def page(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's own data folder, which stays empty; what opens a store or an encoder fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("the page opens something of its own")

    folder = tmp_path / "page"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, value in {
        "DATA_DIR": str(folder),
        "LIBRARY": LIBRARY,
        "API_URL": str(server.client.base_url),
        "API_KEY": KEY,
    }.items():
        monkeypatch.setenv(f"SCENESEARCH_{name}", value)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    monkeypatch.setattr(Installation, "open_store", fail)
    monkeypatch.setattr(Installation, "load_encoder", fail)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield folder
    st.cache_resource.clear()
    st.cache_data.clear()
    assert list(folder.iterdir()) == []


def labelled(page: AppTest, label: str) -> Any:
    return next(button for button in page.button if button.label == label)


def test_the_page_searches_filters_and_counts() -> None:
    page = open_page()
    assert not page.exception
    assert "31 pictures in this library" in texts(page)
    assert len(cards(page)) == 31
    page = ask(page, "red")
    assert cards(page)[:2] == ["red-00.png", "red-01.png"]
    assert "30 found" in texts(page)
    page = ask(page, "blue")
    page.session_state["where-tags"] = ["sea"]
    page = page.run()
    assert not page.exception
    assert cards(page) == ["blue sea"]
    page = ask(page, "taken:2020-01-02")
    assert any("No picture fits these filters" in one.value for one in page.subheader)


def test_portions_details_and_bytes_are_those_of_the_server(server: Server) -> None:
    told = gallery(open_page())
    visitor = TestClient(gallery_app())
    seen, after = [], None
    while True:
        asked = {"answer": told["answer"], "limit": 8} | ({"after": after} if after else {})
        portion = visitor.get("/gallery/items", params=asked).json()
        seen += [item["id"] for item in portion["items"]]
        if (after := portion["next"]) is None:
            break
    assert len(seen) == len(set(seen)) == 31
    red = gallery(ask(open_page(), "red"))
    asked = {"id": "red-00.png", "answer": red["answer"], "v": red["items"][0]["v"]}
    assert ["Size", "64 × 48 pixels"] in visitor.get("/gallery/details", params=asked).json()[
        "facts"
    ]
    assert visitor.get("/gallery/why", params=asked).json()["words"][0][0] == "red"
    for address in ("thumb", "view", "full"):
        answer = visitor.get(f"/gallery/{address}", params=asked)
        assert Image.open(io.BytesIO(answer.content)).size == (64, 48)
    file = server.data_dir / "pictures" / "red-00.png"
    assert visitor.get("/gallery/download", params=asked).content == file.read_bytes()
    assert visitor.get("/gallery/thumb", params={"id": "gone.png"}).status_code == 404


def test_dates_of_the_sidebar_filter_on_the_server() -> None:
    page = ask(open_page(), "red")
    page = page.date_input(key="where-taken-until").set_value("2020-01-02").run()
    assert not page.exception
    assert cards(page) == ["red-00.png", "red-01.png"]


def test_values_and_dates_are_counted_on_the_server() -> None:
    with resources.open_library() as opened:
        for request in (Request(), opened.parse("red"), opened.parse("taken:2020-01-02")):
            counts, _ = opened.searcher.count_values(request, facets=("taken", "tags"))
            assert sum(count for _, count in counts["taken"]) > 0
        library, _ = opened.searcher.count_values(Request(), facets=("taken", "tags"))
    assert library["taken"][0][0] == "2020-01"
    assert ("sea", 1) in library["tags"]


def test_an_order_is_asked_for() -> None:
    page = ask(open_page(), "red")
    page = page.selectbox(key="order").select("Newest first").run()
    assert cards(page)[0] == "red-29.png"


def test_a_picture_finds_pictures_like_it() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), BLUE).save(buffer, "PNG")
    page = open_view("search")
    page.file_uploader(key="picture-0").upload("mine.png", buffer.getvalue(), "image/png")
    page = page.run()
    assert not page.exception
    assert cards(page)[0] == "blue sea"


def test_a_mark_orders_the_next_answer() -> None:
    told = gallery(ask(open_page(), "red"))
    assert told["can"]["mark"] is True
    visitor = TestClient(gallery_app())
    asked = {"id": "red-00.png", "answer": told["answer"]}
    assert visitor.get("/gallery/details", params=asked).json()["mark"] is None
    feedback.set_mark("red", "red-00.png", "wrong")
    assert visitor.get("/gallery/details", params=asked).json()["mark"] == "wrong"
    page = ask(open_page(), "red")
    page = page.selectbox(key="order").select("Best first, by what was called right").run()
    assert "red-00.png" not in cards(page)


def test_thumbnails_and_originals_are_those_of_the_server(server: Server) -> None:
    with resources.open_library() as opened:
        point = opened.store.retrieve(LIBRARY, ["red-00.png"])["red-00.png"]
        picture = Picture(point.image_id, point.payload)
        assert Image.open(io.BytesIO(picture.thumbnail())).size == (64, 48)
        assert Image.open(io.BytesIO(view(picture.original))).size == (64, 48)
        file = server.data_dir / "pictures" / "red-00.png"
        assert picture.original.read() == file.read_bytes()


def test_the_contents_are_those_of_the_server_and_its_encoders_are_listed() -> None:
    page = open_view("contents")
    assert not page.exception
    assert [one.value for one in page.metric][:2] == ["31", "tiny"]
    page = open_view("encoders")
    assert not page.exception
    assert "Encoders are changed on the server" in said(page)
    assert "lite" in list(page.dataframe[0].value["encoder"])


def test_ten_visitors_at_once_are_answered(server: Server) -> None:
    answers: list[list[str]] = []

    def visit() -> None:
        with resources.open_library() as opened:
            found = opened.searcher.search(opened.parse("red"), k=24, min_relevance=0.0)
            answers.append([hit.image_id for hit in found.hits])

    threads = [threading.Thread(target=visit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 10
    assert all(answer == answers[0] and len(answer) == 24 for answer in answers)


def test_the_page_is_back_when_its_server_is(server: Server) -> None:
    page = open_page()
    server.stop()
    page = ask(page, "blue")
    assert not page.exception
    assert page.subheader[0].value == ":material/error: The API server does not answer"
    server.start()
    page = page.button(key="retry").click().run()
    assert not page.exception
    assert cards(page)[0] == "blue sea"
