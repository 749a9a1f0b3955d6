"""Filters of the page, made from the fields a library declares."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from scenesearch.store.base import StoreError
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import ask, cards, headings, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import Shot, build_library, open_page, reds
from ui.views import filter_panel

RED = (230, 0, 0)


class Panel:
    """What the component in the browser was sent last. In this place it asks for counts in each
    run, as the browser does when the panel is in sight."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}

    def __call__(self, *, data: dict[str, Any], **_: Any) -> None:
        self.data = data

    def section(self, key: str) -> dict[str, Any]:
        (found,) = (one for one in self.data["sections"] if one["key"] == key)
        return dict(found)

    def values(self, key: str) -> dict[str, int | None]:
        return dict(self.section(key)["values"])


@pytest.fixture(autouse=True)
def panel(monkeypatch: pytest.MonkeyPatch) -> Panel:
    panel = Panel()
    monkeypatch.setattr(filter_panel, "component", lambda _: panel)
    return panel


def counted(page: AppTest) -> AppTest:
    page.session_state["filter-panel"] = {"wanted": "now"}
    return page.run()


def choose(page: AppTest, **chosen: list[str]) -> AppTest:
    for name, values in chosen.items():
        page.session_state[f"where-{name}"] = values
    return page.run()


def three_shapes() -> list[Shot]:
    return [
        Shot("wide.png", RED, size=(80, 40), payload={"camera": "Canon", "tags": ["sea", "sun"]}),
        Shot("high.png", RED, size=(40, 80), payload={"camera": "Nikon", "tags": ["sea"]}),
        Shot("even.png", RED, size=(40, 40)),
    ]


