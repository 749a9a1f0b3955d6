"""`scenesearch serve` as a process: a stranger's journey, and jobs that outlive the server."""

import base64
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scenesearch.store.edge import EdgeStore
from tests.serve_process import WAIT_S, Server, job_processes, wait_for

pytestmark = pytest.mark.slow

PICTURES = 200


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "allowed").mkdir()
    server = Server(tmp_path, api_folders=str(tmp_path / "allowed"))
    yield server
    if server.process.poll() is None:
        server.kill()
    for pid in job_processes(tmp_path):
        os.kill(pid, signal.SIGKILL)


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12), colour).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder: Path, count: int) -> None:
    """So many pictures that take a while to decode: one, with other bytes at its end each time."""
    buffer = io.BytesIO()
    Image.effect_noise((2400, 1800), 60).convert("RGB").save(buffer, "JPEG", quality=30)
    for number in range(count):
        (folder / f"{number:04}.jpg").write_bytes(buffer.getvalue() + number.to_bytes(4))


def test_a_stranger_brings_a_picture_in_finds_it_and_removes_it(server: Server) -> None:
    ask = server.client
    assert ask.get("/readyz").status_code == 503  # there is no library yet
    sent = ask.post(
        "/v1/images?name=my%20wall.png&caption=a%20red%20wall&tag=brick",
        content=picture("red"),
        headers={"Content-Type": "image/png"},
    )
    assert sent.status_code == 202
    assert sent.headers["location"] == f"/v1/jobs/{sent.json()['id']}"
    job = server.over(sent.json()["id"])
    assert (job["state"], job["error"], job["rejects"]) == ("done", None, [])
    assert job["progress"]["written"] == 1
    (image_id,) = job["images"]
    assert image_id.endswith("/my wall.png")
    assert ask.get("/readyz").status_code == 200
    (hit,) = ask.post("/v1/search", json={"text": "red", "where": "tag:brick"}).json()["hits"]
    assert hit["image_id"] == image_id
    assert hit["payload"]["captions"] == ["a red wall"]
    assert ask.get(f"/v1/images/{image_id}/thumbnail").headers["content-type"] == "image/jpeg"
    assert ask.get(f"/v1/images/{image_id}/original").content == picture("red")
    assert ask.delete(f"/v1/images/{image_id}").status_code == 204
    assert ask.post("/v1/search", json={"where": "width:>0"}).json()["hits"] == []
    assert not Path(hit["path"]).exists()


def test_pictures_come_with_captions_tags_and_fields_and_bad_ones_are_named(
    server: Server,
) -> None:
    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    damaged = picture("blue")[:50]
    images = [
        {"name": "a.png", "data": encoded(picture("blue")), "fields": {"price": 5}},
        {"name": "../../a.png", "data": encoded(picture("green")), "tags": ["x", "y"]},
        {"name": "bad.png", "data": encoded(damaged)},
    ]
    job = server.over(server.client.post("/v1/images", json={"images": images}).json()["id"])
    assert (job["state"], job["error"]) == ("done", None)
    assert [Path(name).name for name in job["images"]] == ["a.png", "a-2.png"]
    assert [one["path"] for one in job["rejects"]] == ["bad.png"]
    found = server.client.post("/v1/search", json={"where": "price:5"}).json()["hits"]
    assert [hit["image_id"] for hit in found] == [job["images"][0]]
    text = {"images": [{"name": "x.png", "data": encoded(b"no picture")}]}
    refused = server.client.post("/v1/images", json=text)
    assert (refused.status_code, refused.json()["detail"]) == (400, "x.png is not a picture")


def test_one_request_sent_twice_makes_one_job_even_after_a_restart(server: Server) -> None:
    def send(data: bytes) -> Any:
        headers = {"Content-Type": "image/png", "Idempotency-Key": "first"}
        return server.client.post("/v1/images", content=data, headers=headers)

    first = send(picture("red")).json()["id"]
    assert send(picture("red")).json()["id"] == first
    server.over(first)
    server.stop()
    server.start()
    again = send(picture("red")).json()
    assert (again["id"], again["state"]) == (first, "done")
    other = send(picture("blue"))
    assert other.status_code == 422
    assert "belongs to another request" in other.json()["detail"]
    assert server.client.get("/v1/libraries").json()["libraries"][0]["pictures"] == 1


@pytest.mark.parametrize("whom", ["the server", "all processes"])
def test_kill_9_in_an_ingest_loses_nothing(server: Server, tmp_path: Path, whom: str) -> None:
    fill(tmp_path / "allowed", PICTURES)
    paths = {"paths": [str(tmp_path / "allowed")]}
    job_id = server.client.post("/v1/ingest", json=paths).json()["id"]
    wait_for(lambda: server.job(job_id)["progress"]["written"] > 0)
    assert server.job(job_id)["state"] == "running"
    server.kill()
    if whom == "all processes":
        for pid in job_processes(tmp_path):
            os.kill(pid, signal.SIGKILL)
    server.start()
    job = server.over(job_id)
    assert (job["state"], job["error"]) == ("done", None)
    assert job["progress"]["seen"] == PICTURES
    wait_for(lambda: server.client.get("/v1/libraries").json()["libraries"])
    assert server.client.get("/v1/libraries").json()["libraries"][0]["pictures"] == PICTURES


