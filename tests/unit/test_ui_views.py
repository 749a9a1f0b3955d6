"""Search by picture, what is done with pictures, and the views map, evaluation and models."""

import io
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from scenesearch.evaluation import promotion
from scenesearch.evaluation.compare import Comparison, Difference, compare
from scenesearch.evaluation.output_folder import SavedRun
from scenesearch.home.feedback import FILE_NAME, Feedback
from scenesearch.home.installation import Installation
from scenesearch.home.saved_collections import SavedCollection, find_collection, save_collection
from scenesearch.search.request import QueryError, Request
from tests.conftest import ColourEncoder
from tests.unit.test_ui_library import png, said, settled
from tests.unit.test_ui_states import ask, cards, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import (
    LIBRARY,
    Shot,
    build_library,
    gallery,
    open_page,
    open_view,
    pick,
    reds,
    tiles,
)
from ui import ingest_jobs, resources
from ui.feedback import marks_of
from ui.views.gallery import act

RED, BLUE = (220, 30, 30), (30, 60, 220)
QUERIES = b"query_id,query_text,images\n1,a red wall,red-00.png\n2,blue,blue.png\n"


# --- by picture ------------------------------------------------------------------------------


def by_picture(name: str, data: bytes) -> AppTest:
    page = open_view("search")
    page.file_uploader(key="picture-0").upload(name, data, "image/png")
    return page.run()


def test_a_picture_finds_pictures_like_it(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, [*reds(1), Shot("blue.png", BLUE)])
    page = by_picture("mine.png", png(BLUE))
    assert not page.exception
    assert cards(page) == ["blue.png"]


def test_words_mix_with_the_picture(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    shots = [Shot("blue.png", BLUE), Shot("purple.png", (140, 40, 140)), *reds(1)]
    build_library(tmp_path, colour_encoder, shots)
    page = by_picture("mine.png", png(BLUE))
    page = ask(page, "red")
    assert not page.exception
    assert cards(page)[0] == "purple.png"
    page = page.button(key="picture-remove").click().run()
    assert cards(page)[0] == "red-00.png"


def test_what_is_no_picture_is_refused_with_its_reason(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    page = by_picture("mine.png", b"\x89PNG\r\n\x1a\n and no more")
    assert not page.exception
    assert "mine.png cannot be used: " in said(page)


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENESEARCH_MAX_MEGAPIXELS", "0.01")
    build_library(tmp_path, colour_encoder, reds(1))
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200), RED).save(buffer, "PNG")
    page = by_picture("large.png", buffer.getvalue())
    assert "0 megapixels, the limit is 0.01" in said(page)


# --- what is done with a picture -----------------------------------------------------------------


