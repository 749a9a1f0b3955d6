"""Folders are renamed or moved away, files exchanged, and every run is killed: the library is exact
in the end.

pytest -s tests/attack/test_moves.py
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from scenesearch.home.feedback import Feedback
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.edge import EdgeStore
from tests.integration.test_ingest_resume import draw
from tests.tiny_encoder import write_tiny_encoder

pytestmark = pytest.mark.slow

COUNT, KILLS = 400, 12


def shuffle(folder: Path, rng: random.Random) -> None:
    """A folder is renamed, and every name in it handed on to the next file."""
    chosen = rng.choice(sorted(path for path in folder.iterdir() if path.is_dir()))
    renamed = folder / f"folder{rng.randrange(10**6)}"
    chosen.rename(renamed)
    files = sorted(renamed.iterdir())
    names = [path.name for path in files]
    moved = names[1:] + names[:1]
    for path in files:
        path.rename(path.with_name(f"between-{path.name}"))
    for old, new in zip(names, moved, strict=True):
        (renamed / f"between-{old}").rename(renamed / new)


@pytest.fixture
def seed() -> int:
    """Another one each time; what fails says which."""
    return random.SystemRandom().randrange(2**32)


def test_moves_under_kills_lose_nothing_and_leave_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder, data = tmp_path / "pictures", tmp_path / "data"
    draw(folder, COUNT)
    content_of = {path: path.read_bytes() for path in folder.rglob("*.png")}
    name_of = {content: str(path.relative_to(folder)) for path, content in content_of.items()}
    manifest = tmp_path / "about.csv"
    rows = [f"{name},{name}" for name in name_of.values()]
    manifest.write_text("\n".join(["image,tags", *rows]) + "\n")
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(data),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }
    command = [sys.executable, "-m", "scenesearch.cli", "ingest", str(folder), "--json"]

    def finished(*more: str) -> dict[str, int]:
        run = subprocess.run(
            [*command, *more], env=environment, check=True, capture_output=True, text=True
        )
        counts: dict[str, int] = json.loads(run.stdout)
        return counts

    finished("--manifest", str(manifest))
    own = data / "libraries" / "photos"
    with closing(Feedback(own / "feedback.sqlite")) as feedback:
        for name in name_of.values():
            feedback.mark(f"was {name}", [name], right=True)
    # What is killed is a run that has begun, wherever it is then.
    began = time.monotonic()
    finished()
    whole_s = time.monotonic() - began
    killed = 0
    for _ in range(KILLS):
        shuffle(folder, rng)
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as run:
            time.sleep(whole_s * rng.uniform(0.4, 1.3))
            killed += run.poll() is None
            run.send_signal(signal.SIGKILL)
    last = finished()
    edited = rng.sample(sorted(folder.rglob("*.png")), 10)
    for number, path in enumerate(edited):
        Image.new("RGB", (9, 9), (number, 255, 0)).save(path)
    finished()
    again = finished()
    there = {str(path.relative_to(folder)): path for path in folder.rglob("*.png")}
    with closing(EdgeStore(data / "edge")) as store:
        points = {point.image_id: point.payload for point in store.scroll("photos")}
    assert points.keys() == there.keys(), seed
    assert again["skipped"] == COUNT and again["moved"] == 0, seed
    for name, path in there.items():
        if path not in edited:
            assert points[name]["tags"] == [name_of[path.read_bytes()]], (seed, name)
        assert thumbnail_path(own / "thumbnails", points[name]["sha256"]).is_file(), seed
    contents = {payload["sha256"] for payload in points.values()}
    thumbnails = {path.stem for path in (own / "thumbnails").glob("??/*.jpg")}
    assert thumbnails == contents, seed
    with closing(Feedback(own / "feedback.sqlite")) as feedback:
        marks = {mark.image_id: mark.text for mark in feedback.all()}
    was = {name: f"was {name_of[p.read_bytes()]}" for name, p in there.items() if p not in edited}
    assert {name: marks[name] for name in was} == was, seed
    print(f"moves: {killed} of {KILLS} runs killed, {COUNT} pictures exact; last run {last}")


@pytest.mark.parametrize("is_doubled", [False, True])
def test_relocate_under_kills_is_finished_by_the_same_command(
    tmp_path: Path, seed: int, *, is_doubled: bool
) -> None:
    """The library has the old folder alone, or the new one too: two entries for each picture."""
    rng = random.Random(seed)
    data, places = tmp_path / "data", [tmp_path / "first", tmp_path / "second"]
    draw(places[0], COUNT)
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(data),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }
    program = [sys.executable, "-m", "scenesearch.cli"]

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *words], env=environment, capture_output=True, text=True, check=False
        )

    assert ran("ingest", str(places[0])).returncode == 0
    own = data / "libraries" / "photos"
    with closing(EdgeStore(data / "edge")) as store:
        names = sorted(point.image_id for point in store.scroll("photos", payload=()))
    with closing(Feedback(own / "feedback.sqlite")) as feedback:
        for name in names:
            feedback.mark(f"was {Path(name).name}", [name], right=True)
    whole_s, killed = 2.0, 0
    for turn in range(KILLS // 2):
        old, new = places[turn % 2], places[(turn + 1) % 2]
        old.rename(new)
        if is_doubled:
            assert ran("ingest", str(new), "--as-copy").returncode == 0
        command = [*program, "library", "relocate", str(old), str(new)]
        for _ in range(2):
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as run:
                time.sleep(whole_s * rng.uniform(0.3, 1.0))
                killed += run.poll() is None
                run.send_signal(signal.SIGKILL)
        began = time.monotonic()
        last = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        whole_s = time.monotonic() - began
        assert last.returncode == 0 or "re-pointed already" in last.stderr, (seed, last.stderr)
        report = json.loads(ran("ingest", str(new), "--prune", "--json").stdout)
        assert (report["skipped"], report["written"], report["removed"]) == (COUNT, 0, 0), seed
        with closing(EdgeStore(data / "edge")) as store:
            points = {point.image_id: point.payload for point in store.scroll("photos")}
        paths = sorted(str(path) for path in new.rglob("*.png"))
        assert sorted(str(payload["path"]) for payload in points.values()) == paths, seed
        with closing(Feedback(own / "feedback.sqlite")) as feedback:
            marks = {mark.image_id: mark.text for mark in feedback.all()}
        assert marks == {name: f"was {Path(name).name}" for name in points}, seed
    print(f"relocate: {killed} of {KILLS} runs killed, {COUNT} pictures exact")


def test_two_commands_that_relocate_at_once_leave_one_library(tmp_path: Path) -> None:
    data, old, new = tmp_path / "data", tmp_path / "old", tmp_path / "new"
    draw(old, COUNT)
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(data),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }
    program = [sys.executable, "-m", "scenesearch.cli"]
    subprocess.run([*program, "ingest", str(old)], env=environment, check=True)
    old.rename(new)
    command = [*program, "library", "relocate", str(old), str(new)]
    both = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [run.communicate()[1] for run in both]
    statuses = sorted(run.returncode for run in both)
    # The second one waits for the first, and then finds nothing to do.
    assert statuses in ([0, 0], [0, 2]), said
    with closing(EdgeStore(data / "edge")) as store:
        paths = sorted(str(point.payload["path"]) for point in store.scroll("photos"))
    assert paths == sorted(str(path) for path in new.rglob("*.png"))
    run = subprocess.run(
        [*program, "ingest", str(new), "--json"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert json.loads(run.stdout)["skipped"] == COUNT
