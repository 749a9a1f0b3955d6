"""A crowd at one embedded library: eight loops that open, search and close, beside an ingest.

    .venv/bin/pytest -s -m slow tests/attack/test_fairness.py

CROWD_SECONDS (20, for `make attack` 60) says how long, CROWD_PICTURES (4,000) how many the ingest
has to bring in. The longest wait is printed, and compared with the median of the same run.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenesearch.store.edge import EdgeStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LOOPS = 8
SECONDS = float(os.environ.get("CROWD_SECONDS", "20"))
PICTURES = int(os.environ.get("CROWD_PICTURES", "4000"))
# Nobody waits so many times as long as most, on however slow a machine.
LONGEST = 5

# Prints a line for each round: the seconds from opening to closing, and what went wrong.
LOOP = """
import json, sys, time
import scenesearch
from scenesearch.errors import SceneSearchError

end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    began, fault = time.monotonic(), ""
    try:
        with scenesearch.open("photos") as library:
            library.search("a red square", k=5)
    except SceneSearchError as error:
        fault = str(error)
    print(json.dumps([time.monotonic() - began, fault]), flush=True)
"""


def write_pictures(folder: Path, count: int, seed: int) -> None:
    folder.mkdir()
    noise = np.random.default_rng(seed)
    for number in range(count):
        pixels = noise.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((96, 72))
        picture.save(folder / f"{seed}-{number:05}.jpg")


def test_eight_loops_and_an_ingest_share_a_library(tmp_path: Path) -> None:
    environment = os.environ | {"SCENESEARCH_DATA_DIR": str(tmp_path / "data")}
    ingest = [sys.executable, "-m", "scenesearch.cli", "ingest", "--library", "photos"]
    write_pictures(tmp_path / "first", 500, 1)
    subprocess.run([*ingest, str(tmp_path / "first")], env=environment, check=True)
    write_pictures(tmp_path / "more", PICTURES, 2)

    filling = subprocess.Popen(
        [*ingest, "--json", str(tmp_path / "more")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    loops = [
        subprocess.Popen(
            [sys.executable, "-c", LOOP, str(SECONDS)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(LOOPS)
    ]
    before = processor_s()
    outputs = [loop.communicate(timeout=SECONDS + 120)[0] for loop in loops]
    each_s = (processor_s() - before) / sum(len(output.splitlines()) for output in outputs)
    with_crowd = pictures(tmp_path) - 500
    finished = filling.poll() is not None
    if not finished:  # what is left goes on without the crowd; a part of it is enough
        time.sleep(5)
        filling.send_signal(signal.SIGINT)
    report = json.loads(filling.communicate(timeout=300)[0])

    rounds = [json.loads(line) for output in outputs for line in output.splitlines()]
    waits = [seconds for seconds, _ in rounds]
    faults = [fault for _, fault in rounds if fault]
    served = [len(output.splitlines()) for output in outputs]
    print(
        f"\n{LOOPS} loops for {SECONDS:.0f} s: {len(rounds)} searches ({min(served)} to "
        f"{max(served)} a loop), {len(faults)} failures; from opening to closing longest "
        f"{max(waits):.2f} s, median {statistics.median(waits):.2f} s, {each_s:.2f} s of processor "
        f"time each; the ingest wrote {with_crowd} of {PICTURES} meanwhile"
        f"{', all' if finished else ''}"
    )
    assert faults == []
    assert all(loop.returncode == 0 for loop in loops)
    assert max(waits) < LONGEST * statistics.median(waits)
    assert max(served) <= 2 * min(served) + 1
    assert finished or with_crowd >= min(served)  # it goes on
    assert pictures(tmp_path) == 500 + report["written"]


def processor_s() -> float:
    """Of the processes that have ended."""
    return sum(os.times()[2:4])


def pictures(folder: Path) -> int:
    store = EdgeStore(folder / "data" / "edge")
    try:
        return store.count("photos")
    finally:
        store.close()
