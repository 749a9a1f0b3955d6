"""Folders are renamed, files exchanged, and every run is killed: the library is exact in the end.

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


@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(2**32)])
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
