"""What stands before the application: hosts, web sites, sizes, times, crowds."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scenesearch.home.settings import Settings
from serve.gate import Gate, Limits
from serve.keys import Keys
from serve.launch import ServeError, run_server
from tests.cli import CommandLine
from tests.unit.serve_world import (
    KeyRing,
    colour_encoders,  # noqa: F401 - a fixture
    problem,
    serving,
)
from tests.unit.serve_world import client as client  # a fixture
from tests.unit.serve_world import folder as folder  # a fixture

pytestmark = pytest.mark.usefixtures("colour_encoders")


@pytest.mark.parametrize("host", ["localhost", "localhost:8600", "127.0.0.1:1", "[::1]:8600"])
def test_without_keys_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/v1/libraries", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.nip.io",
        "192.168.1.2:8600",
        "localhost:x",
        "localhost@example.org",
        "[::1].example.org",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/v1/libraries", "/healthz", "/openapi.json"])
def test_without_keys_no_other_name_is_answered(client: TestClient, host: str, path: str) -> None:
    response = client.get(path, headers={"Host": host})
    assert problem(response, 403) == "without SCENESEARCH_API_KEYS only localhost is answered"


def test_with_keys_any_name_is_answered(folder: Path) -> None:
    ring = KeyRing()
    ring.add("a")
    with serving(folder, ring.keys) as client:
        headers = {**ring.headers("a"), "Host": "photos.example.org"}
        assert client.get("/v1/libraries", headers=headers).status_code == 200


def test_without_keys_only_this_machine_is_listened_to(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="needs SCENESEARCH_API_KEYS"):
        run_server(Settings(data_dir=tmp_path), host="0.0.0.0", port=0)  # noqa: S104


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_page_of_another_site_changes_nothing(
    client: TestClient, method: str, origin: str
) -> None:
    response = client.request(method, "/v1/images/public/red.png", headers={"Origin": origin})
    assert "pages of other web sites" in problem(response, 403)


def test_a_page_of_the_same_site_may_ask(client: TestClient) -> None:
    headers = {"Origin": "http://localhost"}
    assert client.post("/v1/search", json={"text": "red"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "TEXT/PLAIN",
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/images", "/v1/ingest", "/v1/feedback"])
def test_what_a_web_form_can_send_is_refused(client: TestClient, path: str, kind: str) -> None:
    response = client.post(path, content=b'{"text": "red"}', headers={"Content-Type": kind})
    assert "send JSON" in problem(response, 415)


@pytest.mark.parametrize("path", ["/v1/search", "/v1/images", "/v1/ingest", "/v1/feedback"])
def test_a_body_without_a_type_is_refused(client: TestClient, path: str) -> None:
    response = client.post(path, content=b'{"text": "red"}')
    assert "content-type" not in response.request.headers
    assert response.status_code in (415, 422)
    assert problem(response, response.status_code)


def test_browsers_may_ask_only_for_listed_sites(folder: Path) -> None:
    asks = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    with serving(folder) as client:
        assert (
            "access-control-allow-origin" not in client.options("/v1/search", headers=asks).headers
        )
    with serving(folder, api_origins="https://example.org") as client:
        allowed = client.options("/v1/search", headers=asks)
        assert allowed.headers["access-control-allow-origin"] == "https://example.org"
        other = {**asks, "Origin": "https://evil.example"}
        assert client.options("/v1/search", headers=other).status_code == 400
        answer = client.post("/v1/search", json={"text": "red"}, headers={"Origin": asks["Origin"]})
        assert answer.headers["access-control-allow-origin"] == "https://example.org"


def test_answers_are_not_embedded_framed_or_kept(client: TestClient) -> None:
    headers = client.get("/v1/libraries").headers
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "sandbox" in headers["content-security-policy"]


def test_a_large_body_is_refused_before_it_is_read(folder: Path) -> None:
    with serving(folder, api_body_mb=1) as client:
        said = "the request is larger than 1 MB"
        assert problem(client.post("/v1/images", content=b"x" * 1_000_001), 413) == said

        def parts() -> Iterator[bytes]:
            for _ in range(20):
                yield b"x" * 100_000

        kind = {"Content-Type": "image/jpeg"}
        assert problem(client.post("/v1/images", content=parts(), headers=kind), 413) == said


async def ask(gate: Gate, receive: Any, *, headers: dict[str, str] | None = None) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    raw = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/search",
        "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
    }
    await gate(scope, receive, send)
    return sent


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def gate_with(app: Any = answer, **limits: Any) -> Gate:
    usual = {"body_bytes": 10_000_000, "body_s": 5.0, "requests": 2}
    return Gate(app, keys=Keys(), origins=(), limits=Limits(**{**usual, **limits}))


def test_a_slow_body_is_not_waited_for() -> None:
    async def slow() -> Any:
        await asyncio.sleep(60)

    sent = asyncio.run(ask(gate_with(body_s=0.05), slow))
    assert sent[0]["status"] == 408


def test_a_client_that_leaves_in_its_body_is_not_answered_by_the_application() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    assert asyncio.run(ask(gate_with(), gone))[0]["status"] == 400


def test_too_many_requests_are_told_to_come_back() -> None:
    async def crowd() -> list[int]:
        open_ = asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            await open_.wait()
            await answer(scope, receive, send)

        async def body() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        gate = gate_with(waiting, requests=2)
        first = [asyncio.create_task(ask(gate, body)) for _ in range(2)]
        await asyncio.sleep(0.01)
        refused = await ask(gate, body)
        open_.set()
        done = [(await one)[0]["status"] for one in first]
        assert dict(refused[0]["headers"])[b"retry-after"] == b"2"
        return [refused[0]["status"], *done, (await ask(gate, body))[0]["status"]]

    assert asyncio.run(crowd()) == [429, 200, 200, 200]


def test_few_large_bodies_are_in_memory_at_a_time() -> None:
    async def crowd() -> list[int]:
        open_ = asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            await open_.wait()
            await answer(scope, receive, send)

        async def large() -> Any:
            return {"type": "http.request", "body": b"x" * 1_500_000, "more_body": False}

        gate = gate_with(waiting, requests=100)
        first = [asyncio.create_task(ask(gate, large)) for _ in range(4)]
        await asyncio.sleep(0.05)
        refused = await ask(gate, large)
        open_.set()
        done = [(await one)[0]["status"] for one in first]
        return [refused[0]["status"], *done, (await ask(gate, large))[0]["status"]]

    assert asyncio.run(crowd()) == [429, 200, 200, 200, 200, 200]


def test_a_request_that_takes_too_long_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scenesearch.runtime import cancel

    ended = threading.Event()

    def for_ever(*_: object) -> None:
        try:
            cancel.sleep(60)
        except KeyboardInterrupt:
            ended.set()
            raise

    monkeypatch.setattr("serve.routes.search.search", for_ever)
    with serving(folder, api_timeout_s=0.2) as client:
        response = client.post("/v1/search", json={"text": "red"})
        assert "took more than 0.2 s" in problem(response, 503)
        assert response.headers["retry-after"] == "2"
        assert ended.wait(10)
        assert client.get("/healthz").status_code == 200


def test_the_command_makes_a_key_that_the_setting_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from serve.keys import read_keys

    run = CommandLine(monkeypatch, capsys)
    ran = run("serve", "--new-key", "site", "--scope", "write", "-l", "photos", "-w", "folder:a/*")
    key, entry = (line.partition(": ")[2] for line in ran.out.strip().splitlines())
    caller = read_keys(f"[{entry}]").caller(key)
    assert caller is not None
    assert (caller.name, caller.where) == ("site", "folder:a/*")
    assert caller.scopes == {"read", "write"}
    assert caller.libraries == {"photos"}
    assert run("serve", "--scope", "write").sentence == "--scope and --where go with --new-key"
