"""Collections over the API, and the webhooks that watch them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scenesearch.home.saved_collections import (
    SavedCollection,
    change_collection,
    delete_collection,
    save_collection,
    save_request,
)
from serve import webhook_delivery
from serve.keys import Keys
from tests.receiver import Receiver, receiving, until
from tests.unit.serve_world import (
    KeyRing,
    colour_encoders,  # noqa: F401 - a fixture
    ids,
    make_library,
    problem,
    serving,
)
from tests.unit.ui_world import LIBRARY

pytestmark = pytest.mark.usefixtures("colour_encoders")

SHARED = "a secret of both sides"
EVERYTHING = ["private/green.png", "private/red.png", "public/blue.png", "public/red.png"]
PUBLIC = ["public/blue.png", "public/red.png"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks look and send without long pauses."""
    monkeypatch.setattr(webhook_delivery, "_TURN_S", 0.1)
    monkeypatch.setattr(webhook_delivery, "_LOOK_S", 0.2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library with collections: all, what is new, what was chosen by hand."""
    make_library(tmp_path)
    file = collections_file(tmp_path)
    by_hand = SavedCollection(
        "Chosen", "tag:wall", 0.0, "private/green.png", ("private/green.png", "public/blue.png")
    )
    save_collection(file, by_hand)
    save_collection(file, SavedCollection("New/er", "tag:new"))
    save_collection(file, SavedCollection("All", "width:>0"))
    save_request(file, "tag:sea")
    return tmp_path


def collections_file(folder: Path) -> Path:
    return folder / "libraries" / LIBRARY / "saved-requests.json"


@pytest.fixture
def ring() -> KeyRing:
    ring = KeyRing()
    ring.add("admin", "admin")
    ring.add("all", "write")
    ring.add("public", "write", where="folder=public")
    ring.add("reader", "read")
    ring.add("elsewhere", "write", libraries=["other"])
    return ring


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def client(folder: Path, ring: KeyRing) -> Iterator[TestClient]:
    with serving(folder, ring.keys, api_webhook_hosts="127.0.0.1") as client:
        yield client


def pictures(client: TestClient, name: str, **asked: Any) -> list[str]:
    headers = asked.pop("headers")
    return ids(client.get(f"/v1/collections/{name}", params=asked, headers=headers))


# --- collections ---------------------------------------------------------------------------------


def test_collections_are_listed_as_the_command_line_does(folder: Path) -> None:
    with serving(folder) as client:
        answer = client.get("/v1/collections").json()
        assert answer["library"] == LIBRARY
        assert [(one["name"], one["pictures"]) for one in answer["collections"]] == [
            ("tag:sea", 1),
            ("All", 4),
            ("New/er", 0),
            ("Chosen", 4),
        ]
        assert answer["collections"][-1] == {
            "name": "Chosen",
            "request": "tag:wall",
            "min_relevance": 0.0,
            "picture": "private/green.png",
            "added": ["private/green.png", "public/blue.png"],
            "excluded": [],
            "pictures": 4,
        }
        uncounted = client.get("/v1/collections?count=false").json()["collections"]
        assert {one["pictures"] for one in uncounted} == {None}


def test_a_collection_is_read_page_by_page(folder: Path) -> None:
    with serving(folder) as client:
        after, found, ranks = None, list[str](), list[int]()
        for _ in range(10):
            asked = {"limit": 1} | ({"after": after} if after else {})
            answer = client.get("/v1/collections/Chosen", params=asked).json()
            found += [hit["image_id"] for hit in answer["hits"]]
            ranks += [hit["rank"] for hit in answer["hits"]]
            if (after := answer["next"]) is None:
                break
        assert found == [
            "private/green.png", "public/blue.png", "private/red.png", "public/red.png",
        ]  # fmt: skip
        assert ranks == [1, 2, 3, 4]
        whole = client.get("/v1/collections/Chosen?limit=4").json()
        assert ([hit["image_id"] for hit in whole["hits"]], whole["next"]) == (found, None)


def test_a_name_may_have_a_slash(folder: Path) -> None:
    with serving(folder) as client:
        assert client.get("/v1/collections/New%2Fer").json()["name"] == "New/er"


def test_what_makes_no_sense_is_refused(folder: Path) -> None:
    with serving(folder, api_max_limit=5) as client:
        said = problem(client.get("/v1/collections/Al?limit=1"), 404)
        assert said == "there is no collection 'Al'; did you mean All?"
        problem(client.get("/v1/collections/All?limit=6"), 422)
        problem(client.get("/v1/collections/All?limit=1&after=2.x"), 400)
        problem(client.get("/v1/collections/All?limit=1&after=1.x"), 400)
        problem(client.get("/v1/collections?library=none"), 404)


def test_a_request_that_cannot_be_asked_any_more_is_not_counted(folder: Path) -> None:
    save_collection(collections_file(folder), SavedCollection("Odd", "width:>wide"))
    with serving(folder) as client:
        assert client.get("/v1/collections").json()["collections"][0]["pictures"] is None
        assert "width" in problem(client.get("/v1/collections/Odd"), 400)


def test_the_filter_of_a_key_holds_in_every_collection(client: TestClient, ring: KeyRing) -> None:
    public = ring.headers("public")
    answer = client.get("/v1/collections", headers=public).json()
    counts = {one["name"]: one["pictures"] for one in answer["collections"]}
    assert counts == {"tag:sea": 1, "All": 2, "New/er": 0, "Chosen": 2}
    chosen = client.get("/v1/collections/Chosen", headers=public).json()
    assert "private" not in str(chosen)
    assert (chosen["picture"], chosen["added"]) == (None, ["public/blue.png"])
    assert pictures(client, "Chosen", headers=public) == PUBLIC
    assert sorted(pictures(client, "All", headers=ring.headers("reader"))) == EVERYTHING
    problem(client.get("/v1/collections?library=photos", headers=ring.headers("elsewhere")), 404)


# --- webhooks ------------------------------------------------------------------------------------


def register(client: TestClient, url: str, **more: Any) -> Any:
    headers = more.pop("headers", None)
    asked = {"collection": "New/er", "url": url, "secret": SHARED, **more}
    return client.post("/v1/webhooks", json=asked, headers=headers)


def tag(client: TestClient, headers: dict[str, str], *image_ids: str) -> None:
    for image_id in image_ids:
        said = {"tags": ["new"]}
        assert client.patch(f"/v1/images/{image_id}", json=said, headers=headers).status_code == 200


def test_new_pictures_are_sent_once_and_signed(
    client: TestClient, ring: KeyRing, receiver: Receiver
) -> None:
    headers = ring.headers("all")
    tag(client, headers, "public/red.png")
    answer = register(client, receiver.url, headers=headers)
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    tag(client, headers, "public/blue.png")
    until(lambda: receiver.bodies)
    tag(client, headers, "private/red.png")
    until(lambda: len(receiver.bodies) == 2)
    assert receiver.told == ["public/blue.png", "private/red.png"]  # and not what was there
    assert receiver.is_signed(SHARED)
    first = receiver.documents[0]
    assert first["delivery"] == receiver.deliveries[0]
    (row,) = first["pictures"]
    assert (row["library"], row["collection"]) == (LIBRARY, "New/er")
    assert row.keys() >= {"rank", "image_id", "path", "relevance", "payload"}
    at = answer.headers["location"]
    state = until(lambda: _delivered(client.get(at, headers=headers).json(), 2))
    assert (state["state"], state["problem"], state["waiting"]) == ("active", None, [])


def _delivered(state: Any, number: int) -> Any:
    return state if state["delivered"] == number else None


def test_what_is_there_is_sent_where_it_is_asked_for(
    client: TestClient, ring: KeyRing, receiver: Receiver
) -> None:
    register(client, receiver.url, headers=ring.headers("all"), collection="All", all=True)
    until(lambda: receiver.bodies)
    assert sorted(receiver.told) == EVERYTHING


def test_a_key_with_a_filter_is_told_of_nothing_else(
    client: TestClient, ring: KeyRing, receiver: Receiver
) -> None:
    public = ring.headers("public")
    register(client, receiver.url, headers=public, collection="All", all=True)
    until(lambda: receiver.bodies)
    assert sorted(receiver.told) == PUBLIC
    assert b"private" not in b"".join(receiver.bodies)


def test_what_fails_is_kept_and_seen_and_sent_later(
    client: TestClient, ring: KeyRing, receiver: Receiver
) -> None:
    headers = ring.headers("all")
    receiver.status = 500
    at = register(client, receiver.url, headers=headers, collection="All", all=True).headers[
        "location"
    ]
    state = until(lambda: _failing(client.get(at, headers=headers).json()))
    (waiting,) = state["waiting"]
    assert waiting["pictures"] == 4
    assert waiting["error"].endswith("answers with status 500")
    assert state["next_try"] is not None
    receiver.status = 200
    assert client.post(f"{at}/try", headers=headers).status_code == 200
    until(lambda: _delivered(client.get(at, headers=headers).json(), 1))
    assert len(set(receiver.deliveries)) == 1  # the same id each time
    assert len(set(receiver.bodies)) == 1


def _failing(state: Any) -> Any:
    done = state["state"] == "failing" and state["waiting"][0]["error"].endswith("500")
    return state if done else None


@pytest.mark.slow
def test_a_webhook_goes_on_after_a_restart(folder: Path, ring: KeyRing, receiver: Receiver) -> None:
    headers = ring.headers("all")
    with serving(folder, ring.keys, api_webhook_hosts="127.0.0.1") as client:
        register(client, receiver.url, headers=headers)
    with serving(folder, ring.keys, api_read_only=True, api_webhook_hosts="127.0.0.1") as client:
        assert len(listed(client, headers)) == 1
        problem(register(client, receiver.url, headers=headers), 403)
    with serving(folder, ring.keys, api_webhook_hosts="127.0.0.1") as client:
        tag(client, headers, "public/red.png")
        until(lambda: receiver.bodies)
    assert receiver.told == ["public/red.png"]


def listed(client: TestClient, headers: dict[str, str], **asked: str) -> list[Any]:
    answer = client.get("/v1/webhooks", params=asked, headers=headers)
    assert answer.status_code == 200
    found: list[Any] = answer.json()["webhooks"]
    return found


def test_webhooks_are_their_owners_and_an_admins(client: TestClient, ring: KeyRing) -> None:
    mine = ring.headers("all")
    url = "http://127.0.0.1:9/"
    answer = register(client, url, headers=mine)
    at = answer.headers["location"]
    assert SHARED not in answer.text + str(listed(client, mine)) + client.get(at, headers=mine).text
    for name in ("public", "reader"):
        others = ring.headers(name)
        assert listed(client, others) == []
        problem(client.get(at, headers=others), 404)
    problem(client.delete(at, headers=ring.headers("public")), 404)
    problem(client.delete(at, headers=ring.headers("reader")), 403)
    problem(register(client, url, headers=ring.headers("reader")), 403)
    assert [one["owner"] for one in listed(client, ring.headers("admin"))] == ["all"]
    assert listed(client, mine, collection="All") == []
    assert client.delete(at, headers=ring.headers("admin")).status_code == 204
    problem(client.get(at, headers=mine), 404)


@pytest.mark.slow
def test_the_same_again_changes_the_secret(
    client: TestClient, ring: KeyRing, receiver: Receiver
) -> None:
    headers = ring.headers("all")
    first = register(client, receiver.url, headers=headers)
    again = register(client, receiver.url, headers=headers, secret="another of both sides")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    tag(client, headers, "public/red.png")
    until(lambda: receiver.bodies)
    assert receiver.is_signed("another of both sides")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "http://127.0.0.1/"}, "url: 127.0.0.1 has no public address"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "has no public address"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "has no public address"),
        ({"url": "ftp://example.org/"}, "url: give an address that begins with http://"),
        ({"secret": "short"}, "secret: "),
        ({"secret": "x" * 201}, "secret: "),
        ({"secret": None}, "secret: "),
        ({"more": 1}, "more: "),
    ],
)
def test_what_is_no_webhook_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    with serving(folder) as client:
        asked = {"url": "http://1.1.1.1/", **change}
        answer = register(client, **{k: v for k, v in asked.items() if v is not None} | (
            {"secret": None} if "secret" in change and change["secret"] is None else {}
        ))  # fmt: skip
        assert said in problem(answer, 422)
        assert listed(client, {}) == []


def test_only_a_collection_that_is_there_can_be_watched(client: TestClient, ring: KeyRing) -> None:
    headers = ring.headers("all")
    problem(register(client, "http://127.0.0.1/", headers=headers, collection="None"), 404)
    problem(register(client, "http://127.0.0.1/", headers=ring.headers("elsewhere")), 404)


@pytest.mark.slow
def test_without_its_key_it_is_told_nothing_and_says_so(
    folder: Path, ring: KeyRing, receiver: Receiver
) -> None:
    with serving(folder, ring.keys, api_webhook_hosts="127.0.0.1") as client:
        register(client, receiver.url, headers=ring.headers("all"))
        register(client, receiver.url, headers=ring.headers("admin"))
    fewer = KeyRing()
    fewer.add("admin", "admin")
    fewer.add("all", "read")
    with serving(folder, fewer.keys, api_webhook_hosts="127.0.0.1") as client:
        headers = fewer.headers("admin")
        tag(client, headers, "public/red.png")
        until(lambda: receiver.bodies)
        states = {one["owner"]: one for one in listed(client, headers)}
        assert states["all"]["state"] == "paused"
        assert "the key all is gone" in states["all"]["problem"]
        assert (states["all"]["delivered"], states["all"]["waiting"]) == (0, [])
    assert len(receiver.bodies) == 1


def test_another_filter_begins_anew_and_drops_what_waits(
    folder: Path, ring: KeyRing, receiver: Receiver
) -> None:
    receiver.status = 500
    with serving(folder, ring.keys, api_webhook_hosts="127.0.0.1") as client:
        headers = ring.headers("all")
        at = register(client, receiver.url, headers=headers, collection="All", all=True).headers[
            "location"
        ]
        until(lambda: _failing(client.get(at, headers=headers).json()))
    narrower = KeyRing()
    narrower.add("all", "write", where="folder=public")
    sent = len(receiver.bodies)
    receiver.status = 200
    with serving(folder, narrower.keys, api_webhook_hosts="127.0.0.1") as client:
        headers = narrower.headers("all")
        until(lambda: client.get(at, headers=headers).json()["waiting"] == [])
        change_collection(
            collections_file(folder), "All", lambda one: one.excluding(["public/red.png"])
        )
        register(client, f"{receiver.url}2", headers=headers, collection="All", all=True)
        until(lambda: len(receiver.bodies) > sent)
    assert receiver.told[-1] == "public/blue.png"
    assert len(receiver.bodies) == sent + 1


def test_a_collection_that_is_gone_is_a_problem_until_it_is_back(
    client: TestClient, ring: KeyRing, folder: Path, receiver: Receiver
) -> None:
    headers = ring.headers("all")
    at = register(client, receiver.url, headers=headers).headers["location"]
    delete_collection(collections_file(folder), "New/er")
    until(lambda: client.get(at, headers=headers).json()["state"] == "paused")
    said = client.get(at, headers=headers).json()["problem"]
    assert said.startswith("there is no collection 'New/er'")
    save_collection(collections_file(folder), SavedCollection("New/er", "tag:new"))
    until(lambda: client.get(at, headers=headers).json()["state"] == "active")


@pytest.mark.slow
def test_two_servers_tell_once(folder: Path, receiver: Receiver) -> None:
    with (
        serving(folder, Keys(), api_webhook_hosts="127.0.0.1") as one,
        serving(folder, Keys(), api_webhook_hosts="127.0.0.1") as other,
    ):
        at = register(one, receiver.url).headers["location"]
        for number, image_id in enumerate(EVERYTHING, start=1):
            tag(other, {}, image_id)
            until(lambda number=number: _delivered(other.get(at).json(), number))
    assert sorted(receiver.told) == EVERYTHING


@pytest.mark.slow
def test_a_damaged_library_does_not_stop_the_others(
    folder: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = folder / "libraries" / "album" / "webhooks"
    damaged.mkdir(parents=True)
    (damaged / "webhooks.sqlite").write_text("no database at all, but long enough to be read")
    with serving(folder, api_webhook_hosts="127.0.0.1") as client:
        register(client, receiver.url)
        for number, image_id in enumerate(EVERYTHING[:2], start=1):
            tag(client, {}, image_id)
            until(lambda number=number: len(receiver.told) == number)
    assert sum("damaged" in record.getMessage() for record in caplog.records) == 1
