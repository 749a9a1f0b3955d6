"""The views by picture, map, evaluation and models, each over a real embedded store."""

import io
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from scenesearch.home.feedback import FILE_NAME, Feedback
from scenesearch.home.installation import Installation
from scenesearch.search import library_map
from tests.conftest import ColourEncoder
from tests.unit.test_ui_library import png, said, settled
from tests.unit.test_ui_states import ask, cards, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import LIBRARY, Shot, build_library, open_page, open_view, reds
from ui import ingest_jobs, resources

RED, BLUE = (220, 30, 30), (30, 60, 220)
QUERIES = b"query_id,query_text,images\n1,a red wall,red-00.png\n2,blue,blue.png\n"


# --- by picture ------------------------------------------------------------------------------


def by_picture(name: str, data: bytes) -> AppTest:
    page = open_view("by_picture")
    page.file_uploader(key="picture").upload(name, data, "image/png")
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
    page.text_input(key="mixed").input("red")
    page = next(button for button in page.button if button.label == "Search").click().run()
    assert not page.exception
    assert cards(page)[0] == "purple.png"


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


# --- detail ----------------------------------------------------------------------------------


def test_more_like_this_asks_for_the_picture(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    page = ask(open_page(), "red").button(key="open-1").click().run()
    page = next(button for button in page.button if button.label == "More like this").click().run()
    page = page.run()
    assert page.text_input(key="q").value == "like:red-00.png"
    assert cards(page) == ["red-01.png"]


def test_not_this_takes_what_is_like_it_out_of_the_request(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    page = ask(open_page(), "red").button(key="open-1").click().run()
    page = next(button for button in page.button if button.label == "Not this").click().run()
    assert page.run().text_input(key="q").value == "red - like:red-00.png"


# --- selection, saved requests, facets ---------------------------------------------------------


def test_ticked_pictures_are_kept_over_pages_and_can_be_taken_back(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(30))
    page = ask(open_page(), "red")
    page.checkbox[0].check().run()
    page = next(button for button in page.button if button.label == "Next").click().run()
    page.checkbox[0].check().run()
    assert "2 selected" in texts(page)
    clear = next(button for button in page.button if button.label == "Clear the selection")
    page = clear.click().run()
    assert not any(text.endswith(" selected") for text in texts(page))
    assert not any(box.value for box in page.checkbox)


def test_a_request_is_saved_for_every_visitor_and_forgotten(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(1))
    page = ask(open_page(), "red :smile:")
    page.button(key="save").click().run()
    other = open_page()
    assert other.button(key="ask-saved-0").label.replace("\u2060", "") == r"red \:smile\:"
    other.selectbox(key="forget").select("red :smile:").run()
    assert "ask-saved-0" not in [str(button.key) for button in open_page().button]


def test_a_facet_counts_the_answer_and_narrows_it(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [
        Shot(f"{number}.png", (220, 30 + number, 30), payload={"camera": camera})
        for number, camera in enumerate(["Canon", "Canon", "Nikon"])
    ]
    build_library(tmp_path, colour_encoder, [*shots, Shot("b.png", BLUE, payload={"camera": "X"})])
    page = ask(open_page(), "red").toggle(key="facets").set_value(True).run()
    labels = {str(b.key): b.label.replace("\u2060", "") for b in page.button}
    assert labels["facet-camera-Canon"] == "Canon · 2"
    assert "facet-camera-X" not in labels
    page = page.button(key="facet-camera-Nikon").click().run()
    assert cards(page) == ["2.png"]


def test_an_answer_is_ordered_by_a_field(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = ask(open_page(), "red")
    page = page.selectbox(key="order").select("Newest first").run()
    assert cards(page) == ["red-02.png", "red-01.png", "red-00.png"]


def test_what_was_called_right_and_wrong_for_a_text_orders_its_answer(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = ask(open_page(), "red").button(key="open-1").click().run()
    assert page.segmented_control(key="verdict-red-00.png").options == ["Right", "Wrong"]
    with closing(Feedback(tmp_path / "libraries" / LIBRARY / FILE_NAME)) as table:
        table.mark("red", ["red-00.png"], right=False)
    page = ask(open_page(), "red")
    page = page.selectbox(key="order").select("Best first, by what was called right").run()
    assert cards(page) == ["red-01.png", "red-02.png"]


# --- map -------------------------------------------------------------------------------------


def test_the_map_draws_every_picture_coloured_by_a_field(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(6))
    page = open_view("map")
    assert not page.exception
    assert any(text.startswith("6 pictures; similar ones are close") for text in texts(page))
    page = page.selectbox(key="colour").select_index(2).run()
    assert not page.exception


def test_neighbours_are_computed_once_and_kept(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(6))
    calls = []

    def computed(vectors: object) -> object:
        calls.append(1)
        return library_map.principal_components(vectors)  # type: ignore[arg-type]

    monkeypatch.setattr(library_map, "neighbours", computed)
    monkeypatch.setattr(library_map, "has_neighbours", lambda: True)
    page = open_view("map").selectbox(key="way").select("Neighbours (t-SNE)").run()
    page = settled(page.button(key="tsne").click().run())
    assert not page.exception
    assert [button.key for button in page.button if button.key == "tsne"] == []
    assert len(list((tmp_path / "libraries" / LIBRARY / "layouts").iterdir())) == 1
    assert calls == [1]


# --- evaluation ------------------------------------------------------------------------------


def measured(which: list[str] | None = None) -> AppTest:
    page = open_view("evaluation")
    page.file_uploader(key="queries").upload("mine.csv", QUERIES, "text/csv")
    if which:
        page.multiselect(key="which").set_value(which)
    page = next(button for button in page.button if button.label == "Measure").click().run()
    return settled(page)


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


def test_two_encoders_are_compared_and_stand_side_by_side(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, [*reds(3), Shot("blue.png", BLUE)])
    other = ColourEncoder("other", "07e4")
    encoders = {None: other, "c0104f": colour_encoder, "07e4": other}
    monkeypatch.setattr(
        Installation, "load_encoder", lambda *_, fingerprint=None, **__: encoders[fingerprint]
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
    assert texts(page).count("blue.png") == 2
    # What was measured counts for the pictures that it was measured on.
    for collection in ("photos-colour-1", "photos-other-1"):
        resources.store().delete(collection, ["red-00.png"])
    page = open_view("library").segmented_control(key="part").set_value("Encoders").run()
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
