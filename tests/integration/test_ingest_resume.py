"""Killed, renamed, deleted, shared out: whatever happens between runs, the points are right."""

import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest.pipeline import IngestOptions, ingest
from ingest.prune import is_gone
from ingest.report import IngestReport
from ingest.shards import Shard, ShardError
from ingest.sources.find import find_sources
from ingest.sources.roots import Roots
from scenesearch.home.rejects import Rejects
from scenesearch.pictures.thumbnails import thumbnail_path
from scenesearch.store.base import Point
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder

# What the killed process runs: it notes every picture that goes through its encoder.
CHILD = """
import os, sys, time
from pathlib import Path
from ingest.pipeline import IngestOptions, ingest
from ingest.sources.roots import Roots
from ingest.sources.find import find_sources
from scenesearch.store.edge import EdgeStore
from tests.conftest import ColourEncoder

class Noting(ColourEncoder):
    def encode_pixels(self, pixels):
        with open(sys.argv[3], "ab", buffering=0) as log:
            log.write(b"." * len(pixels))
        time.sleep(0.004 * len(pixels))
        return super().encode_pixels(pixels)

store = EdgeStore(Path(sys.argv[1]), lock_wait_s=10)
report = ingest(
    find_sources([Path(sys.argv[2])], roots=Roots()),
    library="photos", encoder=Noting(), store=store,
    options=IngestOptions(workers=2, batch_size=4, flush_every=64),
    on_progress=lambda report: print(report.written, flush=True),
)
store.close()
print("done", report.written, report.skipped, report.encoded, flush=True)
"""
WRITE_BATCH = 64


def run(
    folders: Sequence[Path],
    store: EdgeStore,
    encoder: ColourEncoder | None = None,
    roots: Roots | None = None,
    **options: object,
) -> IngestReport:
    keep = {key: options.pop(key) for key in ("thumbnails_dir", "rejects") if key in options}
    return ingest(
        find_sources(folders, roots=roots or Roots()),
        library="photos",
        encoder=encoder or ColourEncoder(),
        store=store,
        options=IngestOptions(**options),  # type: ignore[arg-type]
        **keep,  # type: ignore[arg-type]
    )


def ids(store: EdgeStore) -> list[str]:
    return sorted(point.image_id for point in store.scroll("photos"))


def draw(folder: Path, count: int) -> None:
    """So many small pictures, no two alike."""
    rng = np.random.default_rng(count)
    for number in range(count):
        place = folder / f"{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:04}.png")


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    count, kills = 1200, 20
    draw(tmp_path / "pictures", count)
    log = tmp_path / "encoded"
    log.touch()
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    command = [sys.executable, "-c", CHILD, tmp_path / "edge", tmp_path / "pictures", log]
    for number in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            if number % 4:
                # Between its first sign of life and a few batches later.
                child.stdout.readline()
                time.sleep(rng.uniform(0, 0.15))
            else:
                time.sleep(rng.uniform(0, 1.5))  # wherever it is then, perhaps not begun
            child.send_signal(signal.SIGKILL)
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "done" in finished.stdout, (seed, finished)
    with closing(EdgeStore(tmp_path / "edge")) as store:
        expected = sorted(
            path.relative_to(tmp_path / "pictures").as_posix()
            for path in (tmp_path / "pictures").rglob("*.png")
        )
        assert ids(store) == expected, seed
        fresh = ColourEncoder()
        for point in store.scroll("photos", with_vectors=True):
            with Image.open(tmp_path / "pictures" / point.image_id) as image:
                (vector,) = fresh.encode_images([image.convert("RGB")])
            assert np.allclose(point.vector, vector, atol=1e-6), (seed, point.image_id)
        again = run([tmp_path / "pictures"], store)
        assert (again.skipped, again.encoded) == (count, 0), seed
    # What was in the encoder when it was killed is encoded again, and no more than a write batch.
    assert log.stat().st_size - count <= kills * WRITE_BATCH, seed


def test_copies_in_one_run_are_encoded_once(photos: Path, store: EdgeStore) -> None:
    for number in range(20):
        (photos / f"copy{number}.jpg").write_bytes((photos / "red.jpg").read_bytes())
    report = run([photos], store, batch_size=2, workers=4)
    assert (report.written, report.encoded, report.reused) == (26, 6, 20)
    (vector,) = ColourEncoder().encode_texts(["red"])
    for point in store.scroll("photos", with_vectors=True):
        if point.image_id.startswith("copy"):
            assert point.vector is not None
            assert float(point.vector @ vector) > 0.99


