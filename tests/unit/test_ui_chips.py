"""The filters of the search box, shown as buttons that take them out of it."""

from datetime import date
from pathlib import Path

from streamlit.testing.v1 import AppTest

import ui
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import ask, cards, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.test_ui_views import by_picture, png
from tests.unit.ui_world import Shot, build_library, open_page, reds

RED = (230, 0, 0)
GROUP = "(camera:canon or camera:nikon)"


def build(folder: Path, encoder: ColourEncoder) -> None:
    shots = [
        Shot("canon.png", RED, payload={"camera": "Canon", "tags": ["sea"]}),
        Shot("nikon.png", (228, 4, 4), payload={"camera": "Nikon", "tags": ["sea", "draft"]}),
        Shot("leica.png", (226, 8, 8), payload={"camera": "Leica", "tags": ["sea"]}),
    ]
    build_library(folder, encoder, shots)


def chips(page: AppTest) -> list[str]:
    return [
        button.label.replace("\\", "").replace("\u2060", "")
        for button in page.button
        if str(button.key).startswith("chip-")
    ]


def test_each_part_that_must_hold_is_a_chip_and_a_group_is_one(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(open_page(), f"red or (pink) {GROUP} -tag:draft")
    assert not page.exception
    assert cards(page) == ["canon.png"]
    assert chips(page) == [GROUP, "-tags:draft"]


def test_a_click_takes_the_group_out_of_the_box_and_nothing_else(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(open_page(), f"red (pink) {GROUP} -tag:draft")
    page = page.button(key="chip-0").click().run()
    assert page.text_input(key="q").value == "red (pink) -tags:draft"
    assert sorted(cards(page)) == ["canon.png", "leica.png"]
    page = page.button(key="chip-0").click().run()
    assert page.text_input(key="q").value == "red (pink)"
    assert chips(page) == []


def test_without_filters_there_is_no_chip(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build(tmp_path, colour_encoder)
    assert chips(ask(open_page(), "red or (pink)")) == []


def test_the_last_chip_leads_back_to_the_library(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(open_page(), GROUP)
    assert sorted(cards(page)) == ["canon.png", "nikon.png"]
    page = page.button(key="chip-0").click().run()
    assert "3 pictures in this library" in texts(page)


def test_the_filters_beside_the_answer_leave_a_group_in_the_box_alone(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(open_page(), f"red {GROUP}")
    page.session_state["where-tags"] = ["draft"]
    page = page.run()
    assert cards(page) == ["nikon.png"]
    assert page.text_input(key="q").value == f"red {GROUP}"
    page = page.button(key="clear").click().run()
    assert sorted(cards(page)) == ["canon.png", "nikon.png"]
    assert chips(page) == [GROUP]


def test_a_mistake_in_a_group_is_one_sentence(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(open_page(), "red (camera:canon or camera:nikon")
    assert not page.exception
    assert "(camera:canon or camera:nikon: '(' is not closed" in texts(page)
    page = ask(page, "(camra:canon or camera:nikon)")
    assert any(
        text.startswith(
            "camra:canon: this library has no field 'camra'; did you mean camera:canon?"
        )
        for text in texts(page)
    )


def test_an_address_of_the_page_holds_a_group(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = AppTest.from_file(str(Path(ui.__file__).with_name("app.py")), default_timeout=30)
    page.query_params["q"] = f"red {GROUP}"
    page = page.run()
    assert sorted(cards(page)) == ["canon.png", "nikon.png"]


def test_words_beside_a_picture_have_chips_too(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(by_picture("mine.png", png(RED)), GROUP)
    assert chips(page) == [GROUP]
    page = page.button(key="chip-0").click().run()
    assert page.text_input(key="q").value == ""
    assert len(cards(page)) == 3


def test_what_is_chosen_in_the_sidebar_is_a_chip_and_a_click_removes_it_there(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build(tmp_path, colour_encoder)
    page = ask(open_page(), "red -tag:draft")
    page.session_state["where-camera"] = ["Nikon", "Leica"]
    page = page.run()
    assert cards(page) == ["leica.png"]
    assert chips(page) == ["-tags:draft", "camera=Nikon,Leica"]
    page = page.button(key="chip-where-camera").click().run()
    assert chips(page) == ["-tags:draft"]
    assert sorted(cards(page)) == ["canon.png", "leica.png"]
    assert page.text_input(key="q").value == "red -tag:draft"


def test_a_chip_removes_both_ends_of_a_range(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, reds(3))
    page = ask(open_page(), "red")
    page.session_state["where-taken-from"] = date(2020, 1, 1)
    page.session_state["where-taken-until"] = date(2020, 1, 2)
    page = page.run()
    assert chips(page) == ["taken:>=2020-01-01 taken:<2020-01-03"]
    page = page.button(key="chip-where-taken").click().run()
    assert chips(page) == []
    assert page.date_input(key="where-taken-from").value is None
    assert page.date_input(key="where-taken-until").value is None
