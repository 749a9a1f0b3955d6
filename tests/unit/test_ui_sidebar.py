"""Filters of the page, made from the fields a library declares."""

from datetime import date
from pathlib import Path

from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import ask, cards, headings, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import Shot, build_library, open_page, reds

RED = (230, 0, 0)


def three_shapes() -> list[Shot]:
    return [
        Shot("wide.png", RED, size=(80, 40), payload={"camera": "Canon", "tags": ["sea", "sun"]}),
        Shot("high.png", RED, size=(40, 80), payload={"camera": "Nikon", "tags": ["sea"]}),
        Shot("even.png", RED, size=(40, 40)),
    ]


def test_choices_are_the_values_the_library_has(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = open_page()
    assert page.multiselect(key="where-orientation").options == ["landscape", "portrait", "square"]
    assert page.multiselect(key="where-camera").options == ["Canon", "Nikon"]
    assert page.multiselect(key="where-tags").options == ["sea", "sun"]


def test_a_field_without_values_has_no_widget(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, [Shot("plain.png", RED)])
    page = open_page()
    assert [widget.key for widget in page.multiselect] == ["where-orientation"]
    assert len(page.date_input) == 0


def test_a_choice_narrows_the_answer_and_keeps_the_query(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = ask(open_page(), "red")
    page = page.multiselect(key="where-orientation").select("portrait").run()
    assert cards(page) == ["high.png"]
    assert page.text_input(key="q").value == "red"


def test_choices_of_two_fields_hold_together(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = open_page()
    page = page.multiselect(key="where-tags").select("sea").run()
    assert sorted(cards(page)) == ["high.png", "wide.png"]
    page = page.multiselect(key="where-camera").select("Canon").run()
    assert cards(page) == ["wide.png"]


def test_filters_that_nothing_fits_can_be_cleared(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = ask(open_page(), "red")
    page.multiselect(key="where-tags").select("sun")
    page = page.multiselect(key="where-camera").select("Nikon").run()
    assert ":material/filter_alt_off: No picture fits these filters" in headings(page)
    assert "no picture of this library passes all of Camera, Tags" in texts(page)
    page = page.button(key="clear-all").click().run()
    assert sorted(cards(page)) == ["even.png", "high.png", "wide.png"]
    assert page.multiselect(key="where-camera").value == []


def test_dates_are_meant_with_both_days_included(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(5))  # taken from 1 to 5 January 2020, at noon
    page = open_page()
    page.date_input(key="where-taken-from").set_value(date(2020, 1, 2))
    page = page.date_input(key="where-taken-until").set_value(date(2020, 1, 4)).run()
    assert sorted(cards(page)) == ["red-01.png", "red-02.png", "red-03.png"]


def test_a_custom_number_becomes_a_range(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    shots = [Shot(f"{stars}.png", RED, payload={"stars": stars}) for stars in (1, 3, 5)]
    build_library(tmp_path, colour_encoder, shots, custom={"stars": "integer"})
    page = open_page()
    page = page.number_input(key="where-stars-from").set_value(3).run()
    assert sorted(cards(page)) == ["3.png", "5.png"]
    page = page.number_input(key="where-stars-to").set_value(4).run()
    assert cards(page) == ["3.png"]


def test_a_custom_yes_or_no_becomes_a_choice(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    shots = [Shot(f"{value}.png", RED, payload={"indoors": value}) for value in (True, False)]
    build_library(tmp_path, colour_encoder, shots, custom={"indoors": "boolean"})
    page = open_page()
    assert page.multiselect(key="where-indoors").options == ["no", "yes"]
    page = page.multiselect(key="where-indoors").select("yes").run()
    assert cards(page) == ["True.png"]


def test_a_custom_text_is_searched_by_its_words(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [
        Shot("a.png", RED, payload={"notes": "bought in Paris"}),
        Shot("b.png", RED, payload={"notes": "bought in Rome"}),
    ]
    build_library(tmp_path, colour_encoder, shots, custom={"notes": "text"})
    page = open_page().text_input(key="where-notes").set_value("paris").run()
    assert cards(page) == ["a.png"]


def test_a_column_named_like_the_search_box_has_its_own_widget(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [Shot("a.png", RED, payload={"q": "one"}), Shot("b.png", RED, payload={"q": "two"})]
    build_library(tmp_path, colour_encoder, shots, custom={"q": "keyword"})
    page = open_page().multiselect(key="where-q").select("two").run()
    assert cards(page) == ["b.png"]
