"""Webhooks of `scenesearch serve` as a process: nothing is lost when it is killed."""

import io
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from scenesearch.home.saved_collections import SavedCollection, save_collection
from tests.receiver import Receiver, receiving, until
from tests.serve_process import Server

pytestmark = pytest.mark.slow

SHARED = "a secret of both sides"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with three pictures and a collection of those that are tagged."""
    server = Server(tmp_path, api_webhook_hosts="127.0.0.1")
    for colour in ("red", "green", "blue"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 12), colour).save(buffer, "PNG")
        kind = {"Content-Type": "image/png"}
        sent = server.client.post(
            f"/v1/images?name={colour}.png", content=buffer.getvalue(), headers=kind
        )
        server.over(sent.json()["id"])
    file = tmp_path / "libraries" / "photos" / "saved-requests.json"
    save_collection(file, SavedCollection("Found", "tag:new"))
    yield server
    if server.process.poll() is None:
        server.kill()


def register(server: Server, receiver: Receiver) -> str:
    asked = {"collection": "Found", "url": receiver.url, "secret": SHARED}
    answer = server.client.post("/v1/webhooks", json=asked)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def tag_all(server: Server) -> list[str]:
    found = server.client.get("/v1/search?where=width:16").json()["hits"]
    for hit in found:
        server.client.patch(f"/v1/images/{hit['image_id']}", json={"tags": ["new"]})
    return sorted(hit["image_id"] for hit in found)


def state(server: Server, at: str) -> Any:
    return server.client.get(at).json()


def test_kill_9_while_nothing_is_accepted_loses_nothing(server: Server, receiver: Receiver) -> None:
    at = register(server, receiver)
    receiver.status = 503
    pictures = tag_all(server)
    until(lambda: receiver.bodies)
    server.kill()
    receiver.status = 200
    server.start()
    server.client.post(f"{at}/try")
    until(lambda: set(receiver.told) >= set(pictures) and not state(server, at)["waiting"])
    assert state(server, at)["state"] == "active"
    assert receiver.is_signed(SHARED)
    accepted = dict(zip(receiver.deliveries, receiver.documents, strict=True))
    told = [one["image_id"] for document in accepted.values() for one in document["pictures"]]
    assert sorted(told) == pictures  # each in one message, however often that was sent


def test_kill_9_in_a_call_sends_it_again_with_its_id(server: Server, receiver: Receiver) -> None:
    at = register(server, receiver)
    killed = server.process
    receiver.before = killed.kill  # before it can note that it was accepted
    (hit,) = server.client.get("/v1/search?where=width:16&limit=1").json()["hits"]
    with suppress(httpx2.TransportError):
        server.client.patch(f"/v1/images/{hit['image_id']}", json={"tags": ["new"]})
    until(lambda: killed.poll() is not None)
    receiver.before = lambda: None
    server.client.close()
    server.start()
    assert server.client.post(f"{at}/try").status_code == 200
    until(lambda: state(server, at)["delivered"])
    assert len(set(receiver.deliveries)) == 1
    assert len(receiver.deliveries) == 2
    assert set(receiver.told) == {hit["image_id"]}


def test_two_servers_over_one_folder_tell_once(server: Server, receiver: Receiver) -> None:
    at = register(server, receiver)
    other = copy(server)
    other.start()
    try:
        pictures = tag_all(server)
        until(lambda: sorted(receiver.told) == pictures and not state(other, at)["waiting"])
        looked = state(server, at)["delivered"]
        assert looked == len(receiver.bodies)
    finally:
        other.kill()
    assert sorted(receiver.told) == pictures
