"""Long work looks up, and ends where it is asked to."""

import io
import itertools
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from ingest.sources.archives import archive_source
from ingest.sources.path_list import path_list_source
from ingest.sources.roots import Roots
from ingest.sources.walk import walk
from scenesearch.datasets.manifest import read_manifest
from scenesearch.datasets.queries import read_queries
from scenesearch.datasets.task import read_captions
from scenesearch.pictures.originals import LocalFile
from scenesearch.runtime.cancel import cancellable, cancelled_by, check_cancelled, sleep, wait_for
from scenesearch.runtime.retry import RetryPolicy, retry
from ui.jobs import Jobs


def stop() -> None:
    raise KeyboardInterrupt


class Countdown:
    """Asks to stop at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_nobody_is_asked_where_nobody_watches() -> None:
    check_cancelled()
    assert list(cancellable([1, 2])) == [1, 2]


def test_a_look_is_for_its_own_thread_and_ends_with_its_block() -> None:
    found: list[str] = []

    def other() -> None:
        check_cancelled()
        found.append("went on")

    with cancelled_by(stop):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with pytest.raises(KeyboardInterrupt):
            check_cancelled()
    check_cancelled()
    assert found == ["went on"]


def _manifest(folder: Path) -> None:
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    rows = "".join(f"a.png,caption {number}\n" for number in range(50))
    (folder / "m.csv").write_text("image,caption\n" + rows)
    read_manifest(folder / "m.csv")


def _json_manifest(folder: Path) -> None:
    Image.new("RGB", (2, 2)).save(folder / "a.png")
    (folder / "m.jsonl").write_text('{"image": "a.png"}\n' * 50)
    read_manifest(folder / "m.jsonl")


def _parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    Image.new("RGB", (2, 2)).save(folder / "a.png")
    pq.write_table(pa.table({"image": ["a.png"] * 50}), folder / "m.parquet")
    read_manifest(folder / "m.parquet")


def _queries(folder: Path) -> None:
    (folder / "q.csv").write_text("query_text,images\n" + "a dog,a.jpg\n" * 50)
    read_queries(folder / "q.csv")


def _captions(folder: Path) -> None:
    (folder / "c.tsv").write_text("a.jpg#1\ta dog\n" * 50)
    read_captions(folder / "c.tsv")


def _folder(folder: Path) -> None:
    for number in range(50):
        (folder / f"{number}.jpg").touch()
    list(walk(folder))


def _archive(folder: Path) -> None:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number in range(50):
            archive.addfile(tarfile.TarInfo(f"{number}.jpg"), io.BytesIO())
    archive_source([LocalFile(folder / "a.tar")], Roots(), lambda path: False)


def _list(folder: Path) -> None:
    (folder / "a.jpg").touch()
    path_list_source(io.BytesIO(f"{folder}/a.jpg\n".encode() * 50), Roots())


def _waiting(folder: Path) -> None:
    def fail() -> None:
        raise OSError

    retry(fail, RetryPolicy(deadline_s=0.2, first_pause_s=0.001), delay_of=lambda error: 0.0)


@pytest.mark.parametrize(
    "work",
    [_manifest, _json_manifest, _parquet, _queries, _captions, _folder, _archive, _list, _waiting],
)
def test_long_work_looks_up_on_its_way(work: Callable[[Path], None], tmp_path: Path) -> None:
    with cancelled_by(Countdown(5)), pytest.raises(KeyboardInterrupt):
        work(tmp_path)


def test_a_pause_is_cut_short() -> None:
    with cancelled_by(Countdown(2)), pytest.raises(KeyboardInterrupt):
        sleep(600)


def test_waiting_for_another_thread_is_cut_short_and_what_it_gives_is_kept() -> None:
    future: Future[int] = Future()
    with cancelled_by(stop):
        with pytest.raises(KeyboardInterrupt):
            wait_for(future)
        future.set_result(3)
        assert wait_for(future) == 3  # what is done is taken, whoever asked to stop


def test_a_job_that_never_ticks_is_cancelled_at_its_next_look() -> None:
    jobs = Jobs()
    began = threading.Event()

    def work(job: object) -> None:
        for number in cancellable(itertools.count()):
            if number == 10:
                began.set()

    job = jobs.start("counting for ever", work)
    assert began.wait(30)
    job.cancel()
    jobs.wait(30)
    assert job.state == "cancelled"


def test_a_cancelled_job_is_told_once_so_that_it_can_end_in_order() -> None:
    jobs = Jobs()
    began = threading.Event()
    kept: list[str] = []

    def work(job: object) -> None:
        try:
            for _ in cancellable(itertools.count()):
                began.set()
        finally:
            check_cancelled()  # as a store does, to which the rest is written
            kept.append("written")

    job = jobs.start("counting for ever", work)
    assert began.wait(30)
    job.cancel()
    jobs.wait(30)
    assert (job.state, kept) == ("cancelled", ["written"])
