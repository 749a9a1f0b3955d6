"""Disks that are small, full or read-only, made in memory or in a file; figures are printed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

_READING = (
    ("search", "a red wall", "-k", "1", "--all"),
    ("search", "a red wall", "-k", "1", "--all", "--feedback"),
    ("library", "list"),
    ("library", "status"),
    ("library", "rejects"),
    ("library", "duplicates"),
    ("library", "doctor"),
    ("feedback", "list"),
)


def mounted(*words: object) -> None:
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    made = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a disk is mounted by the test; it is unmounted at its end."""
    place = tmp_path / "disk"
    place.mkdir()
    yield place
    subprocess.run(["umount", place], capture_output=True, check=False)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a library of a few pictures, one of them a reject, and feedback."""
    folder = tmp_path_factory.mktemp("made")
    draw(folder / "pictures", 12)
    (folder / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    told = command(folder / "data", "ingest", folder / "pictures")
    assert told.returncode == 0, told.stderr
    told = command(folder / "data", "feedback", "right", "a red wall", "0003.jpg")
    assert told.returncode == 0, told.stderr
    return folder / "data"


def draw(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        Image.effect_noise((64, 48), 20 + number % 200).save(folder / f"{number:04}.jpg")


def command(data: Path, *words: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from scenesearch.cli import main; main()",
            *map(str, words),
        ],
        env=os.environ | {"SCENESEARCH_DATA_DIR": str(data)} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=80,
    )


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "fill").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def assert_all_reads_go_on(data: Path, elsewhere: Path) -> None:
    for words in _READING:
        told = command(data, *words)
        assert told.returncode == 0, (words, told.stderr)
        assert "Traceback" not in told.stderr
    status = command(data, "status", "--least-free", "0", "--json")
    assert status.returncode == 0, status.stdout
    report = json.loads(status.stdout)
    assert (report["pictures"], report["rejects"], report["problems"]) == (12, 1, [])
    backup = command(data, "library", "backup", "--out", elsewhere / "backup.zip")
    assert backup.returncode == 0, backup.stderr
    assert command(data, "library", "restore", elsewhere / "backup.zip", "--check").returncode == 0


def test_a_read_only_disk_is_read_from_a_copy(library: Path, disk: Path, tmp_path: Path) -> None:
    mounted("--bind", library, disk)
    mounted("-o", "remount,ro,bind", disk)
    assert_all_reads_go_on(disk, tmp_path)
    told = command(disk, "ingest", library.parent / "pictures")
    assert told.returncode == 2
    assert "the disk is read-only" in told.stderr.splitlines()[-1]


def test_a_full_disk_in_memory_is_read_from_a_copy(
    library: Path, disk: Path, tmp_path: Path
) -> None:
    mounted("-t", "tmpfs", "-o", "size=16m", "tmpfs", disk)
    subprocess.run(["cp", "-a", "--sparse=always", library, disk / "data"], check=True)
    fill(disk)
    assert_all_reads_go_on(disk / "data", tmp_path)
    told = command(disk / "data", "ingest", library.parent / "pictures")
    assert told.returncode == 2
    assert "full" in told.stderr.splitlines()[-1]
    (disk / "fill").unlink()
    assert command(disk / "data", "search", "a red wall", "--all").returncode == 0


def test_a_full_ext4_disk_is_read_from_a_copy(library: Path, disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 40 * 2**20)
    if not shutil.which("mkfs.ext4"):
        pytest.skip("needs mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    mounted("-o", "loop", image, disk)
    subprocess.run(["cp", "-a", "--sparse=always", library, disk / "data"], check=True)
    fill(disk)
    assert_all_reads_go_on(disk / "data", tmp_path)


def test_where_no_temporary_folder_has_room_it_is_one_sentence(library: Path, disk: Path) -> None:
    mounted("-t", "tmpfs", "-o", "size=16m", "tmpfs", disk)
    subprocess.run(["cp", "-a", "--sparse=always", library, disk / "data"], check=True)
    fill(disk)
    # Temporary files on the same disk, and no folder in memory.
    code = (
        "import scenesearch.store.edge_copy as c; from pathlib import Path;"
        f"c.tempfile.tempdir = {str(disk)!r}; c.MEMORY = Path('/nowhere');"
        "from scenesearch.cli import main; main()"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, "search", "a red wall"],
        env=os.environ | {"SCENESEARCH_DATA_DIR": str(disk / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert "the disk is full" in told.stderr
    assert "TMPDIR" in told.stderr
    assert "damaged" not in told.stderr


def test_an_ingest_of_300_pictures_fits_on_500_mb(disk: Path, tmp_path: Path) -> None:
    draw(tmp_path / "pictures", 300)
    mounted("-t", "tmpfs", "-o", "size=500m", "tmpfs", disk)
    told = command(disk, "ingest", tmp_path / "pictures")
    usage = shutil.disk_usage(disk)
    print(f"500 MB in memory: {usage.used / 1e6:.0f} MB used by 300 pictures")
    assert told.returncode == 0, told.stderr
    assert "300 written" in told.stdout
    assert "not prepared" not in told.stderr


def test_a_disk_that_fills_up_meanwhile_is_a_sentence_and_what_is_written_stays(
    disk: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "pictures", 600)
    mounted("-t", "tmpfs", "-o", "size=600m", "tmpfs", disk)
    child = subprocess.Popen(
        [sys.executable, "-m", "scenesearch.cli", "ingest", tmp_path / "pictures"],
        env=os.environ | {"SCENESEARCH_DATA_DIR": str(disk / "data")},
        stderr=subprocess.PIPE,
        text=True,
    )
    thumbnails = disk / "data" / "libraries" / "photos" / "thumbnails"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(thumbnails.glob("??/*.jpg"))) < 200:
        time.sleep(0.01)
    fill(disk)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 2, err
    assert "full" in err.splitlines()[-1]
    assert "Traceback" not in err
    (disk / "fill").unlink()
    again = command(disk / "data", "ingest", tmp_path / "pictures", "--json")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    print(f"{report['skipped']} of 600 pictures were written before the disk was full")
    assert report["skipped"] > 0
    assert report["skipped"] + report["written"] == 600
