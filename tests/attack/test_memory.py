"""Twenty pictures of 196 megapixels, in files of a megabyte, through the real command."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.large_pictures import KINDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

FIVE = ("rgba.png", "grey16.png", "palette.png", "cmyk.tif", "progressive.jpg")
OTHER_FIVE = ("rgb.png", "grey16.png", "palette.png", "frame.gif", "progressive.jpg")
MOST_BYTES = 1_200_000_000
_CGROUPS = Path("/sys/fs/cgroup")


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds")
    for name, make in KINDS.items():
        make(folder / name)
    return folder


def twenty(kinds: tuple[str, ...], one_of_each: Path, folder: Path) -> Path:
    """Four of each kind, of different contents: a byte behind the picture is another file."""
    folder.mkdir()
    for kind in kinds:
        data = (one_of_each / kind).read_bytes()
        for number in range(4):
            (folder / f"{number}-{kind}").write_bytes(data + bytes(number))
    assert sum(file.stat().st_size for file in folder.iterdir()) < 50_000_000
    return folder


def ingest(
    folder: Path, data_dir: Path, *, group: Path | None = None, **settings: str
) -> tuple[int, str, int]:
    """Exit status, what it said, and the peak of the process's resident memory in bytes."""
    environment = os.environ | {"SCENESEARCH_DATA_DIR": str(data_dir)} | settings
    command = [sys.executable, "-m", "scenesearch.cli", "ingest", str(folder)]

    def join() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text("0")

    log = data_dir.with_suffix(".log")
    with log.open("w") as said:
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, preexec_fn=join
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.02)
    return process.returncode, log.read_text(), peak


def peak_of(process_id: int) -> int:
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 1.5 GB without swap, of either version; skips where none can be made."""
    name = f"scenesearch-{uuid.uuid4().hex[:8]}"
    for top, limit in (
        (_CGROUPS, "memory.max"),
        (_CGROUPS / "memory", "memory.limit_in_bytes"),
    ):
        made = top / name
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            if not (made / limit).exists():  # the kernel makes it, in a folder that is a group
                raise FileNotFoundError(made / limit)
            (made / limit).write_text("1500000000")
        except OSError:
            made.rmdir()
            continue
        yield made
        made.rmdir()
        return
    pytest.skip("no control group can be made here")


@pytest.mark.parametrize("kinds", [FIVE, OTHER_FIVE], ids=["five", "other-five"])
def test_twenty_pictures_of_196_megapixels_are_written_within_1_2_gb(
    kinds: tuple[str, ...], one_of_each: Path, tmp_path: Path
) -> None:
    pictures = twenty(kinds, one_of_each, tmp_path / "pictures")
    started = time.monotonic()
    status, said, peak = ingest(pictures, tmp_path / "data")
    print(f"\n{', '.join(kinds)}: {time.monotonic() - started:.0f} s, peak {peak / 1e6:.0f} MB")
    assert status == 0, said
    assert "20 written" in said
    assert peak <= MOST_BYTES


def test_in_a_control_group_of_1_5_gb_every_picture_is_written(
    one_of_each: Path, tmp_path: Path, group: Path
) -> None:
    pictures = twenty(FIVE, one_of_each, tmp_path / "pictures")
    status, said, peak = ingest(pictures, tmp_path / "data", group=group)
    print(f"\nin a group of 1.5 GB: exit status {status}, peak {peak / 1e6:.0f} MB")
    assert status == 0, said
    assert "20 written" in said


def test_with_little_memory_large_pictures_are_rejects_and_the_others_are_written(
    one_of_each: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for kind in FIVE:
        shutil.copy(one_of_each / kind, pictures)
    shared = Path(os.environ.get("SCENESEARCH_SHARED", "")) / "data" / "flickr8k" / "images"
    ordinary = sorted(shared.glob("*.jpg"))[:20]
    for file in ordinary:
        shutil.copy(file, pictures)
    status, said, peak = ingest(pictures, tmp_path / "data", SCENESEARCH_MEMORY_MB="64")
    print(f"\nwith a budget of 64 MB: exit status {status}, peak {peak / 1e6:.0f} MB")
    assert "5 rejected" in said and f"{len(ordinary)} written" in said
    assert peak <= 600_000_000
