"""`/v1/search`, and what there is: answers, filters, facets, caches, errors."""

import base64
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import scenesearch
from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from scenesearch.notebook import open_library
from scenesearch.store.base import StoreUnavailable
from scenesearch.store.edge import EdgeStore
from scenesearch.store.written import WrittenLine, written_payload
from tests.conftest import COLOURS
from tests.unit.serve_world import (
    LIBRARY,
    SHOTS,
    colour_encoders,  # noqa: F401 - a fixture
    ids,
    make_library,
    problem,
    serving,
)
from tests.unit.serve_world import client as client  # a fixture
from tests.unit.serve_world import folder as folder  # a fixture
from tests.unit.ui_world import Shot

pytestmark = pytest.mark.usefixtures("colour_encoders")


def search(client: TestClient, **asked: Any) -> Any:
    body = json.dumps(asked)  # the client's own cannot write half a character
    return client.post("/v1/search", content=body, headers={"Content-Type": "application/json"})


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "timing_ms"}


def test_the_answer_is_the_json_of_the_command(client: TestClient, folder: Path) -> None:
    asked = {"where": ["width:>10"], "facets": ["tags"], "min_relevance": 0.0}
    answer = search(client, text="red -secret tag:wall,sea", limit=3, **asked)
    installation = Installation(Settings(data_dir=folder, library=LIBRARY))
    with open_library(LIBRARY, installation=installation) as library:
        found = library.search("red -secret tag:wall,sea", k=3, **asked)
    assert without_times(answer.json()) == without_times(found.to_json())
    assert answer.json()["timing_ms"].keys() == found.to_json()["timing_ms"].keys()


def test_words_find_pictures_and_pictures_find_their_like(client: TestClient, folder: Path) -> None:
    assert ids(search(client, text="green", limit=1)) == ["private/green.png"]
    assert ids(search(client, parts=[{"text": "blue"}], limit=1)) == ["public/blue.png"]
    like = search(client, parts=[{"id": "public/red.png"}], limit=1, min_relevance=0)
    assert ids(like) == ["private/red.png"]
    data = base64.b64encode((folder / "pictures/public/blue.png").read_bytes()).decode()
    assert ids(search(client, parts=[{"data": data}], limit=1)) == ["public/blue.png"]


def test_the_text_in_a_picture_is_in_every_answer_about_it(tmp_path: Path) -> None:
    box = (0.1, 0.2, 0.5, 0.2, 0.5, 0.3, 0.1, 0.3)
    text = written_payload([WrittenLine("Gate 12", box, 0.97)], 1)
    make_library(tmp_path, [Shot("sign.png", COLOURS["blue"], payload=text), *SHOTS])
    place = {"box": list(box), "confidence": 0.97}
    with serving(tmp_path) as client:
        (hit, *_) = search(client, text="gate 12").json()["hits"]
        assert hit["image_id"] == "sign.png"
        assert (hit["payload"]["text"], hit["payload"]["text_lines"]) == ("Gate 12", [place])
        assert ids(search(client, where='text:"gate 12"')) == ["sign.png"]
        known = client.get("/v1/images/sign.png").json()
        assert known["payload"]["text"] == "Gate 12"
        why = client.get("/v1/images/sign.png/why", params={"q": "gate 12"}).json()
        assert why["text"] == [{"line": "Gate 12", **place}]


def test_weights_and_exclusions_of_parts_count(client: TestClient) -> None:
    parts = [{"text": "red", "weight": 3}, {"text": "blue"}]
    assert "red.png" in ids(search(client, parts=parts, min_relevance=0))[0]
    both = search(client, parts=[{"text": "blue", "exclude": True}], limit=10)
    assert "public/blue.png" not in ids(both)
    assert len(ids(both)) == 3


