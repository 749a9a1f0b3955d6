"""Folders under watch: real events of the operating system, a real embedded library."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from PIL import Image

from ingest.pipeline import IngestOptions
from ingest.report import IngestReport
from ingest.sources.roots import Roots
from ingest.watch import Watched, watch
from scenesearch.home.feedback import Feedback
from scenesearch.home.rejects import Rejects
from scenesearch.store.base import CollectionMissing
from scenesearch.store.edge import EdgeStore
from scenesearch.store.edge_lock import HolderLock
from tests.conftest import COLOURS, ColourEncoder
from tests.integration.test_ingest_metadata import xmp
from tests.tiny_encoder import write_tiny_encoder

SETTLE_S = 0.3


class Watcher:
    """A watch in a thread over a folder."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.encoder = ColourEncoder()
        self.reports: list[IngestReport] = []
        self.said: list[str] = []
        self._ids: list[str] = []
        self.data = data
        self._stop = threading.Event()
        self._rejects = Rejects(data / "rejects.sqlite")
        self._store = EdgeStore(data / "edge", lock_wait_s=5)
        watched = Watched(
            folders=[folder],
            roots=Roots(data / "sources.json"),
            library="photos",
            encoder=self.encoder,
            store=self._store,
            say=self.said.append,
            library_dir=data,
            thumbnails_dir=data / "thumbnails",
            rejects=self._rejects,
            options=IngestOptions(batch_size=4),
            quiet_s=SETTLE_S,
        )
        self._thread = threading.Thread(target=self._run, args=(watched,))
        self._thread.start()
        self.until(lambda: bool(self.reports))

    def _run(self, watched: Watched) -> None:
        for report in watch(watched, self._stop):
            with suppress(CollectionMissing):
                self._ids = sorted(point.image_id for point in self._store.scroll("photos"))
            self.reports.append(report)

    def ids(self) -> list[str]:
        """As of the last report: in the middle of a run, a copy may yet become a move."""
        return self._ids

    def rejected(self) -> list[str]:
        return [Path(reject.path).name for reject in self._rejects.all()]

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert self._thread.is_alive()
            assert time.monotonic() < deadline, (self.ids(), self.reports, self.said)
            time.sleep(0.05)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._store.close()
        self._rejects.close()


