"""Keys: what they allow, and that pictures outside a key's filter are not there for it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scenesearch.home.installation import Installation
from scenesearch.home.settings import Settings
from serve.keys import KeysError, new_key, read_keys
from tests.unit.serve_world import (
    LIBRARY,
    KeyRing,
    colour_encoders,  # noqa: F401 - a fixture
    ids,
    make_library,
    problem,
    service_of,
    serving,
)
from tests.unit.serve_world import folder as folder  # a fixture

pytestmark = pytest.mark.usefixtures("colour_encoders")

PUBLIC, PRIVATE = ["public/blue.png", "public/red.png"], ["private/green.png", "private/red.png"]


@pytest.fixture(scope="module")
def ring() -> KeyRing:
    ring = KeyRing()
    ring.add("reader")
    ring.add("writer", "write")
    ring.add("admin", "admin")
    ring.add("site", "write", [LIBRARY], "folder:public/*")
    ring.add("other", "write", ["trips"])
    return ring


@pytest.fixture
def client(folder: Path, ring: KeyRing) -> Iterator[TestClient]:
    with serving(folder, ring.keys) as client:
        yield client


@pytest.fixture
def site(client: TestClient, ring: KeyRing) -> TestClient:
    """A client whose key sees what is public."""
    client.headers.update(ring.headers("site"))
    return client


def search(client: TestClient, **asked: Any) -> Any:
    return client.post("/v1/search", json=asked)


# --- who asks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic x"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer \xff"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/libraries", "/metrics", "/v1/images/x", "/nothing"])
def test_without_a_valid_key_nothing_is_answered(
    client: TestClient, path: str, headers: dict[str, str]
) -> None:
    response = client.get(path, headers={k: v.encode("latin-1") for k, v in headers.items()})
    assert problem(response, 401) == "a valid key is needed: Authorization: Bearer KEY"
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json"])
def test_whether_it_works_is_said_to_everybody(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_hash_of_a_key_is_no_key(client: TestClient, ring: KeyRing) -> None:
    secret, entry = new_key("x", ["read"])
    digest = json.loads(entry)["sha256"]
    assert secret not in entry
    assert read_keys(f"[{entry}]").caller(digest) is None
    assert client.get("/v1/libraries", headers={"Authorization": f"Bearer {digest}"}).is_error


WRITES = [
    ("POST", "/v1/images", {"images": [{"data": "AAAA"}]}),
    ("POST", "/v1/ingest", {"paths": ["/srv"]}),
    ("PATCH", "/v1/images/public/red.png", {"tags": []}),
    ("DELETE", "/v1/images/public/red.png", None),
    ("POST", "/v1/feedback", {"text": "red", "images": ["public/red.png"], "mark": "right"}),
    ("DELETE", "/v1/jobs/0123456789abcdef01234567", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_reader_changes_nothing(
    client: TestClient, ring: KeyRing, method: str, path: str, body: Any
) -> None:
    response = client.request(method, path, json=body, headers=ring.headers("reader"))
    assert problem(response, 403) == "key reader has not the scope write"


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_server_that_only_reads_changes_nothing_for_anybody(
    folder: Path, ring: KeyRing, method: str, path: str, body: Any
) -> None:
    with serving(folder, ring.keys, api_read_only=True) as client:
        response = client.request(method, path, json=body, headers=ring.headers("admin"))
        assert "only reads" in problem(response, 403)
        assert ids(client.get("/v1/search?q=red", headers=ring.headers("reader")))


def test_figures_are_for_the_scope_admin(client: TestClient, ring: KeyRing) -> None:
    assert client.get("/metrics", headers=ring.headers("admin")).status_code == 200
    response = client.get("/metrics", headers=ring.headers("writer"))
    assert problem(response, 403) == "key writer has not the scope admin"


# --- libraries ---------------------------------------------------------------------------------


def test_a_library_that_a_key_may_not_see_is_as_one_that_is_not_there(
    client: TestClient, ring: KeyRing
) -> None:
    own = ring.headers("other")
    hidden = client.get(f"/v1/search?q=red&library={LIBRARY}", headers=own)
    absent = client.get("/v1/search?q=red&library=nowhere", headers=own)
    assert problem(hidden, 404) == f"no library '{LIBRARY}'; there are: none"
    assert problem(absent, 404) == "no library 'nowhere'; there are: none"
    assert client.get("/v1/libraries", headers=own).json()["libraries"] == []
    assert all(
        one["libraries"] == [] for one in client.get("/v1/encoders", headers=own).json()["encoders"]
    )


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/images/public/red.png", None),
        ("GET", "/v1/images/public/red.png/thumbnail", None),
        ("GET", "/v1/images/public/red.png/original", None),
        ("GET", "/v1/images/public/red.png/why?q=red", None),
        ("GET", "/v1/fields", None),
        ("PATCH", "/v1/images/public/red.png", {"tags": []}),
        ("DELETE", "/v1/images/public/red.png", None),
        ("POST", "/v1/search", {"text": "red"}),
        ("POST", "/v1/embeddings", {"texts": ["red"]}),
        ("POST", "/v1/feedback", {"text": "red", "images": ["public/red.png"], "mark": "right"}),
        ("POST", "/v1/images", {"images": [{"data": "AAAA"}]}),
        ("POST", "/v1/ingest", {"paths": ["/srv"]}),
    ],
)
def test_no_path_leads_into_a_library_that_a_key_may_not_see(
    client: TestClient, ring: KeyRing, method: str, path: str, body: Any
) -> None:
    if body is not None:
        body = {**body, "library": LIBRARY} if method == "POST" else body
    query = "" if method == "POST" else f"{'&' if '?' in path else '?'}library={LIBRARY}"
    response = client.request(method, path + query, json=body, headers=ring.headers("other"))
    assert problem(response, 404) == f"no library '{LIBRARY}'; there are: none"


# --- the filter of a key -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "red", "min_relevance": 0},
        {"where": "width:>0"},
        {"where": "folder:private"},
        {"where": "(folder:private or folder:public)"},
        {"where": {"not": {"field": "folder", "value": "public"}}},
        {"where": {"or": [{"field": "tags", "value": "secret"}, {"field": "width", "value": 64}]}},
        {"where": "-folder:public"},
        {"text": "red) or (folder:private)", "min_relevance": 0},
        {"text": "image_id=private/green.png"},
        {"text": "green", "min_relevance": 0, "sort": "-price"},
        {"text": "green", "min_relevance": 0, "diversity": 0.5},
        {"parts": [{"text": "blue", "exclude": True}]},
        {"where": "width:>0", "sort": "image_id"},
    ],
)
def test_no_search_finds_a_picture_outside_the_filter(
    site: TestClient, asked: dict[str, Any]
) -> None:
    response = search(site, limit=50, **asked)
    assert set(ids(response)) <= set(PUBLIC)
    said = {key: value for key, value in response.json().items() if key not in ("query", "notices")}
    assert "private" not in json.dumps(said)
    assert "secret" not in json.dumps(said)


def test_the_nearest_where_nothing_matches_are_inside_the_filter(site: TestClient) -> None:
    response = search(site, text="green", min_relevance=1)
    assert response.json()["hits"] == []
    assert {hit["image_id"] for hit in response.json()["partial"]} <= set(PUBLIC)


def test_values_are_counted_inside_the_filter(site: TestClient) -> None:
    counted = {"tags": [{"value": "sea", "count": 1}, {"value": "wall", "count": 1}]}
    assert search(site, where="width:>0", facets=["tags"]).json()["facets"] == counted
    every = search(site, text="red", min_relevance=0, facets=["tags"])
    assert every.json()["facets"] == counted
    some = search(site, text="red", min_relevance=0.01, facets=["tags"])
    assert "secret" not in some.text


def test_copies_outside_the_filter_are_not_named(tmp_path: Path, ring: KeyRing) -> None:
    from tests.conftest import COLOURS
    from tests.unit.ui_world import Shot

    twins = [
        Shot(f"{name}/red.png", COLOURS["red"], payload={"folder": [name], "phash": "0" * 16})
        for name in ("public", "private")
    ]
    make_library(tmp_path, twins)
    with serving(tmp_path, ring.keys) as client:
        asked = {"text": "red", "min_relevance": 0}
        (whole,) = client.post("/v1/search", json=asked, headers=ring.headers("reader")).json()[
            "hits"
        ]
        assert len(whole["copies"]) == 1
        (own,) = client.post("/v1/search", json=asked, headers=ring.headers("site")).json()["hits"]
        assert (own["image_id"], own["copies"]) == ("public/red.png", [])


def test_pictures_are_counted_inside_the_filter(site: TestClient) -> None:
    assert site.get("/v1/libraries").json()["libraries"][0]["pictures"] == 2


@pytest.mark.parametrize("name", ["private/green.png", "green.png", "green", "nowhere.png"])
def test_a_picture_outside_the_filter_cannot_be_compared_with(site: TestClient, name: str) -> None:
    for asked in ({"parts": [{"id": name}]}, {"text": f"like:{name}"}, {"text": f"- like:{name}"}):
        response = search(site, **asked)
        assert problem(response, 400) == f"like:{name}: library {LIBRARY} has no such picture"


def test_a_name_that_several_pictures_have_means_the_one_inside_the_filter(
    site: TestClient,
) -> None:
    response = search(site, text="like:red.png", min_relevance=0)
    assert ids(response) == ["public/blue.png"]  # the named one is left out


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("camera:nikn", "camera:nikn: no picture has such a value"),
        ("tag:secrt", "tags:secrt: no picture has such a value"),
        ("tag:s*", None),
        ("folder:priv*", "folder:priv*: no picture has such a value"),
        ("price:9", "price:9: no picture of this library passes it"),
    ],
)
def test_notices_suggest_and_explain_nothing_of_outside_the_filter(
    site: TestClient, where: str, said: str | None
) -> None:
    answer = search(site, where=where).json()
    assert answer["notices"] == ([said] if said else [])
    assert [hit["image_id"] for hit in answer["hits"]] == ([] if said else ["public/blue.png"])


PATHS = [
    ("GET", "/v1/images/{id}", None),
    ("GET", "/v1/images/{id}/thumbnail", None),
    ("GET", "/v1/images/{id}/original", None),
    ("GET", "/v1/images/{id}/why?q=green", None),
    ("PATCH", "/v1/images/{id}", {"tags": ["mine"]}),
    ("DELETE", "/v1/images/{id}", None),
    ("POST", "/v1/embeddings", {"images": [{"id": "{id}"}]}),
    ("POST", "/v1/feedback", {"text": "x", "images": ["{id}"], "mark": "right"}),
]


@pytest.mark.parametrize(("method", "path", "body"), PATHS)
def test_a_picture_outside_the_filter_is_as_one_that_is_not_there(
    site: TestClient, folder: Path, method: str, path: str, body: Any
) -> None:
    said = []
    for name in ("private/green.png", "private/nothing.png"):
        filled = json.loads(json.dumps(body).replace("{id}", name))
        response = site.request(method, path.replace("{id}", name), json=filled)
        said.append(problem(response, 404).replace(name, "ID"))
        assert "etag" not in response.headers
    assert said[0] == said[1] == f"library {LIBRARY} has no picture ID"
    marks = Installation(Settings(data_dir=folder)).files(LIBRARY).read_marks()
    assert "private/green.png" not in {mark.image_id for mark in marks}


def test_one_picture_outside_the_filter_refuses_the_whole_feedback(
    site: TestClient, folder: Path
) -> None:
    images = ["public/red.png", "private/red.png"]
    asked = {"text": "y", "images": images, "mark": "right"}
    assert site.post("/v1/feedback", json=asked).status_code == 404
    marks = Installation(Settings(data_dir=folder)).files(LIBRARY).read_marks()
    assert "y" not in {mark.text for mark in marks}


def test_an_etag_of_another_key_tells_nothing(client: TestClient, ring: KeyRing) -> None:
    everything = client.get("/v1/search?q=red", headers=ring.headers("reader"))
    own = client.get(
        "/v1/search?q=red",
        headers={**ring.headers("site"), "If-None-Match": everything.headers["etag"]},
    )
    assert set(ids(own)) <= set(PUBLIC)
    content = client.get(
        "/v1/images/private/red.png/thumbnail", headers=ring.headers("reader")
    ).headers["etag"]
    hidden = client.get(
        "/v1/images/private/red.png/thumbnail",
        headers={**ring.headers("site"), "If-None-Match": content},
    )
    assert hidden.status_code == 404


def test_a_cursor_of_another_key_is_refused(client: TestClient, ring: KeyRing) -> None:
    asked = {"where": "width:>0", "limit": 1}
    first = client.post("/v1/search", json=asked, headers=ring.headers("reader"))
    taken = {**asked, "after": first.json()["next"]}
    response = client.post("/v1/search", json=taken, headers=ring.headers("site"))
    assert "belongs to another request" in problem(response, 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/images", {"images": [{"data": base64.b64encode(b"x").decode()}]}),
        ("/v1/ingest", {"paths": ["/srv"]}),
    ],
)
def test_a_key_with_a_filter_adds_no_pictures(site: TestClient, path: str, body: Any) -> None:
    assert problem(site.post(path, json=body), 403) == (
        "key site has a filter and cannot add pictures"
    )


def test_inside_its_filter_a_key_sees_and_writes(tmp_path: Path, ring: KeyRing) -> None:
    make_library(tmp_path)
    with serving(tmp_path, ring.keys) as client:
        own = ring.headers("site")
        image = "/v1/images/public/red.png"
        assert client.get(f"{image}/thumbnail", headers=own).status_code == 200
        assert client.get(f"{image}/original", headers=own).status_code == 200
        assert client.get(f"{image}/why?q=red", headers=own).status_code == 200
        changed = client.patch(image, json={"tags": ["mine"]}, headers=own)
        assert changed.json()["payload"]["tags"] == ["mine"]
        assert client.delete(image, headers=own).status_code == 204
        assert client.get(image, headers=own).status_code == 404


@pytest.mark.parametrize("where", ["-tag:secret", "-(tag:secret or camera:nikon)", "colour:red"])
def test_a_filter_that_could_let_something_through_lets_nothing_through(
    folder: Path, where: str
) -> None:
    ring = KeyRing()
    ring.add("site", where=where)
    with serving(folder, ring.keys) as client:
        client.headers.update(ring.headers("site"))
        for path in ("/v1/search?q=red", "/v1/images/public/red.png", "/v1/libraries"):
            assert problem(client.get(path), 403) == (
                f"the filter of key site does not fit library {LIBRARY}"
            )


@pytest.mark.parametrize("where", ["-tag=secret", "-(tag=secret or price:>100)"])
def test_a_filter_may_leave_out_an_exact_value(folder: Path, where: str) -> None:
    ring = KeyRing()
    ring.add("site", where=where)
    with serving(folder, ring.keys) as client:
        client.headers.update(ring.headers("site"))
        assert ids(search(client, where="width:>0")) == PUBLIC


def test_a_server_does_not_start_with_a_filter_that_does_not_fit(folder: Path) -> None:
    ring = KeyRing()
    ring.add("site", where="-tag:secret")
    service = service_of(folder, ring.keys)
    with pytest.raises(KeysError, match="write -tags=VALUE"):
        service.libraries.check(ring.keys.callers)
    service.close()


# --- the setting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("x", "is not a JSON list of keys"),
        ("{}", "is an empty list"),
        ("[]", "is an empty list"),
        ('[{"name": "a", "sha256": "b", "scopes": ["read"]}]', "0.sha256"),
        (f'[{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["root"]}}]', "0.scopes.0"),
        (f'[{{"name": "a", "sha256": "{"0" * 64}", "scopes": []}}]', "0.scopes"),
        (f'[{{"name": "a", "sha256": "{"0" * 64}"}}]', "0.scopes"),
        (f'[{{"name": "a b", "sha256": "{"0" * 64}", "scopes": ["read"]}}]', "0.name"),
        (
            f'[{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["read"], "filter": "x"}}]',
            "0.filter",
        ),
        (
            f'[{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["admin"], "where": "x:1"}}]',
            "a key with a filter cannot have the scope admin",
        ),
        (
            ",".join([f'{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["read"]}}'] * 2).join(
                "[]"
            ),
            "two keys have the same name",
        ),
    ],
)
def test_a_mistake_in_the_setting_is_named(setting: str, said: str) -> None:
    with pytest.raises(KeysError, match="SCENESEARCH_API_KEYS") as raised:
        read_keys(setting)
    assert said in str(raised.value)


def test_no_setting_is_no_key() -> None:
    assert not read_keys(None)
    assert not read_keys(" ")
