"""What a page or a browser of pictures asks: lists, values, marks, and what the server allows."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.unit.serve_world import (
    KeyRing,
    ids,
    make_library,
    problem,
    serving,
)
from tests.unit.serve_world import colour_encoders as colour_encoders

pytestmark = pytest.mark.usefixtures("colour_encoders")

EVERY = ["private/green.png", "private/red.png", "public/blue.png", "public/red.png"]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    make_library(tmp_path)
    with serving(tmp_path) as client:
        yield client


@pytest.fixture
def ring() -> KeyRing:
    ring = KeyRing()
    ring.add("site", where="folder=public")
    ring.add("writer", "write")
    return ring


def listed(client: TestClient, query: str = "", **headers: str) -> list[str]:
    response = client.get(f"/v1/images?{query}", headers=headers)
    assert response.status_code == 200, response.text
    return [image["image_id"] for image in response.json()["images"]]


def test_a_list_has_every_picture_with_what_is_known_of_it(client: TestClient) -> None:
    answer = client.get("/v1/images").json()
    assert sorted(image["image_id"] for image in answer["images"]) == EVERY
    assert (answer["library"], answer["pictures"], answer["next"]) == ("photos", 4, None)
    for image in answer["images"]:
        assert image == client.get(f"/v1/images/{image['image_id']}").json()


def test_the_parts_of_a_list_make_the_whole(client: TestClient) -> None:
    whole, parts, after = listed(client), list[str](), ""
    while after is not None:
        answer = client.get("/v1/images", params={"limit": 3} | ({"after": after} if after else {}))
        parts += [image["image_id"] for image in answer.json()["images"]]
        after = answer.json()["next"]
    assert parts == whole


def test_a_list_is_filtered_and_zero_of_it_counts(client: TestClient) -> None:
    assert sorted(listed(client, "where=tag:wall")) == ["private/red.png", "public/red.png"]
    counted = client.get("/v1/images", params={"where": "tag:wall", "limit": 0}).json()
    assert (counted["pictures"], counted["images"], counted["next"]) == (2, [], None)


def test_pictures_are_listed_by_id_and_unknown_ones_left_out(client: TestClient) -> None:
    assert listed(client, "id=public/red.png&id=none.png") == ["public/red.png"]


def test_only_the_named_keys_of_the_payload_are_given(client: TestClient) -> None:
    (image,) = client.get("/v1/images?id=public/red.png&field=camera").json()["images"]
    assert image["payload"] == {"camera": "Canon A1"}
    assert image["path"].endswith("public/red.png")


@pytest.mark.parametrize("field", ["", 'a"b'])
def test_a_key_that_no_payload_can_have_is_told(client: TestClient, field: str) -> None:
    answer = client.get("/v1/images", params={"field": field})
    assert answer.status_code == 400
    assert "cannot name a payload field" in answer.json()["detail"]


def test_a_wrong_filter_of_a_list_is_told(client: TestClient) -> None:
    assert "no field 'colour'" in problem(client.get("/v1/images?where=colour:red"), 400)


def test_the_values_of_a_field_come_with_their_counts(client: TestClient) -> None:
    answer = client.get("/v1/values?field=tag&limit=2").json()
    assert answer["field"] == "tags"
    assert {(one["value"], one["count"]) for one in answer["values"]} == {
        ("wall", 2),
        ("secret", 2),
    }


def test_the_values_of_a_field_that_has_no_few_cannot_be_counted(client: TestClient) -> None:
    assert "taken" in problem(client.get("/v1/values?field=taken"), 400)


def test_marks_can_be_read_again(client: TestClient) -> None:
    said = {"text": "a wall", "images": ["public/red.png"], "mark": "right"}
    assert client.get("/v1/feedback?q=a wall").json() == {"right": [], "wrong": []}
    client.post("/v1/feedback", json=said)
    client.post("/v1/feedback", json=said | {"images": ["public/blue.png"], "mark": "wrong"})
    assert client.get("/v1/feedback?q=a wall").json() == {
        "right": ["public/red.png"],
        "wrong": ["public/blue.png"],
    }


def test_a_search_leans_towards_right_pictures_and_leaves_wrong_ones_out(
    client: TestClient,
) -> None:
    asked = {"text": "red", "min_relevance": 0}
    leaning = asked | {"right": ["public/blue.png"], "wrong": ["private/red.png"]}
    plain, leaned = (ids(client.post("/v1/search", json=one)) for one in (asked, leaning))
    assert plain.index("private/green.png") < plain.index("public/blue.png")
    assert leaned.index("public/blue.png") < leaned.index("private/green.png")
    assert "private/red.png" in plain
    assert "private/red.png" not in leaned


def test_words_may_be_left_out_of_a_ranking(client: TestClient) -> None:
    asked = {"text": "red", "min_relevance": 0}
    alone = ids(client.post("/v1/search", json=asked | {"hybrid": False}))
    assert alone == ids(client.post("/v1/search", json=asked))
    refused = client.post("/v1/search", json=asked | {"hybrid": True, "sort": "price"})
    assert "one of them" in problem(refused, 400)


def test_a_filtered_key_lists_counts_and_reads_its_own_pictures_alone(
    tmp_path: Path, ring: KeyRing
) -> None:
    make_library(tmp_path)
    with serving(tmp_path, ring.keys) as client:
        site, writer = ring.headers("site"), ring.headers("writer")
        for name, mark in (("public/red.png", "right"), ("private/red.png", "wrong")):
            said = {"text": "a wall", "images": [name], "mark": mark}
            assert client.post("/v1/feedback", json=said, headers=writer).status_code == 200
        assert sorted(listed(client, **site)) == ["public/blue.png", "public/red.png"]
        assert client.get("/v1/images?limit=0", headers=site).json()["pictures"] == 2
        assert listed(client, "id=private/red.png", **site) == []
        values = client.get("/v1/values?field=tags", headers=site).json()["values"]
        assert {one["value"] for one in values} == {"wall", "sea"}
        marks = client.get("/v1/feedback?q=a wall", headers=site).json()
        assert marks == {"right": ["public/red.png"], "wrong": []}
        leaning = {"text": "red", "min_relevance": 0, "right": ["private/green.png"]}
        leaned = client.post("/v1/search", json=leaning, headers=site)
        plain = client.post("/v1/search", json={"text": "red", "min_relevance": 0}, headers=site)
        assert ids(leaned) == ids(plain)


def test_the_server_says_its_version_and_what_a_key_may_do(tmp_path: Path, ring: KeyRing) -> None:
    make_library(tmp_path)
    for read_only in (False, True):
        with serving(tmp_path, ring.keys, api_read_only=read_only, api_max_limit=7) as client:
            of = {
                name: client.get("/v1/libraries", headers=ring.headers(name)).json()
                for name in ("site", "writer")
            }
        assert of["site"]["version"] == version("scenesearch")
        assert of["site"]["max_limit"] == 7
        assert of["site"]["may_write"] is False
        assert of["writer"]["may_write"] is not read_only


def test_the_usual_relevance_is_that_of_the_library_or_of_the_settings(tmp_path: Path) -> None:
    make_library(tmp_path)
    with serving(tmp_path) as client:
        usual = client.get("/v1/fields").json()["min_relevance"]
        assert usual == client.post("/v1/search", json={"text": "red blue"}).json()["min_relevance"]
    with serving(tmp_path, min_relevance=0.4) as client:
        assert client.get("/v1/fields").json()["min_relevance"] == 0.4
