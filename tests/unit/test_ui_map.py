"""The maps of the page: what their browsers fetch, their colours, the filter by place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from pydantic import SecretStr
from starlette.testclient import TestClient

from scenesearch.home.settings import Settings
from scenesearch.store.fields import PayloadField
from tests.conftest import ColourEncoder
from tests.unit.test_ui_states import cards, texts
from tests.unit.test_ui_states import page_of_its_own as page_of_its_own  # each test's fixture
from tests.unit.ui_world import LIBRARY, Shot, build_library, open_page, open_view, reds
from tests.unit.ui_world import any_host as any_host  # each test's fixture
from ui.access import hash_password
from ui.map import likeness
from ui.map.chosen import box_of, number_of, outline_of, part_of, selected
from ui.map.colours import NONE, colours_of
from ui.map.likeness import make_map, read_map
from ui.map.routes import MOST_PICTURES, map_app
from ui.map.shown import ShownMaps, packed, shown_maps
from ui.middleware import AccessMiddleware
from ui.resources import jobs, leased_store

RED = (220, 30, 30)
MARKUP = "<img src=x onerror=alert(1)> **bold**"


def placed(name: str, latitude: float, longitude: float) -> Shot:
    return Shot(name, RED, payload={"location": {"lat": latitude, "lon": longitude}})


@pytest.fixture
def visitor() -> TestClient:
    return TestClient(map_app())


def kept(ids: list[str]) -> str:
    """The token of a map of these pictures."""
    places = np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2)
    return shown_maps().keep(ids, packed(places, np.arange(len(ids), dtype=np.uint8)))[0]


# --- what a browser fetches


def test_points_are_a_count_places_and_parts(visitor: TestClient) -> None:
    answer = visitor.get("/maps/points", params={"map": kept(["a.png", "b.png", "c.png"])})
    data = answer.content
    assert np.frombuffer(data[:4], "<u4").tolist() == [3]
    assert np.frombuffer(data[4:28], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert list(data[28:]) == [0, 1, 2]
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_a_hundred_thousand_pictures_are_900_kilobytes() -> None:
    places, labels = np.zeros((100_000, 2), np.float32), np.zeros(100_000, np.uint8)
    assert len(packed(places, labels)) == 900_004


def test_pictures_are_named_by_their_numbers(
    tmp_path: Path, colour_encoder: ColourEncoder, visitor: TestClient
) -> None:
    build_library(tmp_path, colour_encoder, [*reds(2), Shot("x.png", RED)])
    token = kept(["red-00.png", "red-01.png", "gone.png"])
    found = visitor.get("/maps/pictures", params={"map": token, "n": "1,2,0,7"}).json()["pictures"]
    assert [(one["n"], one["id"], one["title"]) for one in found] == [
        (1, "red-01.png", "red-01.png"),
        (0, "red-00.png", "red-00.png"),
    ]
    assert all(len(one["v"]) == 16 for one in found)


@pytest.mark.parametrize(
    "numbers", ["", "x", "-1", "1,,2", "²", ",".join("1" * (MOST_PICTURES + 1))]
)
def test_what_are_no_numbers_of_pictures_is_refused(numbers: str, visitor: TestClient) -> None:
    answer = visitor.get("/maps/pictures", params={"map": kept(["a.png"]), "n": numbers})
    assert answer.status_code == 400
    assert "numbers are meant" in answer.json()["error"]


@pytest.mark.parametrize("path", ["points", "pictures?n=0", "colours?field=tags"])
def test_a_map_that_nobody_is_shown_is_gone(path: str, visitor: TestClient) -> None:
    joint = "&" if "?" in path else "?"
    assert visitor.get(f"/maps/{path}{joint}map={'0' * 32}").status_code == 410


def test_the_latest_maps_are_kept_and_the_same_map_has_one_token() -> None:
    maps = ShownMaps()
    tokens = [maps.keep([str(n)], bytes([n]))[0] for n in range(9)]
    assert maps.get(tokens[0]) is None
    assert maps.get(tokens[8]) is not None
    assert maps.keep(["8"], bytes([8]))[0] == tokens[8]
    assert ShownMaps().keep(["8"], bytes([8]))[0] != tokens[8]  # not to be guessed


def test_coastlines_are_rings_of_places_on_earth(visitor: TestClient) -> None:
    numbers = np.frombuffer(visitor.get("/maps/land").content, "<i2").astype(int)
    at, rings = 0, 0
    while at < len(numbers):
        ring = numbers[at + 1 : at + 1 + 2 * numbers[at]].reshape(-1, 2) / 100
        assert len(ring) == numbers[at] > 3
        assert np.abs(ring[:, 1]).max() <= 90
        # One that crosses the 180th meridian goes on beyond it.
        assert np.abs(ring[:, 0]).max() < 200
        at, rings = at + 1 + 2 * numbers[at], rings + 1
    assert rings > 1000


def test_nobody_gets_anything_of_a_map_without_a_login(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, page_password=SecretStr(hash_password("secret")), library=LIBRARY
    )
    guarded = TestClient(AccessMiddleware(map_app(), settings))
    for path in ("points", "pictures", "colours", "land"):
        assert guarded.get(f"/maps/{path}").status_code == 401


# --- what was selected


def test_a_selection_is_checked_whoever_sent_it() -> None:
    triangle = [[0, 0], [2, 0], [0, 2]]
    assert outline_of({"outline": triangle}) == [(0, 0), (2, 0), (0, 2)]
    places = np.array([[0.5, 0.5], [1.5, 1.5]], np.float32)
    found = selected({"outline": triangle}, places)
    assert found is not None and found.tolist() == [0]
    for wrong in (
        None,
        [],
        {"outline": "abc"},
        {"outline": [[0, 0], [1, 1]]},
        {"outline": [[0, 0], [1, 1], [1, "x"]]},
        {"outline": [[0, 0], [1, 1], [1, float("nan")]]},
        {"outline": [[0, 0]] * 401},
    ):
        assert outline_of(wrong) is None
    assert part_of({"part": 2}, 3) == 2
    for part in (3, -1, True, 1.5, "1", None):
        assert part_of({"part": part}, 3) is None
    assert number_of(1, 2) == 1
    assert number_of(2, 2) is None


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("48.1,-2.2,48.9,2.6", (48.1, -2.2, 48.9, 2.6)),
        ("-17,179,-16,-179", (-17, 179, -16, -179)),
        ("48.9,2.2,48.1,2.6", None),
        ("1,2,3", None),
        ("1,2,3,nan", None),
        ("1,2,3,181", None),
        ("a,b,c,d", None),
        (None, None),
    ],
)
def test_a_box_is_south_west_north_east(text: str | None, box: tuple[float, ...] | None) -> None:
    assert box_of(text) == box


# --- colours


def by_field(type_: Any, *values: Any) -> Any:
    field = PayloadField("f", type_, "F", multiple=type_ == "keyword")
    ids = [str(number) for number in range(len(values))]
    read = [(one, {"f": value}) for one, value in zip(ids, values, strict=True)]
    return colours_of(field, ids, reversed(read))


def test_frequent_words_have_colours_and_the_rest_are_others() -> None:
    found = by_field("keyword", *[["b"]] * 3, *[["a"]] * 4, None, [], *[[str(n)] for n in range(9)])
    assert found.names == ["a", "b", *map(str, range(8)), "others"]
    assert list(found.codes) == [1] * 3 + [0] * 4 + [NONE] * 2 + list(range(2, 10)) + [10]


def test_numbers_years_and_yes_or_no_have_colours() -> None:
    found = by_field("float", 1, 2.5, None, 4)
    assert (list(found.codes), found.low, found.high) == ([0, 127, NONE, 254], "1", "4")
    years = by_field("datetime", "2019-05-01T10:00:00Z", "x", "2021-01-01T00:00:00Z")
    assert (list(years.codes), years.low, years.high) == ([0, NONE, 254], "2019", "2021")
    assert by_field("boolean", True, False, True).names == ["yes", "no"]


def test_a_field_without_values_has_no_colours() -> None:
    found = by_field("integer", None, None)
    assert (list(found.codes), found.names) == ([NONE, NONE], [])


# --- the views


def test_the_map_is_made_once_and_kept(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(6))
    page = open_view("map")
    assert not page.exception
    folder = tmp_path / "libraries" / LIBRARY / "layouts"
    assert sorted(file.name for file in folder.iterdir()) == ["map-layout.npz", "map.npz"]
    found = read_map(f"{LIBRARY}-{colour_encoder.info.name}-1")
    assert found is not None and sorted(found.ids) == [f"red-0{n}.png" for n in range(6)]
    monkeypatch.setattr("ui.views.map.make_map", None)
    assert not page.selectbox(key="colour").select_index(0).run().exception


def test_a_map_is_made_anew_when_the_library_has_changed(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    build_library(tmp_path, colour_encoder, reds(6))
    assert not open_view("map").exception
    before = read_map(f"{LIBRARY}-{colour_encoder.info.name}-1")
    with leased_store() as store:
        store.delete(LIBRARY, ["red-00.png"])
    assert not open_view("map").exception
    after = read_map(f"{LIBRARY}-{colour_encoder.info.name}-1")
    assert before is not None and after is not None
    assert len(before.ids) == 6 and len(after.ids) == 5


def test_a_folder_that_cannot_be_written_costs_only_the_saving(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(3))

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(likeness.library_map, "save", full)
    make_map()
    assert read_map(f"{LIBRARY}-{colour_encoder.info.name}-1") is not None


def test_a_large_library_s_map_is_made_in_the_background(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(6))
    monkeypatch.setattr("ui.views.map.FEW", 5)
    page = open_view("map")
    jobs().wait(30)
    page = page.run()
    assert not page.exception
    assert read_map(f"{LIBRARY}-{colour_encoder.info.name}-1") is not None
    assert jobs().current is None  # the map itself says that it was made


def test_a_map_that_cannot_be_made_is_begun_again_by_a_button(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, reds(6))
    monkeypatch.setattr("ui.views.map.FEW", 5)
    monkeypatch.setattr("ui.views.map.make_map", lambda job: 1 // 0)
    page = open_view("map")
    jobs().wait(30)
    page = page.run()
    assert "Failed" in page.markdown[0].value
    monkeypatch.setattr("ui.views.map.make_map", make_map)
    page = page.button(key="make").click().run()
    jobs().wait(30)
    assert not page.run().exception
    assert read_map(f"{LIBRARY}-{colour_encoder.info.name}-1") is not None


def test_the_map_by_place_is_offered_where_places_are_shown(
    tmp_path: Path, colour_encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_library(tmp_path, colour_encoder, [*reds(2), placed("p.png", 55.7, 37.6)])
    page = open_view("map")
    assert page.segmented_control(key="which-map").options == ["By likeness", "By place"]
    page = page.segmented_control(key="which-map").set_value("By place").run()
    assert not page.exception
    monkeypatch.setenv("SCENESEARCH_PAGE_READ_ONLY", "1")
    st.cache_resource.clear()
    page = open_view("map")
    assert not page.exception
    assert len(page.segmented_control) == 0


def test_a_library_without_places_says_so(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, reds(2))
    page = open_view("map").segmented_control(key="which-map").set_value("By place").run()
    assert "No picture of this library has a place." in texts(page)


# --- the filter


def test_a_box_in_the_address_filters_by_place(
    tmp_path: Path, colour_encoder: ColourEncoder
) -> None:
    shots = [placed("moscow.png", 55.75, 37.62), placed("paris.png", 48.86, 2.35), *reds(1)]
    build_library(tmp_path, colour_encoder, shots)
    page = open_page()
    assert sorted(cards(page)) == ["moscow.png", "paris.png", "red-00.png"]
    page.session_state["where-location"] = ["48,2,49,3"]
    page = page.run()
    assert not page.exception
    assert cards(page) == ["paris.png"]
    assert page.query_params["where-location"] == "48,2,49,3"
    page = page.button(key="clear").click().run()
    assert sorted(cards(page)) == ["moscow.png", "paris.png", "red-00.png"]
    assert "where-location" not in page.query_params


def test_a_box_that_is_none_filters_nothing(tmp_path: Path, colour_encoder: ColourEncoder) -> None:
    build_library(tmp_path, colour_encoder, [placed("moscow.png", 55.75, 37.62)])
    page = open_page()
    page.session_state["where-location"] = [MARKUP]
    page = page.run()
    assert not page.exception
    assert cards(page) == ["moscow.png"]