@pytest.mark.parametrize(
    "where",
    [
        "(camera:canon or price:9) -tag:sea",
        ["(camera:canon or price:9)", "-tag:sea"],
        {
            "and": [
                {"or": [{"field": "camera", "value": "canon"}, {"field": "price", "value": 9}]},
                {"not": {"field": "tags", "value": "sea"}},
            ]
        },
        [{"or": [{"field": "camera", "value": "canon"}, {"field": "price", "value": 9}]}],
    ],
)
def test_filters_nest_as_text_and_as_objects(client: TestClient, where: Any) -> None:
    assert ids(search(client, where=where)) == ["private/red.png", "public/red.png"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"text": "red", "colour": 1}, "colour: Extra inputs are not permitted"),
        ({}, "the query is empty: describe a scene in words"),
        ({"text": "red", "limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"text": "red", "limit": 101}, "this server gives at most 100"),
        ({"where": "colour:red"}, "--where colour:red: this library has no field 'colour'"),
        ({"where": {"field": "colour", "value": 1}}, "this library has no field 'colour'"),
        ({"where": {"or": []}}, "at least 1 item"),
        ({"where": {"field": "price", "value": "much"}}, "'much' is not a whole number"),
        ({"where": "price:99999999999999999999"}, "too large"),
        ({"text": "red", "sort": "colour"}, "this library has no field 'colour'"),
        ({"text": "red", "facets": ["spot"]}, "cannot be counted"),
        ({"text": "red", "after": "x"}, "the cursor of the next page is damaged"),
        ({"text": "red", "after": base64.b64encode(b"[" * 5000).decode()}, "cursor"),
        ({"text": "\ud800"}, "as a unicode string"),
        ({"text": "a\0b"}, "a zero byte is no text"),
        ({"text": "x" * 3000}, "at most 2000 characters"),
        ({"parts": [{"data": "%%%"}]}, "this is not base64"),
        ({"parts": [{"data": base64.b64encode(b"text").decode()}]}, "not a picture"),
        ({"parts": [{"id": "nowhere.png"}]}, "has no such picture"),
        ({"parts": [{"text": " "}]}, "has no words"),
        ({"parts": [{"text": "red", "weight": 0}]}, "greater than 0"),
        ({"text": "red", "diversity": 2}, "less than or equal to 1"),
        ({"text": "red", "library": "../x"}, "library"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(
    client: TestClient, asked: dict[str, Any], said: str
) -> None:
    response = search(client, **asked)
    assert response.status_code in (400, 422)
    assert said in problem(response, response.status_code)


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    kind = {"content-type": "application/json"}
    for body in (b"{", b"[" * 100_000, b'"text"', b"\xff"):
        response = client.post("/v1/search", content=body, headers=kind)
        assert response.status_code in (400, 422)
        assert problem(response, response.status_code)


def test_an_unknown_library_is_not_found_with_those_that_there_are(client: TestClient) -> None:
    response = search(client, text="red", library="trips")
    assert problem(response, 404) == f"no library 'trips'; there are: {LIBRARY}"


def test_the_name_of_a_collection_is_no_library(client: TestClient) -> None:
    response = search(client, text="red", library=f"{LIBRARY}-colour-1")
    assert problem(response, 404).startswith(f"no library '{LIBRARY}-colour-1'")


def test_what_is_wrong_with_the_server_is_logged_and_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_library(tmp_path)
    (spec,) = tmp_path.glob("edge/collections/*/collection.json")
    spec.write_text("{")
    with serving(tmp_path) as client:
        said = problem(search(client, text="red"), 500)
        assert said == "something is wrong on the server; its log says what"
        assert client.get("/v1/libraries").json()["libraries"] == []
    assert str(spec) in caplog.text


def test_pages_follow_one_another(client: TestClient) -> None:
    first = search(client, where="width:>1", limit=3)
    second = search(client, where="width:>1", limit=3, after=first.json()["next"])
    assert len(ids(first)) == 3
    assert len({*ids(first), *ids(second)}) == 4
    assert second.json()["next"] is None


def test_a_link_finds_the_same(client: TestClient) -> None:
    posted = search(client, text="red", where="tag:wall", facets=["tags"], limit=2)
    linked = client.get("/v1/search?q=red&where=tag:wall&facet=tags&limit=2")
    assert without_times(linked.json()) == without_times(posted.json())


def test_an_answer_is_sent_again_only_when_the_library_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FRESH_S", "_SETTLED_S"):
        monkeypatch.setattr(f"serve.libraries.{name}", 0.0)
    make_library(tmp_path)
    with serving(tmp_path) as client:
        first = client.get("/v1/search?q=red")
        etag = {"If-None-Match": first.headers["etag"]}
        again = client.get("/v1/search?q=red", headers=etag)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert client.get("/v1/search?q=blue", headers=etag).status_code == 200
        with closing(EdgeStore(tmp_path / "edge")) as other:  # as another process does
            other.delete(LIBRARY, ["public/red.png"])
        changed = client.get("/v1/search?q=red", headers=etag)
        assert ids(changed) == ["private/red.png"]
        assert changed.headers["etag"] != first.headers["etag"]


def test_an_answer_right_after_a_change_is_not_kept(tmp_path: Path) -> None:
    make_library(tmp_path)
    with serving(tmp_path) as client:
        where = "/v1/search?where=camera:canon"
        etag = {"If-None-Match": client.get(where).headers["etag"]}
        client.delete("/v1/images/public/red.png")
        changed = client.get(where, headers=etag)
        assert ids(changed) == []
        assert "etag" not in changed.headers
        assert changed.headers["cache-control"] == "no-store"


def test_libraries_fields_and_encoders_are_listed(client: TestClient) -> None:
    (library,) = client.get("/v1/libraries").json()["libraries"]
    assert library == {
        "name": LIBRARY,
        "pictures": 4,
        "encoder": "colour",
        "dimension": 4,
        "default": True,
    }
    fields = {one["name"]: one for one in client.get("/v1/fields").json()["fields"]}
    assert fields["price"]["type"] == "integer"
    assert fields["price"]["operators"] == ["has", ":", ":>", ":>=", ":<", ":<=", ".."]
    assert fields["price"]["writable"] and not fields["width"]["writable"]
    assert fields["spot"]["operators"] == ["has", "near", "within"]
    assert {one["name"] for one in client.get("/v1/encoders").json()["encoders"]} >= {"lite"}


def test_it_is_ready_when_store_encoder_and_library_answer(
    client: TestClient, tmp_path: Path
) -> None:
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    with serving(tmp_path / "empty") as nothing:
        assert nothing.get("/healthz").status_code == 200
        assert problem(nothing.get("/readyz"), 503) == (
            "this server is for library 'photos', which does not exist yet"
        )


def test_what_is_broken_is_not_told_to_everybody(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(store: object) -> str:
        raise StoreUnavailable("http://qdrant:6333 does not answer")

    monkeypatch.setattr(EdgeStore, "health", away)
    assert problem(client.get("/readyz"), 503) == "store, encoder or library do not answer"


def test_it_is_not_ready_while_it_is_stopped(client: TestClient) -> None:
    client.app.state.service.is_stopping = True  # type: ignore[attr-defined]
    assert problem(client.get("/readyz"), 503) == "the server is being stopped"
    assert client.get("/v1/libraries").status_code == 200


def test_metrics_count_searches_and_requests(client: TestClient) -> None:
    search(client, text="red")
    text = client.get("/metrics").text
    assert 'scenesearch_http_requests_total{route="/v1/search",status="200"}' in text


def test_every_error_of_a_route_is_a_problem(client: TestClient) -> None:
    assert problem(client.get("/v2/nothing"), 404) == "there is nothing at /v2/nothing"
    assert problem(client.put("/v1/search"), 405) == "PUT is not possible here"


def test_a_bug_is_a_problem_without_its_details(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret details")

    monkeypatch.setattr("serve.routes.search.search", fail)
    response = search(client, text="red")
    assert "secret" not in problem(response, 500)


def test_embeddings_are_those_that_search_uses(client: TestClient, folder: Path) -> None:
    data = base64.b64encode((folder / "pictures/public/red.png").read_bytes()).decode()
    images = [{"id": "public/red.png"}, {"data": data}]
    answer = client.post("/v1/embeddings", json={"texts": ["red"], "images": images}).json()
    assert (answer["encoder"], answer["dimension"]) == ("colour", 4)
    assert answer["images"][0] == pytest.approx(answer["images"][1], abs=1e-6)
    assert sum(a * a for a in answer["texts"][0]) == pytest.approx(1, abs=1e-5)
    packed = client.post("/v1/embeddings", json={"texts": ["red"], "format": "base64"}).json()
    assert len(base64.b64decode(packed["texts"][0])) == 4 * 4


def test_a_path_is_a_text_and_not_a_file(client: TestClient, folder: Path) -> None:
    path = str(folder / "pictures/public/blue.png")
    answer = client.post("/v1/embeddings", json={"texts": [path, "nothing"]}).json()
    assert answer["texts"][0] == answer["texts"][1]  # neither names a colour


def test_feedback_is_kept_and_taken_back(tmp_path: Path) -> None:
    make_library(tmp_path)
    marked = {"text": "red", "images": ["public/red.png"], "mark": "right"}
    with serving(tmp_path) as client:
        assert client.post("/v1/feedback", json=marked).json() == {"marked": 1}
        marks = Installation(Settings(data_dir=tmp_path)).files(LIBRARY).read_marks()
        assert [(one.text, one.image_id, one.right) for one in marks] == [
            ("red", "public/red.png", True)
        ]
        assert client.post("/v1/feedback", json={**marked, "mark": "none"}).json() == {"marked": 1}
        unknown = client.post("/v1/feedback", json={**marked, "images": ["x.png"]})
        assert problem(unknown, 404) == f"library {LIBRARY} has no picture x.png"


def test_the_version_of_the_document_is_that_of_the_package(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["info"]["version"] == "0.1.0"
    assert scenesearch.open