@pytest.fixture
def watcher(photos: Path, tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher(photos, tmp_path / "data")
    yield watcher
    watcher.close()


def save(path: Path, colour: str) -> None:
    """As most programs do: under a hidden name first."""
    Image.new("RGB", (30, 20), COLOURS[colour]).save(path.with_name(f".{path.name}"), "JPEG")
    path.with_name(f".{path.name}").rename(path)


def test_what_is_there_at_the_start_is_brought_in_first(watcher: Watcher) -> None:
    assert watcher.reports[0].written == 6


def test_a_file_of_words_beside_a_picture_is_followed(watcher: Watcher, photos: Path) -> None:
    sidecar = photos / "red.xmp"

    def tags() -> object:
        return watcher._store.retrieve("photos", ["red.jpg"])["red.jpg"].payload.get("tags")

    encoded = watcher.encoder.encoded
    sidecar.write_bytes(xmp("boat"))
    watcher.until(lambda: tags() == ["boat"])
    sidecar.unlink()
    watcher.until(lambda: tags() is None)
    assert watcher.encoder.encoded == encoded


@pytest.mark.slow
def test_new_changed_moved_and_removed_pictures_are_followed(
    watcher: Watcher, photos: Path
) -> None:
    save(photos / "new.jpg", "yellow")
    watcher.until(lambda: "new.jpg" in watcher.ids())
    encoded = watcher.encoder.encoded
    (photos / "new.jpg").rename(photos / "trip" / "moved.jpg")
    watcher.until(lambda: "trip/moved.jpg" in watcher.ids() and "new.jpg" not in watcher.ids())
    assert watcher.encoder.encoded == encoded
    save(photos / "red.jpg", "blue")
    watcher.until(lambda: watcher.encoder.encoded == encoded + 1)
    (photos / "trip" / "moved.jpg").unlink()
    watcher.until(lambda: "trip/moved.jpg" not in watcher.ids())
    assert len(watcher.ids()) == 6


@pytest.mark.slow
def test_moves_are_counted_and_what_was_said_follows(
    watcher: Watcher, photos: Path, tmp_path: Path
) -> None:
    with closing(Feedback(watcher.data / "feedback.sqlite")) as feedback:
        feedback.mark("red", ["red.jpg"], right=True)
        feedback.mark("white", ["trip/white.jpg"], right=True)
        (photos / "red.jpg").rename(photos / "crimson.jpg")
        watcher.until(lambda: watcher.reports[-1].moved == 1)
        # Onto another disk and back: the copy is there before the old place is empty.
        shutil.copyfile(photos / "crimson.jpg", photos / "trip" / "copy.jpg")
        watcher.until(lambda: "trip/copy.jpg" in watcher.ids())
        (photos / "crimson.jpg").unlink()
        watcher.until(lambda: "crimson.jpg" not in watcher.ids())
        (photos / "trip").rename(photos / "journey")
        watcher.until(lambda: sum(report.moved for report in watcher.reports) == 5)
        marks = {mark.text: mark.image_id for mark in feedback.all()}
    assert marks == {"red": "journey/copy.jpg", "white": "journey/white.jpg"}
    assert len(watcher.ids()) == 6
    assert watcher.encoder.encoded == 6
    assert len(list((watcher.data / "thumbnails").glob("??/*.jpg"))) == 6


def test_a_picture_that_is_edited_or_removed_leaves_no_thumbnail(
    watcher: Watcher, photos: Path
) -> None:
    Image.new("RGB", (30, 20), (1, 2, 3)).save(photos / "red.jpg")
    watcher.until(lambda: watcher.encoder.encoded == 7)
    (photos / "blue.jpg").unlink()
    watcher.until(lambda: "blue.jpg" not in watcher.ids())
    watcher.until(lambda: len(list((watcher.data / "thumbnails").glob("??/*.jpg"))) == 5)


def test_folders_come_and_go_with_all_that_is_in_them(
    watcher: Watcher, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "trip", tmp_path / "deep" / "er")
    (tmp_path / "deep").rename(photos / "deep")
    watcher.until(lambda: sum(name.startswith("deep/er/") for name in watcher.ids()) == 3)
    shutil.rmtree(photos / "deep")
    watcher.until(lambda: len(watcher.ids()) == 6)


def test_a_folder_that_goes_as_a_whole_may_be_a_disk_and_keeps_its_pictures(
    watcher: Watcher, photos: Path, tmp_path: Path
) -> None:
    (photos / "trip").rename(tmp_path / "elsewhere")
    watcher.until(lambda: bool(watcher.said))
    assert watcher.said == [
        f"{photos / 'trip'} is not there: its 3 pictures stay in the library; is a disk away? "
        "If they are deleted, --prune --remove-absent removes them"
    ]
    assert len(watcher.ids()) == 6


def test_a_file_of_patterns_counts_from_the_moment_it_is_written(
    watcher: Watcher, photos: Path
) -> None:
    (photos / ".scenesearchignore").write_text("trip/\n")
    watcher.until(lambda: watcher.ids() == ["blue.jpg", "green.jpg", "red.jpg"])
    (photos / "@eaDir").mkdir()
    shutil.copy(photos / "red.jpg", photos / "@eaDir" / "thumb.jpg")
    shutil.copy(photos / "red.jpg", photos / "trip" / "new.jpg")
    shutil.copy(photos / "red.jpg", photos / "last.jpg")
    watcher.until(lambda: "last.jpg" in watcher.ids())
    assert watcher.ids() == ["blue.jpg", "green.jpg", "last.jpg", "red.jpg"]


def test_an_archive_that_goes_takes_its_pictures_along(watcher: Watcher, photos: Path) -> None:
    with tarfile.open(photos / "shard.tar", "w") as archive:
        Image.new("RGB", (30, 20), COLOURS["yellow"]).save(photos.parent / "y.jpg")
        archive.add(photos.parent / "y.jpg", "y.jpg")
    watcher.until(lambda: "shard.tar/y.jpg" in watcher.ids())
    (photos / "shard.tar").unlink()
    watcher.until(lambda: "shard.tar/y.jpg" not in watcher.ids())
    assert len(watcher.ids()) == 6


def test_half_written_picture_is_left_alone_until_it_is_whole(
    watcher: Watcher, photos: Path, tmp_path: Path
) -> None:
    save(tmp_path / "whole.jpg", "green")
    data = (tmp_path / "whole.jpg").read_bytes()
    with (photos / "slow.jpg").open("wb", buffering=0) as file:
        for start in range(0, len(data), len(data) // 8):
            file.write(data[start : start + len(data) // 8])
            time.sleep(SETTLE_S / 6)
            assert len(watcher.reports) == 1
    watcher.until(lambda: "slow.jpg" in watcher.ids())
    assert watcher.reports[-1].rejected == 0


def test_broken_and_hidden_files_stop_nothing(watcher: Watcher, photos: Path) -> None:
    (photos / "note.jpg").write_text("hello")
    (photos / ".hidden.jpg").write_text("hello")
    (photos / "notes.txt").write_text("hello")
    watcher.until(lambda: watcher.rejected() == ["note.jpg"])
    save(photos / "note.jpg", "white")
    watcher.until(lambda: "note.jpg" in watcher.ids())
    assert watcher.rejected() == []
    assert len(watcher.ids()) == 7


def test_library_is_free_between_bursts_and_waited_for_when_in_use(
    watcher: Watcher, photos: Path, tmp_path: Path
) -> None:
    with closing(EdgeStore(tmp_path / "data" / "edge")) as other:
        assert other.count("photos") == 6
        collection = other.resolve("photos")
    lock = HolderLock(tmp_path / "data" / "edge" / "locks" / f"{collection}.work.lock", "a doctor")
    lock.acquire(5)
    save(photos / "new.jpg", "yellow")
    watcher._store._turns.lock_wait_s = 0.1
    watcher.until(lambda: any("worked on by `a doctor`" in text for text in watcher.said))
    lock.release()
    watcher.until(lambda: "new.jpg" in watcher.ids())


def test_folder_that_vanishes_takes_nothing_along(
    watcher: Watcher, photos: Path, tmp_path: Path
) -> None:
    """As a disk does that is taken out, and put in again with a picture more."""
    photos.rename(tmp_path / "away")
    time.sleep(4 * SETTLE_S)
    assert len(watcher.ids()) == 6
    save(tmp_path / "away" / "new.jpg", "yellow")
    (tmp_path / "away").rename(photos)
    watcher.until(lambda: "new.jpg" in watcher.ids())
    assert len(watcher.ids()) == 7
    save(photos / "newer.jpg", "yellow")
    watcher.until(lambda: "newer.jpg" in watcher.ids())


@pytest.mark.slow
def test_ctrl_c_ends_the_command_with_its_counts(photos: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "SCENESEARCH_DATA_DIR": str(tmp_path / "data"),
        "SCENESEARCH_ENCODER": str(write_tiny_encoder(tmp_path / "tiny")),
    }
    words = [sys.executable, "-m", "scenesearch.cli", "ingest", photos, "--watch", "--json"]
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stderr is not None
        assert any("watching" in line for line in command.stderr)
        (photos / "red.jpg").unlink()
        assert any("1 removed" in line for line in command.stderr)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=30)
    assert command.returncode == 0, err
    counts = json.loads(out)
    assert (counts["written"], counts["removed"], counts["removals"]) == (6, 1, ["red.jpg"])