def test_a_picture_that_the_library_has_is_marked_and_collected(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    saved = tmp_path / "libraries" / LIBRARY / "saved-requests.json"
    save_collection(saved, SavedCollection("Album", ""))
    request = Request(text="red")
    act("wrong", "red-00.png", request, "")
    assert marks_of("red") == ((), ("red-00.png",))
    act("unmark", "red-00.png", request, "")
    assert marks_of("red") == ((), ())
    assert act("collect", "red-01.png", request, "Album") == "Added to Album"
    assert find_collection(saved, "Album").added == ("red-01.png",)
    for what, to in (("right", ""), ("collect", "Album")):
        with pytest.raises(QueryError, match="there is no such picture"):
            act(what, "gone.png", request, to)
    act("destroy", "red-00.png", request, "")  # what is not known does nothing


def test_on_a_page_for_reading_a_browser_changes_nothing(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    saved = tmp_path / "libraries" / LIBRARY / "saved-requests.json"
    save_collection(saved, SavedCollection("Album", ""))
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "true")
    can = gallery(ask(open_page(), "red"))["can"]
    assert (can["mark"], can["collect"], can["download"]) == (False, None, "copy")
    act("right", "red-00.png", Request(text="red"), "")
    act("collect", "red-00.png", Request(text="red"), "Album")
    assert marks_of("red") == ((), ())
    assert find_collection(saved, "Album").added == ()


# --- selection, saved requests, order ---------------------------------------------------------


def test_ticked_pictures_are_kept_over_answers_and_can_be_taken_back(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = pick(ask(open_page(), "red"), "red-00.png", "red-02.png", "gone.png")
    assert "3 selected" in texts(page)
    page = ask(page, "blue")
    assert "3 selected" in texts(page)
    assert gallery(page)["selected"] is None  # the browser's own
    clear = next(button for button in page.button if button.label == "Clear the selection")
    page = clear.click().run()
    assert not any(text.endswith(" selected") for text in texts(page))
    assert gallery(page)["selected"] == []
    assert gallery(page.run())["selected"] is None


@pytest.mark.slow
def test_a_request_is_saved_for_every_visitor_and_forgotten(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    page = ask(open_page(), "red :smile:")
    page.button(key="save").click().run()
    other = open_page()
    (saved,) = tiles(other)["Saved"]
    assert (saved["kind"], saved["text"]) == ("request", "red :smile:")
    assert "id=red-00.png&" in saved["picture"]
    other.selectbox(key="forget").select("red :smile:").run()
    assert "Saved" not in tiles(open_page())


def test_an_answer_is_ordered_by_a_field(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = ask(open_page(), "red")
    page = page.selectbox(key="order").select("Newest first").run()
    assert cards(page) == ["red-02.png", "red-01.png", "red-00.png"]


def test_what_was_called_right_and_wrong_for_a_text_orders_its_answer(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    assert gallery(ask(open_page(), "red"))["can"]["mark"] is True
    with closing(Feedback(tmp_path / "libraries" / LIBRARY / FILE_NAME)) as table:
        table.mark("red", ["red-00.png"], right=False)
    page = ask(open_page(), "red")
    page = page.selectbox(key="order").select("Best first, by what was called right").run()
    assert cards(page) == ["red-01.png", "red-02.png"]


# --- evaluation ------------------------------------------------------------------------------


def measured(which: list[str] | None = None) -> AppTest:
    page = open_view("evaluation")
    page.file_uploader(key="queries").upload("mine.csv", QUERIES, "text/csv")
    if which:
        page.multiselect(key="which").set_value(which)
    page = next(button for button in page.button if button.label == "Measure").click().run()
    return settled(page)


@pytest.mark.slow
def test_queries_are_measured_and_reported(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, [*reds(3), Shot("blue.png", BLUE)])
    page = measured()
    assert not page.exception
    assert "Done" in said(page)
    page = page.segmented_control(key="evaluation-part").set_value("Reports").run()
    assert not page.exception
    assert any(text.startswith("2 queries, gallery of 4 pictures") for text in texts(page))
    figures = page.dataframe[0].value
    assert figures[figures["figure"] == "Recall@1"]["value"].item() == "100.0 %"
    assert len(page.get("iframe")) == 1


def worse(a: SavedRun, b: SavedRun) -> Comparison:
    """B finds one of two queries' pictures in its first ten less often, by a loss that two queries
    cannot tell from none."""
    same = compare(a, b)
    lost = Difference("recall@10", 1.0, 0.5, -0.5, (-1.0, 0.0), 1.0)
    others = tuple(one for one in same.differences if one.metric != "recall@10")
    return replace(same, differences=(lost, *others), losses=1, ties=1)


@pytest.mark.slow
def test_two_encoders_are_compared_and_stand_side_by_side(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, [*reds(3), Shot("blue.png", BLUE)])
    other = ColourEncoder("other", "07e4")
    encoders = {None: other, "c0104f": colour_encoder, "07e4": other}
    monkeypatch.setattr(
        Installation, "load_encoder", lambda *_, of=None, **__: encoders[of and of.fingerprint]
    )
    ingest_jobs.start_build("other")
    resources.jobs().wait(30)
    page = measured(["photos-colour-1", "photos-other-1"])
    assert not page.exception
    parts = page.segmented_control(key="evaluation-part")
    page = parts.set_value("Compare").run()
    assert any(text.startswith("no difference: A and B place every") for text in texts(page))
    page = page.segmented_control(key="evaluation-part").set_value("Side by side").run()
    page.text_input(key="side-q").input("blue")
    page = next(button for button in page.button if button.label == "Ask both").click().run()
    assert not page.exception
    for side in range(2):
        told = gallery(page, f"gallery-side-{side}")
        assert told["items"][0]["id"] == "blue.png"
        assert told["selectable"] is False
    # Two queries exclude no loss, so the page asks, and nothing happens until it is told to.
    page = open_view("encoders")
    monkeypatch.setattr(promotion, "compare", worse)
    page = next(button for button in page.button if button.label == "Promote it").click().run()
    assert any("-50.0 points of recall@10, 95 % interval -100.0 to +0.0" in t for t in texts(page))
    assert "A is the live one, photos-colour-1, and B the new one, photos-other-1" in texts(page)
    assert resources.store().resolve(LIBRARY) == "photos-colour-1"
    page = page.button(key="promote-anyway").click().run()
    assert resources.store().resolve(LIBRARY) == "photos-other-1"
    page = page.button(key="rollback").click().run()
    monkeypatch.setattr(promotion, "compare", compare)
    # What was measured counts for the pictures that it was measured on.
    for collection in ("photos-colour-1", "photos-other-1"):
        resources.store().delete(collection, ["red-00.png"])
    page = open_view("encoders")
    page = next(button for button in page.button if button.label == "Promote it").click().run()
    assert "of other pictures than it holds now" in said(page)
    assert resources.store().resolve(LIBRARY) == "photos-colour-1"


def test_a_file_without_queries_is_told(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    page = open_view("evaluation")
    page.file_uploader(key="queries").upload("mine.csv", b"a,b\n1,2\n", "text/csv")
    page = next(button for button in page.button if button.label == "Measure").click().run()
    assert not page.exception
    assert "mine.csv" in said(page)
    assert resources.jobs().current is None


# --- models ----------------------------------------------------------------------------------


def test_the_shelf_names_the_live_encoder_and_shows_its_card() -> None:
    page = open_view("models")
    assert not page.exception
    table = page.dataframe[0].value
    assert list(table["encoder"]) == ["lite"]
    assert "for new libraries" in table["used"][0]
    assert any("lite" in str(block.value) for block in page.markdown)