def test_points_are_written_in_the_order_of_the_source_whoever_is_quicker(
    tmp_path: Path, store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Uneven(ColourEncoder):
        def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            time.sleep(random.uniform(0, 0.02))
            return super().encode_pixels(pixels)

    written: list[str] = []
    upsert = EdgeStore.upsert

    def noting(self: EdgeStore, name: str, points: Sequence[Point]) -> None:
        written.extend(point.image_id for point in points)
        upsert(self, name, points)

    monkeypatch.setattr(EdgeStore, "upsert", noting)
    draw(tmp_path / "pictures", 120)
    (tmp_path / "pictures" / "3" / "broken.png").write_text("no picture")
    run([tmp_path / "pictures"], store, Uneven(), workers=6, batch_size=3)
    assert len(written) == 120
    assert written == sorted(written)


def test_moved_folder_is_not_encoded_and_pruned_at_its_old_place(
    photos: Path, store: EdgeStore
) -> None:
    encoder = ColourEncoder()
    run([photos], store, encoder)
    (photos / "trip").rename(photos / "journey")
    report = run([photos], store, encoder, prune=True)
    assert (report.written, report.encoded, report.moved, report.removed) == (3, 0, 3, 0)
    assert encoder.encoded == 6
    assert [name for name in ids(store) if "/" in name] == [
        "journey/black.jpg",
        "journey/white.jpg",
        "journey/yellow.jpg",
    ]


def test_dry_run_lists_and_changes_nothing(photos: Path, store: EdgeStore) -> None:
    run([photos], store)
    (photos / "red.jpg").unlink()
    Image.new("RGB", (8, 8)).save(photos / "new.png")
    report = run([photos], store, prune=True, dry_run=True)
    assert (report.removed, report.removals, report.written) == (1, ["red.jpg"], 0)
    assert len(ids(store)) == 6
    assert "red.jpg" in ids(store)


def test_prune_stays_within_the_folders_given(
    tmp_path: Path, photos: Path, store: EdgeStore
) -> None:
    roots, other = Roots(), tmp_path / "photos-2"
    other.mkdir()
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(other / f"{number}.png")
    run([photos, other], store, roots=roots)
    (photos / "red.jpg").unlink()
    (other / "0.png").unlink()
    assert run([photos], store, roots=roots, prune=True).removals == ["red.jpg"]
    assert "photos-2/0.png" in ids(store)
    assert run([other], store, roots=roots, prune=True).removals == ["photos-2/0.png"]


def test_pictures_that_an_archive_holds_no_longer_are_pruned(
    photos: Path, store: EdgeStore
) -> None:
    shard, other = photos.parent / "shard.tar", photos.parent / "shard.tar.old.tar"
    for archive, names in ((shard, ("red", "blue")), (other, ("green",))):
        with tarfile.open(archive, "w") as packed:
            for name in names:
                packed.add(photos / f"{name}.jpg", f"{name}.jpg")
    run([shard, other], store)
    with tarfile.open(shard, "w") as packed:
        packed.add(photos / "red.jpg", "red.jpg")
    assert run([shard], store, prune=True).removals == ["shard.tar/blue.jpg"]
    assert ids(store) == ["shard.tar.old.tar/green.jpg", "shard.tar/red.jpg"]


def test_folder_left_empty_may_be_an_unmounted_disk_and_keeps_its_pictures(
    photos: Path, store: EdgeStore
) -> None:
    run([photos], store)
    for path in (photos / "trip").iterdir():
        path.unlink()
    report = run([photos], store, prune=True)
    assert report.removed == 0
    assert report.kept == [
        f"{photos / 'trip'} is empty: its 3 pictures stay in the library; "
        "is a disk away? If they are deleted, --prune --remove-absent removes them"
    ]
    report = run([photos], store, prune=True, confirm_absent=lambda folder, count: count == 3)
    assert report.removed == 3


def test_pruned_picture_takes_its_thumbnail_and_its_reject_along(
    photos: Path, store: EdgeStore, tmp_path: Path
) -> None:
    with closing(Rejects(tmp_path / "rejects.sqlite")) as rejects:
        (photos / "note.jpg").write_text("hello")
        (photos / "twin.jpg").write_bytes((photos / "blue.jpg").read_bytes())
        thumbnails = tmp_path / "thumbnails"
        run([photos], store, thumbnails_dir=thumbnails, rejects=rejects)
        kept = store.retrieve("photos", ["red.jpg", "blue.jpg"])
        for name in ("red.jpg", "blue.jpg", "note.jpg"):
            (photos / name).unlink()
        run([photos], store, thumbnails_dir=thumbnails, rejects=rejects, prune=True)
        there = {
            name: thumbnail_path(thumbnails, point.payload["sha256"]).exists()
            for name, point in kept.items()
        }
        assert there == {"red.jpg": False, "blue.jpg": True}  # its twin still shows it
        assert rejects.count() == 0


def test_folder_that_cannot_be_read_is_not_gone(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        assert not is_gone("/proc/1/root/../" + "x" * 300)  # too long a name: no answer
    else:
        (tmp_path / "closed").mkdir(mode=0)
        assert not is_gone(str(tmp_path / "closed" / "a.jpg"))
    assert is_gone(str(tmp_path / "a.jpg"))


def test_shards_share_out_every_picture_and_prune_only_their_own(
    tmp_path: Path, store: EdgeStore
) -> None:
    folder = tmp_path / "pictures"
    draw(folder, 60)
    shards = [Shard(number, 3) for number in (1, 2, 3)]
    reports = [run([folder], store, shard=shard) for shard in shards]
    assert sum(report.written for report in reports) == len(ids(store)) == 60
    assert all(report.written > 5 for report in reports)
    assert run([folder], store, shard=shards[1]).skipped == reports[1].written
    for path in list(folder.rglob("*.png"))[::2]:
        path.unlink()
    removed = run([folder], store, shard=shards[0], prune=True).removals
    assert removed
    assert all(shards[0].holds(name) for name in removed)
    assert len(ids(store)) == 60 - len(removed)


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "a/b", "1/2/3", "-1/4"])
def test_shard_that_is_none_is_one_sentence(text: str) -> None:
    with pytest.raises(ShardError, match="NUMBER/OF"):
        Shard.parse(text)


def test_failure_in_the_encoder_keeps_what_was_encoded_before(
    tmp_path: Path, store: EdgeStore
) -> None:
    class Failing(ColourEncoder):
        def encode_pixels(self, pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            if self.encoded >= 12:
                raise RuntimeError("the graph is broken")
            return super().encode_pixels(pixels)

    draw(tmp_path / "pictures", 40)
    with pytest.raises(RuntimeError):
        run([tmp_path / "pictures"], store, Failing(), batch_size=4, workers=1)
    assert len(ids(store)) == 12
