"""kill -9 at commands that had never been killed, and what is found afterwards.

    .venv/bin/pytest -s -m slow tests/attack/test_kills.py

KILL_ROUNDS (2, for `make attack` 3) says how often each command is killed, at moments spread over
the time that it takes. After every kill the library answers, the same command goes on to its end,
and then the doctor finds nothing wrong: points, thumbnails and rejects agree, and no lock is left.
"""

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scenesearch.commands.app import app
from scenesearch.home.rejects import FILE_NAME, Rejects
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_build import copy_sparse
from tests.tiny_encoder import declare, write_tiny_encoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROUNDS = int(os.environ.get("KILL_ROUNDS", "2"))
PICTURES, GONE, BROKEN = 150, 30, 5

# Says when it is ready to begin, so that kills are aimed at the work and not at imports.
CHILD = """
import sys
import ingest.build, ingest.doctor, ingest.pipeline, ingest.sources.find
import scenesearch.commands.backup, scenesearch.encoder.onnx, scenesearch.notebook
from scenesearch.store import edge
from scenesearch.cli import main

print("ready", flush=True)
{patch}
sys.argv = ["scenesearch", *sys.argv[1:]]
main()
"""

# Small collections are optimized as large ones are, with int8 copies and a graph.
AS_IF_LARGE = "edge._PLAIN_KB, edge._GRAPH_FROM = 1, 50"

SAVING = """
import sys
from pathlib import Path
from scenesearch.home.saved_collections import save_request

print("ready", flush=True)
for number in range(400):
    save_request(Path(sys.argv[1]), f"request {number}")
    print(number, flush=True)
"""


@dataclass
class Found:
    """What was found after the kills of one command."""

    kills: int = 0
    at_work: int = 0  # of them while it had not ended