def test_choices_are_the_values_the_library_has_counted_once_they_are_in_sight(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = open_page()
    assert panel.data["pending"]
    assert panel.values("camera") == {"Canon": None, "Nikon": None}
    counted(page)
    assert not panel.data["pending"]
    assert panel.values("orientation") == {"landscape": 1, "portrait": 1, "square": 1}
    assert list(panel.section("tags")["values"]) == [("sea", 2), ("sun", 1)]


@pytest.mark.slow
def test_counts_are_those_of_the_answer_under_the_filters_of_other_fields(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel
) -> None:
    shots = [*three_shapes(), Shot("b.png", (30, 60, 220), payload={"camera": "Leica"})]
    build_library(tmp_path, colour_encoder, shots)
    page = counted(ask(open_page(), "red"))
    assert panel.values("camera") == {"Canon": 1, "Nikon": 1, "Leica": 0}
    choose(page, camera=["Nikon"])
    assert panel.values("camera") == {"Canon": 1, "Nikon": 1, "Leica": 0}
    assert panel.section("camera")["chosen"] == ["Nikon"]
    assert panel.values("orientation") == {"portrait": 1, "landscape": 0, "square": 0}


def test_another_request_is_counted_anew_and_the_same_one_is_not(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = counted(ask(open_page(), "red"))
    monkeypatch.setattr(filter_panel, "_count", None)  # it would fail
    assert not page.run().exception and not panel.data["pending"]
    page.session_state["filter-panel"] = {}
    ask(page, "a red boat")
    assert panel.data["pending"]


def test_counts_that_cannot_be_read_leave_the_answer_alone(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("the server is away")

    build_library(tmp_path, colour_encoder, three_shapes())
    monkeypatch.setattr(filter_panel, "_count", away)
    page = counted(ask(open_page(), "red"))
    assert "The values cannot be counted now." in texts(page)
    assert len(cards(page)) == 3 and not page.exception


def test_the_timeline_has_a_bar_for_each_month_of_the_answer(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel
) -> None:
    blue = Shot("b.png", (30, 60, 220), payload={"taken": "2020-03-01T12:00:00+00:00"})
    build_library(tmp_path, colour_encoder, [*reds(33), blue])
    page = counted(ask(open_page(), "red"))
    assert panel.section("taken")["bars"] == [["2020-01", 31], ["2020-02", 2]]
    page.session_state["where-taken-from"] = date(2020, 2, 1)
    page = page.run()
    assert cards(page) == ["red-31.png", "red-32.png"]
    # A range is chosen among all months, not among those that are left.
    assert panel.section("taken")["bars"] == [["2020-01", 31], ["2020-02", 2]]
    assert panel.section("taken")["from"] == "2020-02-01"


def test_what_is_brushed_is_written_into_the_dates(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel
) -> None:
    build_library(tmp_path, colour_encoder, reds(5))
    page = open_page()
    days = {"key": "taken", "chosen": ["2020-01-02", "no date"]}
    page.session_state["filter-panel"] = {"changed": days}
    script = "from ui.views import filter_panel\nfilter_panel._take()\n"
    taken = AppTest.from_string(script)
    for key in ("filter-panel", "filter-ends"):
        taken.session_state[key] = page.session_state[key]
    taken.run()
    assert taken.session_state["where-taken-from"] == date(2020, 1, 2)
    assert "where-taken-until" not in taken.session_state


@pytest.mark.parametrize(("least", "found"), [("4", ["4.png", "5.png"]), ("6", None)])
def test_pictures_of_so_many_stars_or_more(
    least: str,
    found: list[str] | None,
    tmp_path: Path,
    colour_encoder: ColourEncoder,
    panel: Panel,
) -> None:
    shots = [Shot(f"{stars}.png", RED, payload={"rating": float(stars)}) for stars in (-1, 4, 5)]
    build_library(tmp_path, colour_encoder, shots)
    page = open_page()
    assert panel.section("rating-from")["kind"] == "stars"
    page = choose(page, **{"rating-from": [least]})
    assert sorted(cards(page)) == (found or ["-1.png", "4.png", "5.png"])


def test_the_address_has_what_is_chosen_and_is_followed_when_others_change_it(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = choose(open_page(), tags=["sea"], camera=["Canon"])
    assert page.query_params["where-tags"] == "sea"
    page.query_params.clear()
    page.query_params["where-camera"] = ["Nikon"]  # as Back does
    page = page.run()
    assert cards(page) == ["high.png"]
    assert page.session_state["where-tags"] == []
    page = choose(page, camera=[])
    assert "where-camera" not in page.query_params
    assert len(cards(page)) == 3


def test_a_field_without_values_is_not_offered(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel
) -> None:
    build_library(tmp_path, colour_encoder, [Shot("plain.png", RED)])
    page = open_page()
    assert [one["key"] for one in panel.data["sections"]] == ["orientation"]
    assert len(page.date_input) == 0


def test_a_choice_narrows_the_answer_and_keeps_the_query(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = ask(open_page(), "red")
    page = choose(page, orientation=["portrait"])
    assert cards(page) == ["high.png"]
    assert page.text_input(key="q").value == "red"


def test_choices_of_two_fields_hold_together(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = open_page()
    page = choose(page, tags=["sea"])
    assert sorted(cards(page)) == ["high.png", "wide.png"]
    page = choose(page, camera=["Canon"])
    assert cards(page) == ["wide.png"]


@pytest.mark.slow
def test_filters_that_nothing_fits_can_be_cleared(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, three_shapes())
    page = ask(open_page(), "red")
    page = choose(page, tags=["sun"], camera=["Nikon"])
    assert ":material/filter_alt_off: No picture fits these filters" in headings(page)
    assert "no picture of this library passes all of Camera, Tags" in texts(page)
    page = page.button(key="clear-all").click().run()
    assert sorted(cards(page)) == ["even.png", "high.png", "wide.png"]
    assert page.session_state["where-camera"] == []


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


def test_a_custom_yes_or_no_becomes_a_choice(
    tmp_path: Path, colour_encoder: ColourEncoder, panel: Panel
) -> None:
    shots = [Shot(f"{value}.png", RED, payload={"indoors": value}) for value in (True, False)]
    build_library(tmp_path, colour_encoder, shots, custom={"indoors": "boolean"})
    page = open_page()
    assert sorted(panel.values("indoors")) == ["no", "yes"]
    page = choose(page, indoors=["yes"])
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
    page = choose(open_page(), q=["two"])
    assert cards(page) == ["b.png"]
