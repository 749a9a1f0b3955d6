"""The examples of docs/api.md are run, with the server's own port and a picture of ours."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scenesearch.home.saved_collections import SavedCollection, save_collection
from tests.receiver import receiving, until
from tests.serve_process import Server

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def section(name: str) -> str:
    return TEXT.partition(f"## {name}\n")[2].partition("\n## ")[0]


FIRST_STEPS = section("First steps")
(CURL,) = re.findall(r"```sh\n(.*?)```", FIRST_STEPS, re.S)
(PYTHON,) = re.findall(r"```python\n(.*?)```", FIRST_STEPS, re.S)
(WEBHOOK,) = re.findall(r"```sh\n(.*?)```", section("Webhooks"), re.S)
(JAVASCRIPT,) = re.findall(r"```js\n(.*?)```", FIRST_STEPS, re.S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the picture of the example, which is red."""
    folder = tmp_path_factory.mktemp("data")
    server = Server(folder, min_relevance="0", api_webhook_hosts="127.0.0.1")
    Image.new("RGB", (64, 48), "red").save(folder / "beach.jpg")
    bring_in = run(server, "bash", "-c", curl_commands()[0])
    job = server.over(json.loads(bring_in)["id"])
    assert job["state"] == "done"
    yield server
    server.kill()


def curl_commands() -> list[str]:
    return [f"curl {one.strip()}" for one in CURL.replace("\\\n", " ").split("curl ")[1:]]


def run(server: Server, *words: str) -> str:
    """What the words print, with the port of the server."""
    own = str(server.client.base_url).rstrip("/")
    ran = subprocess.run(
        [word.replace("http://localhost:8600", own) for word in words],
        cwd=server.data_dir,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_commands_bring_a_picture_in_find_it_and_get_its_thumbnail(server: Server) -> None:
    _, search, thumbnail = curl_commands()
    (hit,) = json.loads(run(server, "bash", "-c", search))["hits"]
    assert hit["payload"]["captions"] == ["Boats on a beach"]
    shown = re.sub(r"images/.*/thumbnail", f"images/{hit['image_id']}/thumbnail", thumbnail)
    run(server, "bash", "-c", shown)
    assert max(Image.open(server.data_dir / "small.jpg").size) == 64


def test_the_python_prints_hits(server: Server) -> None:
    assert re.fullmatch(r"1 \S+/beach\.jpg [\d.e-]+\n", run(server, sys.executable, "-c", PYTHON))


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node.js")
def test_the_javascript_prints_hits(server: Server) -> None:
    printed = run(server, "node", "--input-type=module", "--eval", JAVASCRIPT)
    assert re.fullmatch(r"1 \S+/beach\.jpg [\d.e-]+\n", printed)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_webhook_is_told_of_a_new_picture(server: Server) -> None:
    file = server.data_dir / "libraries" / "photos" / "saved-requests.json"
    save_collection(file, SavedCollection("Boats", "tag:boat"))
    (hit,) = server.client.get("/v1/search?where=tag:sea").json()["hits"]
    with receiving() as receiver:
        made = run(server, "bash", "-c", WEBHOOK.replace("https://example.org/", receiver.url))
        assert json.loads(made)["collection"] == "Boats"
        changed = server.client.patch(f"/v1/images/{hit['image_id']}", json={"tags": ["boat"]})
        assert changed.status_code == 200
        until(lambda: receiver.bodies)
        assert receiver.told == [hit["image_id"]]
        assert receiver.is_signed("32 random bytes in hex")