def test_a_cancelled_job_keeps_what_it_has_done(server: Server, tmp_path: Path) -> None:
    fill(tmp_path / "allowed", PICTURES)
    paths = {"paths": [str(tmp_path / "allowed")]}
    job_id = server.client.post("/v1/ingest", json=paths).json()["id"]
    waits = server.client.post("/v1/ingest", json=paths).json()["id"]
    wait_for(lambda: server.job(job_id)["progress"]["written"] > 0)
    assert server.job(waits)["state"] == "queued"
    assert server.client.delete(f"/v1/jobs/{waits}").json()["state"] == "cancelled"
    assert server.client.delete(f"/v1/jobs/{job_id}").status_code == 202
    assert server.over(job_id)["state"] == "cancelled"
    wait_for(lambda: not job_processes(tmp_path))
    pictures = server.client.get("/v1/libraries").json()["libraries"][0]["pictures"]
    assert 0 < pictures < PICTURES


def test_a_stopped_server_ends_its_job_in_order_and_the_next_goes_on(
    server: Server, tmp_path: Path
) -> None:
    fill(tmp_path / "allowed", PICTURES)
    paths = {"paths": [str(tmp_path / "allowed")]}
    job_id = server.client.post("/v1/ingest", json=paths).json()["id"]
    wait_for(lambda: server.job(job_id)["progress"]["written"] > 0)
    assert server.stop() == 128 + signal.SIGTERM
    assert not job_processes(tmp_path)
    with closing(EdgeStore(tmp_path / "edge")) as store:
        assert 0 < store.count("photos") < PICTURES
    server.start()
    assert server.over(job_id)["progress"]["seen"] == PICTURES


def test_a_failed_job_says_why_in_one_sentence(server: Server, tmp_path: Path) -> None:
    (tmp_path / "allowed" / "table.csv").write_text("a,b\n1,2\n")
    asked = {"paths": [str(tmp_path / "allowed" / "table.csv")]}
    job = server.over(server.client.post("/v1/ingest", json=asked).json()["id"])
    assert job["state"] == "failed"
    assert "has no column 'image'" in job["error"]


def test_only_paths_in_allowed_folders_are_ingested(server: Server, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "secret")
    outside = (
        *(str(tmp_path / "secret"), "/etc", "/nowhere", "allowed", ".", "s3://bucket/x"),
        *(f"{tmp_path}/allowed/../secret", f"{tmp_path}/allowed/link", "-", "--help"),
    )
    for path in outside:
        refused = server.client.post("/v1/ingest", json={"paths": [path]})
        assert refused.status_code == 403, path
        assert "is in no folder that clients may have ingested" in refused.json()["detail"]
    missing = server.client.post("/v1/ingest", json={"paths": [f"{tmp_path}/allowed/none"]})
    assert missing.status_code == 404


def test_begun_requests_are_finished_before_the_server_ends(server: Server) -> None:
    import threading

    server.over(
        server.client.post(
            "/v1/images", content=picture("red"), headers={"Content-Type": "image/png"}
        ).json()["id"]
    )
    found: list[int] = []
    image = server.client.post("/v1/search", json={"where": "width:>0"}).json()["hits"][0]

    def ask() -> None:
        # The picture is encoded fifty times.
        url = f"/v1/images/{image['image_id']}/why?q=red&heat=true"
        found.append(server.client.get(url).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.01)
    server.process.terminate()
    asking.join(WAIT_S)
    assert found == [200]
    assert server.process.wait(WAIT_S) == 128 + signal.SIGTERM


def test_an_assistant_asks_the_same_server(server: Server) -> None:
    import asyncio

    from mcp import Client

    kind = {"Content-Type": "image/png"}
    sent = server.client.post("/v1/images?name=a.png", content=picture("red"), headers=kind)
    server.over(sent.json()["id"])

    async def ask() -> list[str]:
        async with Client(f"{server.client.base_url}/mcp") as client:
            found = await client.call_tool("search_pictures", {"text": "red"})
            return [one.type for one in found.content]

    assert asyncio.run(ask()) == ["text", "image"]
    # Without a stream that stays open.
    assert server.client.get("/mcp").status_code == 405


def test_a_taken_port_is_one_sentence(server: Server) -> None:
    port = server.client.base_url.port
    ran = subprocess.run(
        [sys.executable, "-m", "scenesearch.cli", "serve", "--port", str(port)],
        env=server._environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert ran.returncode == 2
    assert f"cannot serve on 127.0.0.1 port {port}" in ran.stderr
