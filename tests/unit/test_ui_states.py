"""The page's states, each over a real embedded store: empty, found, nothing found, failed."""

import gc
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from ingest.build import build
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.installation import Installation
from scenesearch.search.searcher import Searcher
from scenesearch.store.catalog import promote
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_lock import HolderLock
from tests.conftest import ColourEncoder
from tests.tiny_encoder import write_tiny_encoder
from tests.unit.ui_world import (
    LIBRARY,
    Shot,
    build_library,
    choose_tile,
    gallery,
    open_page,
    reds,
    tiles,
)
from ui import access, launch, resources
from ui.gallery.answers import answers
from ui.gallery.listing import Listing
from ui.views import home

RED, BLUE = (220, 30, 30), (30, 60, 220)


@pytest.fixture(autouse=True)
def page_of_its_own(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The page of this test alone: its data folder, its encoder, nothing cached before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SCENESEARCH_LIBRARY", LIBRARY)
    monkeypatch.delenv("SCENESEARCH_QDRANT_URL", raising=False)
    monkeypatch.setattr(Installation, "load_encoder", lambda *_, **__: colour_encoder)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    resources.store().close()
    st.cache_resource.clear()
    st.cache_data.clear()


def texts(page: AppTest) -> list[str]:
    return [text.value for text in page.text]


def headings(page: AppTest) -> list[str]:
    return [heading.value for heading in page.subheader]


def cards(page: AppTest) -> list[str]:
    """Titles of the pictures in the gallery, in order."""
    return [item["title"] for item in gallery(page).get("items", [])]


def ask(page: AppTest, text: str) -> AppTest:
    page.text_input(key="q").input(text)
    (submit,) = (button for button in page.button if button.label == "Search")
    return submit.click().run()


def test_without_a_library_the_page_says_how_to_make_one() -> None:
    page = open_page()
    assert not page.exception
    assert headings(page) == [":material/photo_library: There is no library of this name yet"]
    assert any(button.label == "Load the sample pictures" for button in page.button)


def test_an_empty_library_asks_for_pictures(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, [])
    page = open_page()
    assert headings(page) == [":material/photo_library: This library is empty"]
    assert any("Add your own pictures" in text for text in texts(page))
    page = page.button(key="add-own").click().run()
    assert "From your device" in [heading.value for heading in page.header]


def test_before_the_first_question_the_library_can_be_browsed(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = open_page()
    assert not page.exception
    assert "3 pictures in this library" in texts(page)
    assert sorted(cards(page)) == ["red-00.png", "red-01.png", "red-02.png"]


def test_an_example_from_the_librarys_captions_is_searched_for_with_one_click(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [
        Shot("wall.png", RED, payload={"captions": ["a big red wall"]}),
        Shot("sea.png", BLUE, payload={"captions": ["a blue sea."]}),
    ]
    build_library(tmp_path, colour_encoder, shots)
    page = open_page()
    # Each is shown by the picture that answers it best.
    shown = {tile["text"]: tile["picture"] for tile in tiles(page)["Try"]}
    assert "id=wall.png&" in shown["a big red wall"]
    assert "id=sea.png&" in shown["a blue sea"]
    page = choose_tile(page, "request", "a big red wall")
    assert page.text_input(key="q").value == "a big red wall"
    assert cards(page)[0] == "a big red wall"


def test_without_captions_examples_are_common_scenes_that_the_library_shows(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    monkeypatch.setattr(home, "_COMMON", ("a green wood", "a red wall", "red bricks"))
    # Two requests with one picture are one tile.
    assert [tile["text"] for tile in tiles(open_page())["Try"]] == ["a red wall"]


def test_an_answer_comes_best_first_with_relevance_cosine_and_timing(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    blue = Shot("blue.png", BLUE)
    build_library(tmp_path, colour_encoder, [*reds(2)[::-1], blue])
    page = ask(open_page(), "red")
    assert cards(page) == ["red-00.png", "red-01.png"]
    assert "2 found" in texts(page)
    assert any(" ms: words " in text for text in texts(page))  # in Details
    told = gallery(page)
    assert told["items"][0]["score"] == "95%"  # sigmoid(12 * 1 - 9)
    answer = answers().get(told["answer"])
    assert answer is not None
    assert answer.found("red-00.png").detail == "95% relevant · cosine 1.000"


@pytest.mark.parametrize("text", ["tag:wall", "-blue"])
def test_an_answer_to_nothing_that_is_wanted_has_no_relevance(
    tmp_path: Path, colour_encoder: ColourEncoder, text: str
) -> None:
    shot = Shot("wall.png", RED, payload={"tags": ["wall"]})
    build_library(tmp_path, colour_encoder, [shot, Shot("blue.png", BLUE)])
    page = ask(open_page(), text)
    assert cards(page) == ["wall.png"]
    assert gallery(page)["items"][0]["score"] == ""
    assert gallery(page)["nearest"] is None


def test_a_filter_that_no_picture_passes_is_named(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, [Shot("blue.png", BLUE)])
    page = ask(open_page(), "blue taken:2019")
    assert "taken:2019: no picture of this library has a date" in texts(page)
    assert "The filters are in the search box: change them there, or remove them." in texts(page)
    assert not [button for button in page.button if button.key == "clear-all"]  # of nothing


def test_nothing_that_matches_is_said_and_the_nearest_is_shown_as_less_certain(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, [Shot("blue.png", BLUE)])
    page = ask(open_page(), "yellow")
    assert ":material/search_off: Nothing in this library matches" in headings(page)
    assert cards(page) == ["blue.png"]
    assert gallery(page)["nearest"] == 0


def test_asking_for_less_relevance_shows_the_nearest(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, [Shot("blue.png", BLUE)])
    page = ask(open_page(), "yellow")
    page = page.slider(key="relevance").set_value(0).run()
    assert cards(page) == ["blue.png"]
    assert page.text_input(key="q").value == "yellow"


@pytest.mark.usefixtures("impatient")
def test_a_busy_library_names_its_holder_and_opens_after_trying_again(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    store = EdgeStore(tmp_path / "edge")
    lock = HolderLock(tmp_path / "edge" / "locks" / f"{store.resolve(LIBRARY)}.lock", "a restore")
    lock.acquire(0)
    page = open_page()
    assert headings(page) == [":material/error: The library is in use by another program"]
    assert any("a restore" in text for text in texts(page))
    lock.release()
    page = page.button(key="retry").click().run()
    assert cards(page) == ["red-00.png"]


def test_an_idle_page_lets_another_process_have_the_library(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    monkeypatch.setattr(resources, "POLL_S", 0.01)
    page = open_page()
    with closing(EdgeStore(tmp_path / "edge", lock_wait_s=10)) as other:
        assert other.count(LIBRARY) == 1
    assert cards(ask(page, "red")) == ["red-00.png"]


def test_a_store_that_is_down_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:  # a port that nobody listens at
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("SCENESEARCH_QDRANT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("SCENESEARCH_QDRANT_GRPC_PORT", str(port))
    monkeypatch.setenv("SCENESEARCH_QDRANT_TIMEOUT_S", "2")
    page = open_page()
    assert not page.exception
    assert headings(page) == [":material/error: The store does not answer"]
    assert any(f"127.0.0.1:{port}" in text for text in texts(page))


def test_a_library_of_another_encoder_is_refused_with_both_names(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, ColourEncoder("old-colour", "0ld"), reds(1))
    page = open_page()
    assert headings(page) == [":material/error: This library was made with another encoder"]
    message = texts(page)[-1]
    assert "old-colour" in message and "is colour" in message


def test_a_promoted_collection_is_answered_by_its_own_encoder(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    page = open_page()
    assert any("encoder colour" in words for words in texts(page))
    promoted = ColourEncoder("newer", "beef")
    monkeypatch.setattr(
        Installation,
        "load_encoder",
        lambda *_, of, **__: promoted if of.encoder == "newer" else colour_encoder,
    )
    opened = resources.store()
    new = build(
        LIBRARY, encoder=promoted, store=opened, originals=AllowedOriginals([str(tmp_path)])
    ).collection
    promote(opened, LIBRARY, new)
    page = ask(page, "a red thing")
    assert not page.exception
    assert any("encoder newer" in words for words in texts(page))
    assert len(cards(page)) == 2


def test_an_encoder_that_is_not_there_is_told(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    monkeypatch.undo()
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    page = open_page()
    assert headings(page) == [":material/error: The encoder cannot be used"]
    assert any("encoder colour (c0104f) is not on this machine" in text for text in texts(page))


def test_an_encoder_whose_name_another_has_is_told(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    write_tiny_encoder(tmp_path / "models" / "colour")
    monkeypatch.undo()
    monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(tmp_path))
    page = open_page()
    assert headings(page) == [":material/error: This library was made with another encoder"]
    told = next(text for text in texts(page) if text.startswith(f"library {LIBRARY} holds"))
    assert f"`scenesearch library build {LIBRARY}` encodes its originals again" in told


def test_an_answer_keeps_its_token_until_another_is_asked_for(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [Shot(f"red-{n:02}.png", (220, 30 + n // 2, 30 + (n + 1) // 2)) for n in range(70)]
    build_library(tmp_path, colour_encoder, shots)
    page = ask(open_page(), "red")
    first = gallery(page)
    assert "At least 60 found" in texts(page)
    assert len({item["id"] for item in first["items"]}) == 60
    assert first["next"] is not None and first["total"] is None
    assert gallery(page.run())["answer"] == first["answer"]
    assert gallery(ask(page, "a red boat"))["answer"] != first["answer"]
    back = gallery(ask(page, "red"))  # as Back does: it is at hand
    assert back == first


def test_an_answer_that_was_forgotten_is_asked_for_again(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = ask(open_page(), "red")
    lost = gallery(page)["answer"]
    answers.clear()
    page = page.run()
    assert gallery(page)["answer"] != lost
    assert answers().get(gallery(page)["answer"]) is not None


def test_a_change_of_the_library_is_seen_and_moves_only_an_answer_that_it_changes(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = ask(open_page(), "red")
    first = gallery(page)
    store = resources.store()
    point = store.retrieve(LIBRARY, ["red-01.png"], with_vectors=True)["red-01.png"]
    payload = {**point.payload, "captions": ["a wall"]}
    store.upsert(LIBRARY, [replace(point, payload=payload)])
    page = page.run()
    assert gallery(page)["answer"] == first["answer"]
    assert cards(page) == ["red-00.png", "a wall", "red-02.png"]
    store.delete(LIBRARY, ["red-00.png"])
    page = page.run()
    assert gallery(page)["answer"] != first["answer"]
    assert cards(page) == ["a wall", "red-02.png"]


def test_a_library_is_browsed_by_date_to_its_end(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, [*reds(70), Shot("undated.png", BLUE)])
    told = gallery(open_page())
    assert [item["id"] for item in told["items"]] == [f"red-{69 - n:02}.png" for n in range(60)]
    assert told["items"][0]["date"] == "2020-03-10"
    assert (told["ordered_by"], told["total"], told["shaped"]) == ("taken", 71, True)
    assert [item["at"] for item in told["items"]] == list(range(60))
    answer = answers().get(told["answer"])
    assert answer is not None
    with resources.open_library() as opened:
        rest = answer.portion(opened, told["next"], 60)
    assert list(rest.ids) == [*(f"red-{n:02}.png" for n in range(9, -1, -1)), "undated.png"]
    assert rest.next is None


def test_too_long_a_query_is_answered_with_a_sentence(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    page = ask(open_page(), "red " * 3000)
    assert not page.exception
    assert any("characters" in text for text in texts(page))


def test_the_box_takes_filters_and_says_what_it_took_as_words(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [
        Shot("canon.png", (220, 30, 30), payload={"camera": "Canon EOS 5D"}),
        Shot("nikon.png", (220, 30, 30), payload={"camera": "Nikon D90"}),
    ]
    build_library(tmp_path, colour_encoder, shots)
    page = ask(open_page(), "red -camera:nikon note: x")
    assert cards(page) == ["canon.png"]
    assert "1 found" in texts(page)
    assert any(text.startswith("note: was read as words") for text in texts(page))
    page = ask(page, "red width:wide")
    assert not page.exception
    assert "width:wide: 'wide' is not a whole number" in texts(page)


def test_copies_are_one_picture_with_their_number(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [Shot(name, (220, 30, 30)) for name in ("a.png", "b.png", "c.png")]
    build_library(tmp_path, colour_encoder, shots)  # the same bytes three times
    page = ask(open_page(), "red")
    assert cards(page) == ["a.png"]
    answer = answers().get(gallery(page)["answer"])
    assert answer is not None and answer.found("a.png").detail.endswith(" · 2 more like it")


def test_a_page_with_a_password_that_is_started_without_its_middleware_shows_nothing(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    monkeypatch.setenv("SCENESEARCH_PAGE_PASSWORD", access.hash_password("open sesame"))
    page = open_page()
    assert not page.exception
    assert texts(page) == ["You are not logged in: reload the page."]
    assert cards(page) == []


def test_a_page_with_login_that_is_not_set_up_lets_nobody_in(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    monkeypatch.setenv("SCENESEARCH_PAGE_LOGIN", "true")
    page = open_page()
    assert not page.exception
    assert texts(page) == [
        "Logging in is not set up: .streamlit/secrets.toml has no section [auth]."
    ]
    assert cards(page) == []


@pytest.mark.parametrize("logged_in", [False, True])
def test_a_page_with_login_is_for_who_has_logged_in(
    logged_in: bool, tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    monkeypatch.setenv("SCENESEARCH_PAGE_LOGIN", "true")
    monkeypatch.setattr(st, "user", {"is_logged_in": logged_in})
    page = open_page()
    assert ("Log in" in [button.label for button in page.button]) is not logged_in
    assert cards(page) == (["red-00.png"] if logged_in else [])


def test_the_encoder_is_loaded_before_the_first_visitor_comes(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    loaded: list[object] = []

    def load(*wanted: object, **_: object) -> ColourEncoder:
        loaded.append(wanted)
        return colour_encoder

    monkeypatch.setattr(Installation, "load_encoder", load)
    launch.warm_up()
    assert len(loaded) == 1
    assert cards(ask(open_page(), "red")) == ["red-00.png"]
    assert len(loaded) == 1


def test_the_library_is_listed_before_the_first_visitor_comes(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    launch.warm_up()
    monkeypatch.setattr(Searcher, "every_id", None)  # it would fail a visitor
    told = gallery(open_page())
    assert [item["id"] for item in told["items"]] == ["red-02.png", "red-01.png", "red-00.png"]
    answer = answers().get(told["answer"])
    assert isinstance(answer, Listing)
    with resources.open_library() as opened:
        monkeypatch.setattr(type(opened.store), "scroll", None)
        assert answer.shape(opened).months == [("2020-01", 0)]


def test_what_is_there_before_the_first_visitor_is_not_searched_for_garbage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launch, "warm_up", lambda: None)
    earlier: list[int] = []
    launch.get_ready()
    later: list[int] = []
    searched = {id(one) for one in gc.get_objects()}
    assert id(later) in searched
    assert id(earlier) not in searched


def test_warming_up_without_a_library_fails_nobody() -> None:
    launch.warm_up()
    assert headings(open_page()) == [
        ":material/photo_library: There is no library of this name yet"
    ]
