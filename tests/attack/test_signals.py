"""Signals at any moment, to one process and to its group: a sentence, a status, nothing lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows has other signals"),
]

_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def start(data: Path, *words: object) -> "subprocess.Popen[str]":
    """Returns once the command hears signals: Python itself takes a moment before."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from scenesearch.cli import main; main()",
            *map(str, words),
        ],
        env=os.environ | {"SCENESEARCH_DATA_DIR": str(data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    status = Path(f"/proc/{child.pid}/status")
    if not status.exists():
        time.sleep(0.5)
        return child
    heard = 1 << (signal.SIGTERM - 1)
    for _ in range(5000):
        caught = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
        if int(caught.split()[1], 16) & heard or child.poll() is not None:
            break
        time.sleep(0.001)
    return child


def draw(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.effect_noise((64, 48), 20 + number % 200).save(folder / f"{number:04}.png")
    return folder


def end(child: "subprocess.Popen[str]", number: signal.Signals, group: bool) -> tuple[str, str]:
    if group:
        os.killpg(child.pid, number)
    else:
        child.send_signal(number)
    try:
        return child.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        child.kill()
        raise


@pytest.mark.parametrize("number", list(_STATUS))
def test_a_signal_while_starting_is_one_sentence(number: signal.Signals, tmp_path: Path) -> None:
    """Imports included; `search` without a library takes about a second, `train` more."""
    chance = random.Random(number)
    for turn in range(6):
        child = start(tmp_path, "search", "a dog")
        time.sleep(chance.uniform(0, 0.5))
        _, err = end(child, number, group=turn % 2 == 0)
        print(f"{number.name}: {child.returncode} {err.strip()}")
        if child.returncode in (2, -number):  # it was over before, or at its very end
            assert "no library" in err
            continue
        assert child.returncode == _STATUS[number], err
        assert err.strip() == "scenesearch: interrupted"


@pytest.mark.parametrize("number", list(_STATUS))
def test_an_ingest_that_is_stopped_keeps_what_is_done(
    number: signal.Signals, tmp_path: Path
) -> None:
    pictures = draw(tmp_path / "pictures", 600)
    child = start(tmp_path / "data", "ingest", pictures)
    table = tmp_path / "data" / "libraries" / "photos" / "thumbnails"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(table.glob("??/*.jpg"))) < 150:
        time.sleep(0.02)
    out, err = end(child, number, group=True)
    assert child.returncode == _STATUS[number], err
    assert err.splitlines()[-1] == (
        "scenesearch: interrupted; run the same command again to continue"
    )
    assert "Traceback" not in err
    written = int(out.split(" written")[0].split()[-1])
    print(f"{number.name}: {written} of 600 written")
    assert written > 0
    counted = start(tmp_path / "data", "library", "status", "--json")
    assert f'"pictures": {written}' in counted.communicate(timeout=60)[0]


@pytest.mark.parametrize(
    "words",
    [
        ("library", "build", "photos", "--encoder", "lite"),
        ("library", "doctor", "photos"),
        ("library", "duplicates", "photos"),
        ("library", "backup", "photos", "--out", "b.zip"),
        ("evaluate", "--queries", "q.csv"),
        ("ui", "--port", "8791"),
    ],
    ids=lambda words: words[1].strip("-"),
)
def test_every_command_ends_alike(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in _STATUS:
        child = start(tmp_path / "data", *words)
        time.sleep(0.3)
        _, err = end(child, number, group=True)
        assert "Traceback" not in err
        # 2, or the signal itself at its very end, where there was nothing to do.
        assert child.returncode in (_STATUS[number], 2, -number), err
        if child.returncode == _STATUS[number]:
            # A page without a terminal logs as JSON.
            last = err.strip().splitlines()[-1]
            assert last == "scenesearch: interrupted" or json.loads(last)["message"] == (
                "interrupted"
            )


def test_a_signal_that_comes_twice_in_a_row_counts_once(tmp_path: Path) -> None:
    """As terminals and wrappers send it."""
    child = start(tmp_path, "search", "a dog")
    child.send_signal(signal.SIGINT)
    _, err = end(child, signal.SIGINT, group=True)
    assert child.returncode == 130
    assert err.strip() == "scenesearch: interrupted"


def test_a_reader_that_goes_away_is_no_trouble(tmp_path: Path) -> None:
    child = start(tmp_path, "--help")
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.wait(timeout=40)


def test_a_second_signal_ends_what_never_returns_to_python(tmp_path: Path) -> None:
    """A call that keeps Python's lock, as each of the engine does."""
    blocked = (
        "import ctypes, scenesearch.commands.app as c; from scenesearch.cli import main\n"
        "lock, mutex = ctypes.PyDLL(None).pthread_mutex_lock, (ctypes.c_char * 64)()\n"
        "c.app = lambda: (print('blocked', flush=True), lock(mutex), lock(mutex))\n"
        "main()"
    )
    child = subprocess.Popen([sys.executable, "-c", blocked], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "blocked\n"
    time.sleep(0.5)  # until it is
    child.terminate()
    time.sleep(1)
    assert child.poll() is None
    child.terminate()
    assert child.wait(timeout=20) in (-signal.SIGKILL, -signal.SIGTERM)


def test_a_page_that_closes_slowly_ends_its_work_in_order(tmp_path: Path) -> None:
    """The server raises the signal that ended it once more: that is no second one."""
    slow = (
        "import sys, time, asyncio, uvicorn, ui.launch as launch\n"
        "shutdown = uvicorn.Server.shutdown\n"
        "async def late(self, sockets=None):\n"
        "    await asyncio.sleep(0.8)\n"
        "    await shutdown(self, sockets)\n"
        "uvicorn.Server.shutdown = late\n"
        "def work(job):\n"
        "    print('at work', flush=True)\n"
        "    while job.state == 'running': time.sleep(0.01)\n"
        "    time.sleep(3)\n"
        "    print('kept', flush=True)\n"
        "def start():\n"
        "    from ui import resources\n"
        "    resources.jobs().start('Work', work)\n"
        "launch.warm_up = start\n"
        "sys.argv = ['scenesearch', 'ui', '--port', '8792']\n"
        "from scenesearch.cli import main; main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", slow],
        env=os.environ | {"SCENESEARCH_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "at work\n"
    time.sleep(3)  # until the server serves
    out, err = end(child, signal.SIGTERM, group=False)
    assert (child.returncode, out) == (143, "kept\n"), err
    assert "interrupted" in err.splitlines()[-1]
