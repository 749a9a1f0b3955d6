"""What a picture is called before people: words, else its name, never a hash."""

import pytest

from scenesearch.home.titles import title_of, written_date

TAKEN = {"taken": "2019-07-12T18:20:00+02:00"}


@pytest.mark.parametrize(
    "name",
    [
        "d41d8cd98f00b204e9800998ecf8427e.jpg",
        "9f86d081884c7d65.png",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301.jpg",
        "1000092795_f1a2b3c4d5.jpg",
        "1562948400.jpg",
        "x7Gk2LmQ9pRt4vWz8yBn.webp",
    ],
)
def test_a_name_that_a_program_gave_is_told_by_the_day(name: str) -> None:
    assert title_of(name, TAKEN) == "Photograph of 12 July 2019"
    assert title_of(name, {}) == "Photograph without a name"
    assert title_of(name, TAKEN | {"captions": ["a dog in snow"]}) == "a dog in snow"
    assert title_of(name, TAKEN | {"title": "Rex"}) == "Rex"


@pytest.mark.parametrize(
    "name", ["20190712_182000.jpg", "PXL_20190712_182000123.MP.jpg", "IMG_20190712_182000.jpg"]
)
def test_a_name_that_is_a_moment_is_told_by_the_day_where_that_is_known(name: str) -> None:
    assert title_of(f"trip/{name}", TAKEN) == "Photograph of 12 July 2019"
    assert title_of(f"trip/{name}", {}) == name


@pytest.mark.parametrize(
    "name",
    ["IMG_1234.jpg", "DSC01234.ARW", "beach.jpg", "deadbeef.jpg", "Paris 2019.jpg", "42.png"],
)
def test_a_name_that_people_know_stays(name: str) -> None:
    assert title_of(f"trip/{name}", TAKEN) == name


def test_a_caption_without_letters_is_none() -> None:
    assert title_of("beach.jpg", {"captions": [" ", "the sea"]}) == "the sea"


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        (TAKEN, "12 July 2019"),
        ({"taken": "2019-07-01", "taken_until": "2019-08-01"}, "July 2019"),
        ({"taken": "2019-01-01", "taken_until": "2020-01-01"}, "2019"),
        ({"taken": "yesterday"}, ""),
        ({}, ""),
    ],
)
def test_a_date_says_no_more_than_is_known(payload: dict[str, str], written: str) -> None:
    assert written_date(payload) == written
