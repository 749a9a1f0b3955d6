"""The images' commands under the images' limits, without Docker: a user without rights, nothing
writable but the data folder, /exchange and temporary files, no new privileges."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import COLOURS
from tests.tiny_encoder import write_tiny_encoder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
USER = "10001"

# Every mount read-only but the volumes, as `read_only: true` and `volumes:` make it.
_ENTER = """
set -eu
mount --make-rprivate /
{opened}
mount --bind {world} {world}
grep -v ' {world} ' /proc/self/mountinfo | cut -d ' ' -f 5 | while read -r where; do
  case $where in /dev/*|/proc/*|/sys/*|/dev|/proc|/sys) ;;
    *) mount -o remount,bind,ro "$where" 2>/dev/null || true ;;
  esac
done
cd {world}/exchange
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --bounding-set=-all \\
  --inh-caps=-all env -i {environment} {command}
"""


def _can_enter() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def _opened(world: Path) -> str:
    """Shell lines that show Python and the project to others where they lie in root's own folder,
    which is empty otherwise."""
    wanted = {Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT)}
    closed = {
        part
        for path in wanted
        for part in reversed(path.parents)
        if not part.stat().st_mode & 0o001
    }
    hidden = {part for part in closed if not any(other in part.parents for other in closed)}
    inside = [path for path in wanted if any(part in path.parents for part in hidden)]
    lines, back = [], []
    for number, path in enumerate(sorted(inside)):
        held, where = shlex.quote(str(world / f"held{number}")), shlex.quote(str(path))
        lines += [f"mkdir -p {held}", f"mount --bind {where} {held}"]
        back += [f"mkdir -p {where}", f"mount --bind {held} {where}"]
    lines += [f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(part))}" for part in hidden]
    return "\n".join(lines + back)


Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def world() -> Iterator[Path]:
    """What the volumes hold: data/, exchange/, tmp/, and photos/ that may only be read."""
    if not _can_enter():
        pytest.skip("needs Linux and root for a mount namespace")
    # Not pytest's own folder, which it closes to others each time it starts.
    with tempfile.TemporaryDirectory(prefix="limits-") as folder:
        world = Path(folder)
        (world / "photos").mkdir()
        for name, colour in COLOURS.items():
            Image.new("RGB", (64, 48), colour).save(world / "photos" / f"{name}.jpg")
        write_tiny_encoder(world / "tiny")
        for each in (world, *world.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o644)
        for name in ("data", "exchange", "tmp"):
            (world / name).mkdir()
            os.chown(world / name, int(USER), int(USER))
        yield world


@pytest.fixture
def start(world: Path) -> Iterator[Started]:
    running: list[subprocess.Popen[str]] = []

    def start(*command: object, **more: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(world / "tmp"),
            "TMPDIR": str(world / "tmp"),
            "MPLCONFIGDIR": str(world / "tmp" / "matplotlib"),
            "OMP_NUM_THREADS": "1",
            "SCENESEARCH_DATA_DIR": str(world / "data"),
            "SCENESEARCH_ENCODER": str(world / "tiny"),
            "SCENESEARCH_LOG_FORMAT": "json",
            **more,
        }
        script = _ENTER.format(
            world=shlex.quote(str(world)),
            opened=_opened(world),
            user=USER,
            environment=" ".join(shlex.quote(f"{k}={v}") for k, v in environment.items()),
            command=shlex.join(map(str, command)),
        )
        one = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(one)
        return one

    yield start
    for one in running:
        one.kill()
        one.communicate()


def scenesearch(*words: object) -> tuple[object, ...]:
    return (sys.executable, "-m", "scenesearch.cli", *words)


def finished(one: subprocess.Popen[str], status: int = 0) -> str:
    out, err = one.communicate(timeout=120)
    assert one.returncode == status, out + err
    return out


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answered(url: str, serving: subprocess.Popen[str]) -> str:
    for _ in range(1200):
        if serving.poll() is not None:
            raise AssertionError("\n".join(serving.communicate()))
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
                return str(answer.read().decode())
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def test_the_limits_are_in_force(start: Started, world: Path) -> None:
    tried = (
        "import os, sys; print(os.getuid())\n"
        "for path in sys.argv[1:]:\n"
        "    try: open(path, 'w').close(); print('written')\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    places = [ROOT / "x", "/x", world / "photos" / "x", world / "data" / "x"]
    out = finished(start(sys.executable, "-c", tried, *places)).splitlines()
    assert out[0] == USER
    assert "written" not in out[1:4]
    assert out[4] == "written"


def test_ingest_watch_fills_a_library_and_ends_well_when_it_is_stopped(
    start: Started, world: Path
) -> None:
    port = free_port()
    watching = start(
        *scenesearch("ingest", world / "photos", "--watch", "--shard", "auto/1"),
        SCENESEARCH_METRICS_ADDRESS=f"127.0.0.1:{port}",
    )
    wanted = 'scenesearch_ingest_pictures_total{outcome="written"} 6.0'
    for _ in range(300):
        if wanted in answered(f"http://127.0.0.1:{port}/metrics", watching):
            break
        time.sleep(0.1)
    assert wanted in answered(f"http://127.0.0.1:{port}/metrics", watching)
    watching.send_signal(signal.SIGTERM)  # as `docker stop` does
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert "6 written" in out
    assert all(json.loads(line) for line in err.splitlines())
    assert "red.jpg" not in err

    report = json.loads(finished(start(*scenesearch("status", "--json"))))
    assert report["pictures"] == 6


def test_page_evaluation_and_backup_work_on_what_was_ingested(start: Started, world: Path) -> None:
    finished(start(*scenesearch("ingest", world / "photos")))
    page, metrics = free_port(), free_port()
    serving = start(
        *scenesearch("ui", "--address", "0.0.0.0", "--port", page),  # noqa: S104
        SCENESEARCH_METRICS_ADDRESS=f"127.0.0.1:{metrics}",
    )
    assert answered(f"http://127.0.0.1:{page}/_stcore/health", serving) == "ok"
    assert "scenesearch_build_info" in answered(f"http://127.0.0.1:{metrics}/metrics", serving)

    queries = world / "exchange" / "queries.csv"
    queries.write_text("query_text,images\nred,red.jpg\ngreen,green.jpg\n")
    queries.chmod(0o644)
    evaluated = start(
        *scenesearch("evaluate", "--library", "photos", "--queries", queries, "--json")
    )
    assert json.loads(finished(evaluated))["gallery"] == 6

    saved = finished(start(*scenesearch("library", "backup")))
    assert "6 pictures" in saved
    assert list((world / "exchange").glob("photos-*.zip"))
    serving.send_signal(signal.SIGTERM)
    serving.communicate(timeout=30)


def test_the_page_answers_under_its_own_names_alone(start: Started, world: Path) -> None:
    port = free_port()
    serving = start(
        *scenesearch("ui", "--address", "0.0.0.0", "--port", port),  # noqa: S104
        SCENESEARCH_PAGE_HOSTS="localhost, photos.example.org",
    )
    assert answered(f"http://127.0.0.1:{port}/_stcore/health", serving) == "ok"
    assert asked_to_stream(port, "photos.example.org") == 101
    assert asked_to_stream(port, f"localhost:{port}") == 101
    assert asked_to_stream(port, f"evil.example:{port}") == 403


def asked_to_stream(port: int, host: str) -> int:
    """The status for a browser that opened http://HOST/ and asks for the page's WebSocket."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        return int(connection.makefile("rb").readline().split()[1])


def test_training_says_its_help(start: Started) -> None:
    assert "--recipe" in finished(start(*scenesearch("train", "--help")))