class World:
    """A library as it is before each kill, and where it is killed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.pictures, self.data = folder / "pictures", folder / "data"
        write_tiny_encoder(folder / "tiny")
        declare(folder / "tiny", calibration={"method": "logistic", "cosine": 20, "intercept": -15})
        shutil.copytree(folder / "tiny", folder / "other")
        mean = {"size": [4, 4], "resize": "squash", "mean": [0.1, 0.1, 0.1], "std": [1, 1, 1]}
        declare(folder / "other", name="other", image=mean)
        monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(self.data))
        monkeypatch.setenv("SCENESEARCH_ENCODER", str(folder / "tiny"))
        monkeypatch.setenv("SCENESEARCH_LIBRARY", "photos")
        self.pictures.mkdir()
        noise = np.random.default_rng(1)
        for number in range(PICTURES + GONE):
            name = f"{'gone' if number < GONE else 'here'}-{number:04}.png"
            pixels = noise.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((24, 18)).save(self.pictures / name)
        for number in range(BROKEN):
            (self.pictures / f"broken-{number}.jpg").write_text("no picture")

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """A command in this process, which must end as it should and call nothing damaged."""
        result = CliRunner().invoke(app, list(words))
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        assert result.exit_code in codes, f"{words}: {result.output}"
        assert "damaged" not in result.output, f"{words}: {result.output}"
        return result.stdout

    def keep(self, name: str) -> Path:
        """The data folder as it is now, to begin from."""
        kept = self.folder / name
        shutil.copytree(self.data, kept, copy_function=copy_sparse)
        return kept

    def begin_from(self, kept: Path) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(kept, self.data, copy_function=copy_sparse)

    def ids(self, collection: str = "photos") -> set[str]:
        store = EdgeStore(self.data / "edge")
        try:
            return {point.image_id for point in store.scroll(collection, payload=())}
        finally:
            store.close()

    def assert_well(self) -> None:
        """The doctor finds nothing wrong, rejects are as they were, and nobody waits any more."""
        report = json.loads(self.run("library", "doctor", "--json", codes=(0, 1)))
        wrong = [one for one in report["findings"] if one["level"] == "wrong"]
        assert wrong == []
        rejects = Rejects.read(self.data / "libraries" / "photos" / FILE_NAME)
        assert len(rejects) == BROKEN
        locks = self.data / "edge" / "locks"
        left = [path.name for path in locks.rglob("*") if path.suffix in (".ticket", ".json")]
        assert left == []


def killed(
    world: World,
    script: str,
    words: tuple[str, ...],
    kept: Path,
    after: Callable[[], None],
    found: Found,
    *,
    earliest: float = 0.0,
) -> None:
    """Kill the process at moments spread over its work, each time begun from what was kept."""
    world.begin_from(kept)
    process, ready = started(script, words)
    out, _ = process.communicate(timeout=120)
    whole_s = time.monotonic() - ready
    assert process.returncode == 0, out
    for number in range(ROUNDS):
        world.begin_from(kept)
        part = earliest + (0.95 - earliest) * (number + random.random()) / ROUNDS
        process, ready = started(script, words)
        time.sleep(max(0.0, part * whole_s - (time.monotonic() - ready)))
        found.at_work += process.poll() is None
        process.kill()
        process.communicate()
        found.kills += 1
        after()


def started(script: str, words: tuple[str, ...]) -> "tuple[subprocess.Popen[str], float]":
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, time.monotonic()


def test_kills_lose_nothing_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch)
    own = world.data / "libraries" / "photos"
    ingest = ("ingest", str(world.pictures))
    table: dict[str, Found] = {}
    print()

    def aim(
        name: str,
        words: tuple[str, ...],
        kept: Path,
        *,
        ids: set[str],
        again: bool = True,
        patch: str = "",
        earliest: float = 0.0,
        check: Callable[[], object] = lambda: None,
        there: bool = True,
    ) -> None:
        def after() -> None:
            world.run("search", "red", codes=(0, 1) if there else (0, 1, 2))
            if again:
                world.run(*words)
            check()
            assert world.ids() == ids
            world.assert_well()

        table[name] = Found()
        killed(world, CHILD.format(patch=patch), words, kept, after, table[name], earliest=earliest)
        print(f"{name}: killed {table[name].kills} times, {table[name].at_work} at work: all well")

    empty = tmp_path / "empty"
    empty.mkdir()
    everything = {path.name for path in world.pictures.glob("*.png")}
    world.run(*ingest)
    kept = world.keep("kept")

    aim("library duplicates", ("library", "duplicates"), kept, ids=everything)

    for number, thumbnail in enumerate(sorted((own / "thumbnails").rglob("*.jpg"))):
        if number % 2:
            thumbnail.rename(thumbnail.with_name("0" * 64 + ".jpg"))
    (world.data / "edge" / "collections" / ".new-photos-tiny-9").mkdir()
    ill = world.keep("ill")
    aim("library doctor --mend", ("library", "doctor", "--mend"), ill, ids=everything)

    aim(
        "optimize, at the end of ingest",
        ingest,
        empty,
        ids=everything,
        patch=AS_IF_LARGE,
        earliest=0.5,
        there=False,  # the library, before the first kill
    )

    pictures = sorted(everything)[:40]
    mark = ("feedback", "right", "a red square", *pictures)
    aim("feedback right", mark, kept, ids=everything, check=lambda: said(world, 40))
    world.begin_from(kept)
    world.run(*mark)
    marked = world.keep("marked")
    exported = tmp_path / "exported"
    aim(
        "feedback export",
        ("feedback", "export", str(exported)),
        marked,
        ids=everything,
        again=False,
        check=lambda: exported_again(world, exported),
    )

    build = ("library", "build", "--encoder", str(tmp_path / "other"))
    aim("library build", build, kept, ids=everything, check=lambda: built(world, everything))
    world.begin_from(kept)
    world.run(*build)
    built_too = world.keep("built")
    promote = ("library", "promote", "--force")
    aim("library promote", promote, built_too, ids=everything, again=False, check=promoted(world))
    world.begin_from(built_too)
    world.run(*promote)
    live = world.keep("live")
    aim("library rollback", ("library", "rollback"), live, ids=everything)
    prune = ("library", "prune", "--previous", "--yes")
    aim("library prune", prune, live, ids=everything, check=lambda: alone(world))

    for path in world.pictures.glob("gone-*"):
        path.unlink()
    here = {path.name for path in world.pictures.glob("*.png")}
    aim("ingest --prune", (*ingest, "--prune"), kept, ids=here)

    table["saved requests"] = Found()
    for _ in range(ROUNDS):
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        file = tmp_path / "saved" / "saved-requests.json"
        process, _ = started(SAVING, (str(file),))
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        acknowledged = [int(line) for line in process.communicate()[0].split()]
        saved = json.loads(file.read_text()) if file.exists() else []
        assert {f"request {number}" for number in acknowledged[-50:]} <= {*saved, *older(saved)}
        table["saved requests"].kills += 1
    print(f"saved requests: killed {ROUNDS} times: what was saved is there")


def older(saved: list[str]) -> set[str]:
    """Requests that a later one has pushed out."""
    least = min((int(text.split()[1]) for text in saved), default=0)
    return {f"request {number}" for number in range(least)} if len(saved) == 50 else set()


def said(world: World, count: int) -> None:
    assert len(json.loads(world.run("feedback", "list", "--json"))) == count


def exported_again(world: World, folder: Path) -> None:
    """A whole export or none, and the command can be given again."""
    if folder.exists():
        assert (folder / "train_dataset.csv").exists()
        shutil.rmtree(folder)
    world.run("feedback", "export", str(folder))
    assert (folder / "train_dataset.csv").exists()
    shutil.rmtree(folder)
    assert list(folder.parent.glob(f".{folder.name}*")) == []


def built(world: World, everything: set[str]) -> None:
    rows = json.loads(world.run("library", "list", "--json"))["collections"]
    assert [row["state"] for row in rows] == ["live", "ready"]
    assert world.ids(rows[1]["collection"]) == everything


def promoted(world: World) -> Callable[[], None]:
    def check() -> None:
        rows = json.loads(world.run("library", "list", "--json"))["collections"]
        if rows[0]["state"] == "live":  # killed before it was done
            world.run("library", "promote", "--force")
        rows = json.loads(world.run("library", "list", "--json"))["collections"]
        assert [row["state"] for row in rows] == ["previous", "live"]

    return check


def alone(world: World) -> None:
    rows = json.loads(world.run("library", "list", "--json"))["collections"]
    assert [row["state"] for row in rows] == ["live"]


def test_page_that_is_killed_in_the_middle_of_a_job_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real page draws and brings in its sample pictures, and is killed at it."""
    write_tiny_encoder(tmp_path / "tiny")
    declare(tmp_path / "tiny", calibration={"method": "logistic", "cosine": 20, "intercept": -15})
    monkeypatch.setenv("SCENESEARCH_ENCODER", str(tmp_path / "tiny"))
    monkeypatch.setenv("SCENESEARCH_LIBRARY", "photos")
    counts = []
    for number in range(ROUNDS):
        data = tmp_path / f"data-{number}"
        monkeypatch.setenv("SCENESEARCH_DATA_DIR", str(data))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        page = subprocess.Popen(
            [sys.executable, "-m", "scenesearch.cli", "ui", "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            asyncio.run(click(f"http://127.0.0.1:{port}", "sample"))
            opened = int(250 * (number + random.random()) / ROUNDS)  # of 300 pictures
            wait_for(
                lambda data=data, opened=opened: (  # type: ignore[misc]
                    len(list(data.glob("libraries/photos/thumbnails/*/*.jpg"))) > opened
                )
            )
        finally:
            page.kill()
            page.wait()

        runner = CliRunner()
        searched = runner.invoke(app, ["search", "red"])
        assert searched.exit_code in (0, 1, 2) and "damaged" not in searched.output
        before = count(data)
        again = runner.invoke(app, ["ingest", str(data / "demo-pictures"), "--json"])
        assert again.exit_code == 0, again.output
        report = json.loads(again.stdout)
        assert (report["skipped"], report["rejected"]) == (before, 0)
        assert count(data) == report["seen"] > 0
        doctor = runner.invoke(app, ["library", "doctor"])
        assert doctor.exit_code == 0, doctor.output
        counts.append(f"{before} of {report['seen']}")
    print(f"\npage's ingest: killed {ROUNDS} times with {', '.join(counts)} written: all well")


def count(data: Path) -> int:
    store = EdgeStore(data / "edge")
    try:
        return store.count("photos") if store.aliases() else 0
    finally:
        store.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def click(address: str, key: str) -> None:
    """Press the page's button with this key, as a browser does: by a run of the script."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.asyncio.client import connect

    url = address.replace("http", "ws", 1) + "/_stcore/stream"

    async def run(socket: Any, widget: str = "") -> str:
        message = BackMsg()
        message.rerun_script.query_string = ""
        if widget:
            message.rerun_script.widget_states.widgets.add(id=widget, trigger_value=True)
        await socket.send(message.SerializeToString())
        found = ""
        while True:
            answer = ForwardMsg.FromString(await asyncio.wait_for(socket.recv(), 60))
            if answer.delta.new_element.button.id.endswith(f"-{key}"):
                found = answer.delta.new_element.button.id
            if answer.HasField("script_finished"):
                return found

    deadline = time.monotonic() + 60
    while True:
        try:
            async with connect(
                url, subprotocols=["streamlit"], max_size=None, origin=address
            ) as socket:
                button = await run(socket)
                assert button, "the page does not show the button"
                await run(socket, button)
                return
        except OSError:  # not up yet
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
